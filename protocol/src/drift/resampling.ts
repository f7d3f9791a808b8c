import { type Random, seededRandom } from "../random.ts";
import type { ChartReference, DriftReference } from "../reference/drift-reference.ts";
import { distanceOf, nextSum, peakLaw } from "./charts.ts";

const RESAMPLINGS = 400;
/** Windows of a resampled asset at most: where assets of the reference live shorter, it lives as long as they do. */
export const RESAMPLED_WINDOWS = 200;
/**
 * Size of a redrawn reference. The tail itself is known from this one reference only; whole-size redraws came out at
 * 1.4 times the stated rate, half-size ones below it (docs/decisions/0083).
 */
const REDRAWN_SHARE = 0.5;

/** Statistics of one life's windows, one list per chart: means, spreads, then the moves of the score. */
export interface ChartedLife {
  readonly windows: number;
  readonly charts: readonly Float64Array[];
  /** State of health each window's score moved from; -1 where it has none before it. */
  readonly movedFrom: Int32Array;
}

/** How high the CUSUMs of resampled assets peak in how many windows: the law behind the alarm limit. */
export function resampledLaw(
  reference: DriftReference,
  lives: readonly ChartedLife[],
  seed: number,
): { readonly windows: number; readonly location: number; readonly scale: number } {
  const windows = Math.min(RESAMPLED_WINDOWS, middleOf(lives.map((life) => life.windows)));
  return { windows, ...peakLaw(resampledPeaks(reference, lives, windows, seed), RESAMPLINGS) };
}

function middleOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/**
 * The peaks of all CUSUM excursions of resampled assets: an own beginning, then blocks of the same life in random order.
 * Peaks, not one maximum per asset: a reference that by chance lies off centre alarms again and again, and each counts.
 */
function resampledPeaks(
  reference: DriftReference,
  lives: readonly ChartedLife[],
  windows: number,
  seed: number,
): number[] {
  const { baselineWindows: baseline, mean, spread, score } = reference;
  const random = seededRandom(seed, 12);
  const known = [...mean, ...spread];
  const peaks: number[] = [];
  for (let resampling = 0; resampling < RESAMPLINGS; resampling += 1) {
    const charts = redrawn(known, lives, random);
    const life = lives[random.below(lives.length)]!;
    const start = random.below(life.windows - baseline);
    const own = charts.map((_, c) => meanOf(life.charts[c]!, start, start + baseline));
    const block = blockOf(life);
    const sides = Array.from({ length: 2 * (charts.length + 1) }, () => new Excursion(peaks));
    let at = 0;
    for (let w = 0; w < windows; w += 1, at += 1) {
      if (w % block === 0 || at >= life.windows) at = random.below(life.windows - block + 1);
      for (let c = 0; c <= charts.length; c += 1) {
        const state = life.movedFrom[at]!;
        const chart = c < charts.length ? charts[c]! : state < 0 ? undefined : score[state]!;
        if (chart === undefined) continue;
        const distance = distanceOf(chart, life.charts[c]![at]!, own[c] ?? chart.centre);
        sides[2 * c]!.move(distance, chart.allowance);
        sides[2 * c + 1]!.move(-distance, chart.allowance);
      }
    }
    for (const side of sides) side.end();
  }
  return peaks;
}

/** One side's CUSUM from rest to rest. */
class Excursion {
  readonly #peaks: number[];
  #sum = 0;
  #peak = 0;

  constructor(peaks: number[]) {
    this.#peaks = peaks;
  }

  move(distance: number, allowance: number): void {
    this.#sum = nextSum(this.#sum, distance, allowance);
    this.#peak = Math.max(this.#peak, this.#sum);
    if (this.#sum === 0) this.end();
  }

  end(): void {
    if (this.#peak > 0) this.#peaks.push(this.#peak);
    this.#peak = 0;
  }
}

function blockOf({ windows }: ChartedLife): number {
  return Math.min(windows, Math.max(4, Math.round(Math.sqrt(windows))));
}

/**
 * The charts as another reference would have given them: what is not known of centre and scale is part
 * of what a device meets.
 */
function redrawn(charts: readonly ChartReference[], lives: readonly ChartedLife[], random: Random): ChartReference[] {
  const total = lives.reduce((sum, { windows }) => sum + windows, 0);
  const drawn: { life: ChartedLife; from: number; to: number }[] = [];
  for (let count = 0; count < REDRAWN_SHARE * total; ) {
    const life = lives[random.below(lives.length)]!;
    const from = random.below(life.windows - blockOf(life) + 1);
    drawn.push({ life, from, to: from + blockOf(life) });
    count += blockOf(life);
  }
  return charts.map((chart, c) => {
    const all = new Moments();
    const some = new Moments();
    for (const { charts: columns } of lives) all.addAll(columns[c]!, 0, columns[c]!.length);
    for (const { life, from, to } of drawn) some.addAll(life.charts[c]!, from, to);
    const ratio = all.spread > 0 && some.spread > 0 ? some.spread / all.spread : 1;
    return { ...chart, centre: chart.centre + (some.mean - all.mean), scale: chart.scale * ratio };
  });
}

/** Running moments of the numbers that are there. */
class Moments {
  #n = 0;
  #sum = 0;
  #squares = 0;

  addAll(values: Float64Array, from: number, to: number): void {
    for (let i = from; i < to; i += 1) {
      const value = values[i]!;
      if (Number.isNaN(value)) continue;
      this.#n += 1;
      this.#sum += value;
      this.#squares += value * value;
    }
  }

  get mean(): number {
    return this.#n === 0 ? 0 : this.#sum / this.#n;
  }

  get spread(): number {
    return this.#n < 2 ? 0 : Math.sqrt(Math.max(0, (this.#squares - this.#n * this.mean ** 2) / (this.#n - 1)));
  }
}

/** Mean of what is there. */
function meanOf(values: Float64Array, from: number, to: number): number {
  const moments = new Moments();
  moments.addAll(values, from, to);
  return moments.mean;
}
