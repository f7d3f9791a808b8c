import {
  type ChannelReference,
  type ChartReference,
  DRIFT_FEATURES_MAX,
  type DriftReference,
  HEALTH_STATES_MAX,
  type Regimes,
} from "../reference/drift-reference.ts";
import { binOf, valueProfile } from "../reference/profile.ts";
import { findRegimes, placesOf, regimeOf } from "../reference/regimes.ts";
import { DISTANCE_MAX } from "./charts.ts";
import { statisticsOf, WindowFold } from "./fold.ts";
import { type ChartedLife, RESAMPLED_WINDOWS, resampledLaw } from "./resampling.ts";

/** Vectors of one asset's life in time order, with what the model said of them without having learnt from that asset. */
export interface ReferenceSequence {
  readonly vectors: readonly ArrayLike<number>[];
  readonly scores: ArrayLike<number>;
}

export interface CalibrationOptions {
  /** Names of the vectors' features; `charted` are those to be watched (default: all). */
  readonly names: readonly string[];
  readonly charted?: readonly string[];
  /** Features that tell operating regimes apart, and how many regimes there are. */
  readonly regimes?: { readonly features: readonly string[]; readonly count: number };
  readonly windowVectors?: number;
  readonly baselineWindows?: number;
  readonly falseAlarmsPerDeviceMonth?: number;
  readonly rowMs: number;
  readonly channels: readonly ChannelReference[];
  readonly seed: number;
}

/** False alarms a device may give in a month in which nothing drifts, unless the owner says otherwise. */
export const FALSE_ALARMS_PER_DEVICE_MONTH = 0.5;
/** Contiguous windows a reference should have. */
const WINDOWS_WANTED = 168;
const WINDOWS_PER_LIFE_WANTED = 12;
const WINDOW_VECTORS = [8, 3_600] as const;
const BASELINE_WINDOWS_MAX = 24;
/** A cell with fewer values says too little of its own; its regime, then everything, speaks for it. */
const CELL_VALUES_MIN = 20;
/** Least spread of a cell, as a share of the feature's spread everywhere: no division by almost nothing. */
const SPREAD_SHARE_MIN = 0.05;
/** Places in the reference at which a device may begin to watch that are looked at, over all lives. */
const STARTS_MAX = 400;
const ALLOWANCE = 0.5;

/**
 * What a device will watch, from time-contiguous windows of the reference: cells, frozen bins, the window-to-window
 * spread of each chart, and how often a CUSUM peaks how high where nothing drifts, by block bootstrap (Künsch, 1989) within
 * assets, so that autocorrelation and lasting differences between assets are in it. Undefined when the reference has
 * too few windows to say anything.
 */
export function calibrateDrift(
  sequences: readonly ReferenceSequence[],
  options: CalibrationOptions,
): DriftReference | undefined {
  const all = sequences.flatMap(({ vectors }) => vectors);
  const scores = Float64Array.from(sequences.flatMap((sequence) => Array.from(sequence.scores)));
  const features = (options.charted ?? options.names)
    .filter((name) => spreadEverywhere(all, options.names.indexOf(name)) > 0)
    .slice(0, Math.floor(DRIFT_FEATURES_MAX / Math.max(1, options.regimes?.count ?? 1)));
  const { windowVectors, baselineWindows } = windowing(sequences, options);
  if (features.length === 0 || windowVectors === undefined) return undefined;
  const regimes = findRegimes(
    options.names,
    all,
    options.regimes?.features ?? [],
    options.regimes?.count ?? 1,
    options.seed,
  );
  const healthEdges = healthEdgesOf(scores);
  const places = features.map((name) => options.names.indexOf(name));
  const regimePlaces = placesOf(regimes, options.names);
  const regimeOfEach = Int32Array.from(all, (vector) => regimeOf(regimes, regimePlaces, vector));
  const cells = cellsOf(all, places, regimeOfEach, scores, regimes, healthEdges);
  const bare: DriftReference = {
    features,
    windowVectors,
    baselineWindows,
    regimes,
    healthEdges,
    cells,
    bins: regimes.centres.map((_, regime) => places.map((place) => binsOf(all, place, regimeOfEach, regime))),
    mean: [],
    spread: [],
    score: [],
    limit: { windows: 1, location: 0, scale: 1, falseAlarmsPerDeviceMonth: 1 },
    rowMs: options.rowMs,
    channels: options.channels.slice(0, 1_024),
  };
  return withCharts(bare, sequences, options);
}

function windowing(sequences: readonly ReferenceSequence[], options: CalibrationOptions) {
  const lengths = sequences.map(({ vectors }) => vectors.length).toSorted((a, b) => a - b);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const usual = lengths[lengths.length >> 1] ?? 0;
  const wanted = Math.floor(Math.min(total / WINDOWS_WANTED, usual / WINDOWS_PER_LIFE_WANTED));
  const windowVectors = options.windowVectors ?? Math.max(WINDOW_VECTORS[0], Math.min(WINDOW_VECTORS[1], wanted));
  const perLife = Math.floor(usual / windowVectors);
  const baselineWindows =
    options.baselineWindows ?? Math.max(1, Math.min(BASELINE_WINDOWS_MAX, Math.round(perLife / 4)));
  const enough = lengths.some((length) => length >= (baselineWindows + 2) * windowVectors);
  return { windowVectors: enough ? windowVectors : undefined, baselineWindows };
}

function spreadEverywhere(vectors: readonly ArrayLike<number>[], place: number): number {
  return place < 0 ? 0 : momentsOf(vectors.map((vector) => vector[place]!)).spread;
}

function momentsOf(values: readonly number[]): { n: number; mean: number; spread: number } {
  const known = values.filter(Number.isFinite);
  const n = known.length;
  if (n === 0) return { n, mean: 0, spread: 0 };
  const mean = known.reduce((sum, value) => sum + value, 0) / n;
  const squares = known.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { n, mean, spread: n > 1 ? Math.sqrt(squares / (n - 1)) : 0 };
}

/** States of predicted health: quarters of the reference's scores; equal scores make one edge. */
function healthEdgesOf(scores: Float64Array): number[] {
  const sorted = scores.filter(Number.isFinite).sort();
  const edges: number[] = [];
  for (let state = 1; state < HEALTH_STATES_MAX; state += 1) {
    const edge = sorted[Math.ceil((state * sorted.length) / HEALTH_STATES_MAX) - 1];
    if (edge !== undefined && edge < sorted.at(-1)! && (edges.length === 0 || edge > edges.at(-1)!)) edges.push(edge);
  }
  return edges;
}

function cellsOf(
  all: readonly ArrayLike<number>[],
  places: readonly number[],
  regimeOfEach: Int32Array,
  scores: Float64Array,
  regimes: Regimes,
  healthEdges: readonly number[],
): DriftReference["cells"] {
  const states = healthEdges.length + 1;
  const stateOfEach = Int32Array.from(scores, (score) => binOf(healthEdges, score));
  const cells = Array.from({ length: regimes.centres.length * states }, () => ({
    n: 0,
    mean: [] as number[],
    spread: [] as number[],
  }));
  for (const [i] of all.entries()) cells[regimeOfEach[i]! * states + stateOfEach[i]!]!.n += 1;
  for (const place of places) {
    const whole = momentsOf(all.map((vector) => vector[place]!));
    const ofRegime = regimes.centres.map((_, regime) =>
      momentsOf(all.filter((_vector, i) => regimeOfEach[i] === regime).map((vector) => vector[place]!)),
    );
    for (const [c, cell] of cells.entries()) {
      const regime = Math.floor(c / states);
      const own = momentsOf(
        all
          .filter((_vector, i) => regimeOfEach[i] === regime && stateOfEach[i] === c % states)
          .map((vector) => vector[place]!),
      );
      const speaks = [own, ofRegime[regime]!].find(({ n }) => n >= CELL_VALUES_MIN) ?? whole;
      cell.mean.push(speaks.mean);
      cell.spread.push(Math.max(speaks.spread, SPREAD_SHARE_MIN * whole.spread));
    }
  }
  return cells;
}

function binsOf(all: readonly ArrayLike<number>[], place: number, regimeOfEach: Int32Array, regime: number) {
  const own = all.filter((_vector, i) => regimeOfEach[i] === regime).map((vector) => vector[place]!);
  const profile = valueProfile(Float64Array.from(own));
  return profile === undefined ? { edges: [], counts: [0] } : { edges: profile.edges, counts: profile.counts };
}

function chartedLife(fold: WindowFold, { vectors, scores }: ReferenceSequence): ChartedLife {
  const { features, windowVectors } = fold.reference;
  const windows = Math.floor(vectors.length / windowVectors);
  const charts = Array.from({ length: 2 * features.length + 1 }, () => new Float64Array(windows).fill(Number.NaN));
  const movedFrom = new Int32Array(windows).fill(-1);
  let before: { mean: number; health: number } | undefined;
  fold.drop();
  for (let w = 0; w < windows; w += 1) {
    for (let i = w * windowVectors; i < (w + 1) * windowVectors; i += 1) fold.add(vectors[i]!, scores[i]!);
    const figures = fold.close();
    const { mean, logSpread } = statisticsOf(figures);
    for (let f = 0; f < features.length; f += 1) {
      charts[f]![w] = mean[f]!;
      charts[features.length + f]![w] = logSpread[f]!;
    }
    if (before !== undefined && figures.score !== undefined) {
      charts[2 * features.length]![w] = figures.score.mean - before.mean;
      movedFrom[w] = before.health;
    }
    before = figures.score;
  }
  return { windows, charts, movedFrom };
}

function withCharts(
  bare: DriftReference,
  sequences: readonly ReferenceSequence[],
  options: CalibrationOptions,
): DriftReference {
  const F = bare.features.length;
  const fold = new WindowFold(bare, options.names);
  const lives = sequences
    .map((sequence) => chartedLife(fold, sequence))
    .filter(({ windows }) => windows >= bare.baselineWindows + 2);
  const spreads = lastingSpreads(2 * F);
  const chart = (c: number) =>
    chartOf(
      lives.map(({ charts }) => charts[c]!),
      bare.baselineWindows,
      spreads,
    );
  const charted: DriftReference = {
    ...bare,
    mean: bare.features.map((_, f) => chart(f)),
    spread: bare.features.map((_, f) => chart(F + f)),
    score: Array.from({ length: bare.healthEdges.length + 1 }, (_, state) => scoreChart(lives, 2 * F, state)),
  };
  const falseAlarmsPerDeviceMonth = options.falseAlarmsPerDeviceMonth ?? FALSE_ALARMS_PER_DEVICE_MONTH;
  return {
    ...charted,
    limit: { ...resampledLaw(charted, lives, options.seed), falseAlarmsPerDeviceMonth },
  };
}

/**
 * How many of its own spreads an asset's lasting distance may have without being counted: of so many charts none may
 * stand out just because it is one of many.
 */
function lastingSpreads(charts: number): number {
  return Math.sqrt(2 * Math.log(2 * charts));
}

/** Centre, lasting share of an asset's own distance, spread that remains, and allowance of one statistic. */
function chartOf(lives: readonly Float64Array[], baseline: number, spreads: number): ChartReference {
  const centre = momentsOf(lives.flatMap((life) => Array.from(life))).mean;
  // Every place a device may begin to watch at: its first windows, and those after them.
  const perLife = Math.max(1, Math.ceil(STARTS_MAX / lives.length));
  const starts = lives.flatMap((life) => {
    const possible = life.length - baseline - 1;
    const count = Math.min(possible, perLife);
    return Array.from({ length: count }, (_, i) => {
      const s = Math.floor((i * possible) / count);
      return {
        first: momentsOf(Array.from(life.subarray(s, s + baseline))),
        after: Array.from(life.subarray(s + baseline, s + baseline + RESAMPLED_WINDOWS)).filter(Number.isFinite),
      };
    });
  });
  const known = starts.filter(({ first, after }) => first.n > 0 && after.length > 0);
  let product = 0;
  let square = 0;
  for (const { first, after } of known) {
    const own = first.mean - centre;
    product += own * (momentsOf(after).mean - centre);
    square += own * own;
  }
  const lasting = square > 0 ? Math.max(0, Math.min(1, product / square)) : 0;
  const rests = known.map(({ first, after }) => after.map((value) => value - centre - lasting * (first.mean - centre)));
  const { spread } = momentsOf(rests.flat());
  const scale = spread > 0 ? spread : 1;
  const restMeans = rests.map((rest) => momentsOf(rest).mean / scale);
  const lastingRest = Math.sqrt(Math.max(0, momentsOf(restMeans).spread ** 2 - meanNoise(rests, scale)));
  const allowance = Math.min(DISTANCE_MAX / 2, ALLOWANCE + spreads * lastingRest);
  return { centre, scale, lasting, allowance, between: lastingRest };
}

/** How much the means of rests of these lengths would vary, were their windows independent of each other. */
function meanNoise(rests: readonly (readonly number[])[], scale: number): number {
  if (rests.length === 0) return 0;
  return rests.reduce((sum, rest) => sum + (momentsOf(rest).spread / scale) ** 2 / rest.length, 0) / rests.length;
}

function scoreChart(lives: readonly ChartedLife[], c: number, state: number): ChartReference {
  const moves = (from: (life: ChartedLife, w: number) => boolean) =>
    lives.flatMap((life) => Array.from(life.charts[c]!).filter((move, w) => Number.isFinite(move) && from(life, w)));
  const own = moves((life, w) => life.movedFrom[w] === state);
  const { mean, spread } = momentsOf(own.length >= CELL_VALUES_MIN ? own : moves(() => true));
  return { centre: mean, scale: spread > 0 ? spread : 1, lasting: 0, allowance: ALLOWANCE, between: 0 };
}
