import type { DriftSketch } from "../messages/drift.ts";
import type { DriftReference } from "../reference/drift-reference.ts";
import { binOf, PROFILE_BINS } from "../reference/profile.ts";
import { placesOf, regimeOf } from "../reference/regimes.ts";

/** Sums travel in thousandths, as whole numbers: whole numbers add up to the same in any order. */
export const SUM_UNIT = 1_000;
/** A single value counts as at most so many spreads away. */
const RESIDUAL_MAX = 8;
/** Spread of a window below which its logarithm says nothing more. */
const SPREAD_MIN = 0.01;

/** One closed window of one asset. */
export interface WindowFigures extends DriftSketch {
  /** Mean score and the state of health it lies in; absent when no score was there. */
  readonly score?: { readonly mean: number; readonly health: number };
}

/**
 * Folds vectors and scores of one asset into a window. The expectation of a value is that of its cell: the operating
 * regime and the state of health the model itself predicts, so that wear, which moves features and score together as
 * they moved in the reference, is no distance.
 */
export class WindowFold {
  readonly reference: DriftReference;
  readonly #places: Int32Array;
  readonly #regimePlaces: Int32Array;
  readonly #mean: Float64Array;
  readonly #perSpread: Float64Array;
  readonly #n: Int32Array;
  readonly #sum: Float64Array;
  readonly #sumSq: Float64Array;
  readonly #counts: Int32Array;
  readonly #regimeSeen: Int32Array;
  #vectors = 0;
  #scores = 0;
  #scoreSum = 0;

  /** `names` are the features in the order of the vectors that will come. */
  constructor(reference: DriftReference, names: readonly string[]) {
    const { features, cells, regimes } = reference;
    const F = features.length;
    this.reference = reference;
    this.#places = Int32Array.from(features, (name) => names.indexOf(name));
    this.#regimePlaces = placesOf(regimes, names);
    this.#mean = new Float64Array(cells.length * F);
    this.#perSpread = new Float64Array(cells.length * F);
    for (const [cell, { mean, spread }] of cells.entries()) {
      for (let f = 0; f < F; f += 1) {
        this.#mean[cell * F + f] = mean[f]!;
        this.#perSpread[cell * F + f] = 1 / spread[f]!;
      }
    }
    this.#n = new Int32Array(F);
    this.#sum = new Float64Array(F);
    this.#sumSq = new Float64Array(F);
    this.#counts = new Int32Array(regimes.centres.length * F * PROFILE_BINS);
    this.#regimeSeen = new Int32Array(regimes.centres.length);
  }

  /** Vectors folded since the last `close`. */
  get vectors(): number {
    return this.#vectors;
  }

  /** Takes a vector and what the model said of it. */
  add(vector: ArrayLike<number>, score: number): void {
    const { bins, healthEdges, regimes } = this.reference;
    const F = this.#places.length;
    const regime = regimeOf(regimes, this.#regimePlaces, vector);
    const health = binOf(healthEdges, score);
    const cell = (regime * (healthEdges.length + 1) + health) * F;
    const edgesOf = bins[regime]!;
    this.#regimeSeen[regime]! += 1;
    this.#vectors += 1;
    this.#scores += 1;
    this.#scoreSum += score;
    for (let f = 0; f < F; f += 1) {
      const value = vector[this.#places[f]!]!;
      // NaN (missing) fails this comparison too.
      if (!(Math.abs(value) < Number.POSITIVE_INFINITY)) continue;
      const apart = (value - this.#mean[cell + f]!) * this.#perSpread[cell + f]!;
      const residual = Math.max(-RESIDUAL_MAX, Math.min(RESIDUAL_MAX, apart));
      this.#n[f]! += 1;
      this.#sum[f]! += residual;
      this.#sumSq[f]! += residual * residual;
      this.#counts[(regime * F + f) * PROFILE_BINS + binOf(edgesOf[f]!.edges, value)]! += 1;
    }
  }

  /** What the window held; the next vector begins a new one. */
  close(): WindowFigures {
    const F = this.#places.length;
    const whole = (values: Float64Array) => Array.from(values, (value) => Math.round(value * SUM_UNIT) + 0);
    const bins = [...this.#regimeSeen.keys()]
      .filter((regime) => this.#regimeSeen[regime]! > 0)
      .map((regime) => ({
        regime,
        counts: Array.from({ length: F }, (_, f) => {
          const at = (regime * F + f) * PROFILE_BINS;
          const size = this.reference.bins[regime]![f]!.edges.length + 1;
          return Array.from(this.#counts.subarray(at, at + size));
        }),
      }));
    const mean = this.#scoreSum / this.#scores;
    const figures: WindowFigures = {
      n: Array.from(this.#n),
      sum: whole(this.#sum),
      sumSq: whole(this.#sumSq),
      bins,
      ...(this.#scores === 0 ? {} : { score: { mean, health: binOf(this.reference.healthEdges, mean) } }),
    };
    this.drop();
    return figures;
  }

  /** Forgets the window that is open. */
  drop(): void {
    for (const list of [this.#n, this.#sum, this.#sumSq, this.#counts, this.#regimeSeen]) list.fill(0);
    this.#vectors = 0;
    this.#scores = 0;
    this.#scoreSum = 0;
  }
}

/** A window's statistics as the charts take them; NaN where nothing was there to compute one of. */
export function statisticsOf(figures: Pick<DriftSketch, "n" | "sum" | "sumSq">): {
  readonly mean: Float64Array;
  readonly logSpread: Float64Array;
} {
  const F = figures.n.length;
  const mean = new Float64Array(F).fill(Number.NaN);
  const logSpread = new Float64Array(F).fill(Number.NaN);
  for (let f = 0; f < F; f += 1) {
    const n = figures.n[f]!;
    if (n === 0) continue;
    mean[f] = figures.sum[f]! / SUM_UNIT / n;
    if (n < 3) continue;
    const variance = Math.max(0, (figures.sumSq[f]! / SUM_UNIT - n * mean[f]! ** 2) / (n - 1));
    logSpread[f] = Math.log(Math.max(SPREAD_MIN, Math.sqrt(variance)));
  }
  return { mean, logSpread };
}
