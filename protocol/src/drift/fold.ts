import type { DriftSketch } from "../messages/drift.ts";
import { BinFinder } from "../reference/bin-finder.ts";
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

/** What all windows under one reference share: expectations by cell and feature, bins by regime and feature. */
interface FoldTables {
  readonly mean: Float64Array;
  readonly perSpread: Float64Array;
  readonly bins: readonly BinFinder[];
}

const tables = new WeakMap<DriftReference, FoldTables>();

function tablesOf(reference: DriftReference): FoldTables {
  const known = tables.get(reference);
  if (known !== undefined) return known;
  const { cells, bins } = reference;
  const made = {
    mean: Float64Array.from(cells.flatMap(({ mean }) => mean)),
    perSpread: Float64Array.from(cells.flatMap(({ spread }) => spread.map((one) => 1 / one))),
    bins: bins.map((features) => new BinFinder(features.map(({ edges }) => edges))),
  };
  tables.set(reference, made);
  return made;
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
  readonly #tables: FoldTables;
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
    const { features, regimes } = reference;
    const F = features.length;
    this.reference = reference;
    this.#places = Int32Array.from(features, (name) => names.indexOf(name));
    this.#regimePlaces = placesOf(regimes, names);
    this.#tables = tablesOf(reference);
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
    const { healthEdges, regimes } = this.reference;
    const regime = regimeOf(regimes, this.#regimePlaces, vector);
    const health = binOf(healthEdges, score);
    this.#regimeSeen[regime]! += 1;
    this.#vectors += 1;
    this.#scores += 1;
    this.#scoreSum += score;
    this.#addTo(regime, regime * (healthEdges.length + 1) + health, vector);
  }

  #addTo(regime: number, cell: number, vector: ArrayLike<number>): void {
    // Read once: this loop runs for every feature of every row.
    const { mean, perSpread, bins } = this.#tables;
    const bin = bins[regime]!;
    const places = this.#places;
    const n = this.#n;
    const sum = this.#sum;
    const sumSq = this.#sumSq;
    const counts = this.#counts;
    const F = places.length;
    for (let f = 0; f < F; f += 1) {
      const value = vector[places[f]!]!;
      // NaN (missing) fails this comparison too.
      if (!(Math.abs(value) < Number.POSITIVE_INFINITY)) continue;
      const apart = (value - mean[cell * F + f]!) * perSpread[cell * F + f]!;
      const residual = Math.max(-RESIDUAL_MAX, Math.min(RESIDUAL_MAX, apart));
      n[f]! += 1;
      sum[f]! += residual;
      sumSq[f]! += residual * residual;
      counts[(regime * F + f) * PROFILE_BINS + bin.of(f, value)]! += 1;
    }
  }

  /** What the window held; the next vector begins a new one. */
  close(): WindowFigures {
    const bins: { regime: number; counts: number[][] }[] = [];
    for (let regime = 0; regime < this.#regimeSeen.length; regime += 1) {
      if (this.#regimeSeen[regime]! > 0) bins.push({ regime, counts: this.#countsOf(regime) });
    }
    const mean = this.#scoreSum / this.#scores;
    const figures: WindowFigures = {
      n: listOf(this.#n, 0, this.#n.length),
      sum: wholeOf(this.#sum),
      sumSq: wholeOf(this.#sumSq),
      bins,
      ...(this.#scores === 0 ? {} : { score: { mean, health: binOf(this.reference.healthEdges, mean) } }),
    };
    this.drop();
    return figures;
  }

  #countsOf(regime: number): number[][] {
    const F = this.#places.length;
    const ofFeatures: number[][] = [];
    for (let f = 0; f < F; f += 1) {
      const at = (regime * F + f) * PROFILE_BINS;
      ofFeatures.push(listOf(this.#counts, at, at + this.reference.bins[regime]![f]!.edges.length + 1));
    }
    return ofFeatures;
  }

  /** Forgets the window that is open. */
  drop(): void {
    for (const list of [this.#n, this.#sum, this.#sumSq, this.#counts, this.#regimeSeen]) list.fill(0);
    this.#vectors = 0;
    this.#scores = 0;
    this.#scoreSum = 0;
  }
}

// Written out: `Array.from` of a typed array goes through its iterator, ten times slower.
function listOf(values: Int32Array, from: number, to: number): number[] {
  const list: number[] = [];
  for (let i = from; i < to; i += 1) list.push(values[i]!);
  return list;
}

function wholeOf(sums: Float64Array): number[] {
  const list: number[] = [];
  for (let f = 0; f < sums.length; f += 1) list.push(Math.round(sums[f]! * SUM_UNIT) + 0);
  return list;
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
