import { calibrateDrift } from "../../protocol/src/drift/calibration.ts";
import { alarmLimit } from "../../protocol/src/drift/charts.ts";
import { AssetDetector } from "../../protocol/src/drift/detector.ts";
import { WindowFold } from "../../protocol/src/drift/fold.ts";
import { type Random, seededRandom } from "../../protocol/src/random.ts";
import type { DriftReference } from "../../protocol/src/reference/drift-reference.ts";

export const FEATURES = 10;
/** One row in ten seconds, a window an hour: a month has 720. */
export const ROW_MS = 10_000;
export const WINDOW = 360;
export const MONTH_WINDOWS = 720;
const REFERENCE_WINDOWS = 336;
const NAMES = Array.from({ length: FEATURES }, (_, f) => `s${f}`);

/** Ten autocorrelated sensors of one asset: AR(1) with unit variance. */
export class Sensors {
  readonly #phi: number;
  readonly #random: Random;
  readonly #now: Float64Array;
  #spare = Number.NaN;

  constructor(phi: number, random: Random) {
    this.#phi = phi;
    this.#random = random;
    this.#now = Float64Array.from({ length: FEATURES }, () => this.#normal());
  }

  /** The next row; the same array each time. */
  next(): Float64Array {
    const rest = Math.sqrt(1 - this.#phi ** 2);
    for (let f = 0; f < FEATURES; f += 1) this.#now[f] = this.#phi * this.#now[f]! + rest * this.#normal();
    return this.#now;
  }

  /** Box and Muller, both halves used. */
  #normal(): number {
    if (!Number.isNaN(this.#spare)) {
      const spare = this.#spare;
      this.#spare = Number.NaN;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.#random.next()));
    const angle = 2 * Math.PI * this.#random.next();
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }
}

/** The reference of such sensors: two weeks of one asset. */
export function referenceOf(phi: number, seed: number): { drift: DriftReference; samples: Float64Array[] } {
  const sensors = new Sensors(phi, seededRandom(seed, 1));
  const vectors = Array.from({ length: REFERENCE_WINDOWS * WINDOW }, () => Float64Array.from(sensors.next()));
  const drift = calibrateDrift([{ vectors, scores: new Float64Array(vectors.length) }], {
    names: NAMES,
    windowVectors: WINDOW,
    rowMs: ROW_MS,
    channels: [],
    seed,
  });
  if (drift === undefined) throw new Error("two weeks were not enough for a reference");
  return { drift, samples: vectors };
}

/** What one device saw. */
export interface Watch {
  /** Times its detector went over to "drifted". */
  readonly episodes: number;
  /** Windows after the shift until the first of them; undefined where there was none. */
  readonly detectedAfter: number | undefined;
  /** Share of windows in which any feature fails KS at 0.05, and has PSI of 0.1 or more. */
  readonly ks: number;
  readonly psi: number;
}

/** One device over so many windows; from `shiftAt` on, one sensor reads `shift` standard deviations more. */
export function watch(
  reference: { readonly drift: DriftReference; readonly samples: readonly Float64Array[] },
  phi: number,
  seed: number,
  windows: number,
  options: { readonly shiftAt?: number; readonly shift?: number; readonly peers?: boolean } = {},
): Watch {
  const { drift, samples } = reference;
  const sensors = new Sensors(phi, seededRandom(seed, 2));
  const fold = new WindowFold(drift, NAMES);
  const detector = new AssetDetector(drift, alarmLimit(drift, 1));
  const peers = options.peers === true ? peerTests(samples) : undefined;
  const row = new Float64Array(FEATURES);
  let episodes = 0;
  let detectedAfter: number | undefined;
  let ks = 0;
  let psi = 0;
  let before = detector.phase;
  for (let w = 0; w < windows; w += 1) {
    const shifted = w >= (options.shiftAt ?? Number.POSITIVE_INFINITY) ? (options.shift ?? 0) : 0;
    peers?.open();
    for (let i = 0; i < WINDOW; i += 1) {
      row.set(sensors.next());
      row[0]! += shifted;
      fold.add(row, 0);
      peers?.add(row);
    }
    const { phase } = detector.step(fold.close(), w * WINDOW * ROW_MS);
    if (phase === "drifted" && before !== "drifted") {
      episodes += 1;
      if (shifted !== 0) detectedAfter ??= w - (options.shiftAt ?? 0) + 1;
    }
    before = phase;
    const alarms = peers?.close();
    if (alarms?.ks) ks += 1;
    if (alarms?.psi) psi += 1;
  }
  return { episodes, detectedAfter, ks: ks / windows, psi: psi / windows };
}

/** The usual tests of a window against the reference, each feature for itself, at their usual thresholds. */
function peerTests(samples: readonly Float64Array[]) {
  const BINS = 10;
  const sorted = Array.from({ length: FEATURES }, (_, f) => Float64Array.from(samples, (row) => row[f]!).sort());
  const edges = sorted.map((column) =>
    Array.from({ length: BINS - 1 }, (_, i) => column[Math.floor(((i + 1) * column.length) / BINS)]!),
  );
  const columns = Array.from({ length: FEATURES }, () => new Float64Array(WINDOW));
  let n = 0;
  return {
    open: () => {
      n = 0;
    },
    add(row: Float64Array) {
      for (let f = 0; f < FEATURES; f += 1) columns[f]![n] = row[f]!;
      n += 1;
    },
    close() {
      let ks = false;
      let psi = false;
      for (let f = 0; f < FEATURES; f += 1) {
        const own = columns[f]!.toSorted();
        // Two-sample Kolmogorov-Smirnov at 0.05; the reference is so much longer that it counts as known.
        if (!ks && largestGap(own, sorted[f]!) > 1.358 / Math.sqrt(WINDOW)) ks = true;
        if (!psi && stability(own, edges[f]!) >= 0.1) psi = true;
      }
      return { ks, psi };
    },
  };
}

function largestGap(own: Float64Array, reference: Float64Array): number {
  let gap = 0;
  for (let i = 0; i < own.length; i += 1) {
    const share = below(reference, own[i]!) / reference.length;
    gap = Math.max(gap, Math.abs(share - i / own.length), Math.abs(share - (i + 1) / own.length));
  }
  return gap;
}

function stability(own: Float64Array, edges: readonly number[]): number {
  const bins = edges.length + 1;
  let psi = 0;
  let from = 0;
  for (let bin = 0; bin < bins; bin += 1) {
    const to = bin === bins - 1 ? own.length : below(own, edges[bin]!);
    const share = Math.max(1e-4, (to - from) / own.length);
    psi += (share - 1 / bins) * Math.log(share * bins);
    from = to;
  }
  return psi;
}

function below(sorted: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
