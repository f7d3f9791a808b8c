import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";

const closed = { additionalProperties: false } as const;
const Figure = Type.Union([Type.Number(), Type.Null()]);

/** How well a model does on assets it has not learnt from, beside the best constant. */
export const Evaluation = Type.Object(
  {
    rows: integer({ minimum: 0 }),
    assets: integer({ minimum: 0 }),
    rmse: Figure,
    mae: Figure,
    /** Of the mean (regression) or share of ones (binary) of what was learnt from. */
    rmseMean: Figure,
    maeMean: Figure,
    /** Half width of the interval that holds 90 % of the held-out residuals. */
    intervalHalfWidth: Figure,
    /** Mean of predicted minus true. */
    bias: Figure,
    auc: Type.Optional(Figure),
    /** Best F1 over all thresholds, and the threshold that gives it. */
    f1: Type.Optional(Figure),
    f1Threshold: Type.Optional(Figure),
    /** F1 of always saying yes. */
    f1Always: Type.Optional(Figure),
    positives: Type.Optional(integer({ minimum: 0 })),
  },
  closed,
);
export type Evaluation = Static<typeof Evaluation>;

/** Share of held-out residuals the interval holds. */
export const INTERVAL_COVERAGE = 0.9;

/** Figures of predictions against truth; `learntMean` is the mean target of what was learnt from. */
export function evaluate(
  predicted: Float64Array,
  truth: Float64Array,
  groups: Int32Array,
  learntMean: number,
  binary: boolean,
): Evaluation {
  const rows = predicted.length;
  const residuals = Float64Array.from(predicted, (value, i) => value - truth[i]!);
  const fromMean = Float64Array.from(truth, (value) => learntMean - value);
  const base = {
    rows,
    assets: new Set(groups).size,
    rmse: finite(Math.sqrt(mean(residuals, (r) => r * r))),
    mae: finite(mean(residuals, Math.abs)),
    rmseMean: finite(Math.sqrt(mean(fromMean, (r) => r * r))),
    maeMean: finite(mean(fromMean, Math.abs)),
    intervalHalfWidth: rows === 0 ? null : quantile(residuals.map(Math.abs), INTERVAL_COVERAGE),
    bias: finite(mean(residuals, (r) => r)),
  };
  if (!binary) return base;
  const positives = truth.reduce((sum, value) => sum + (value > 0.5 ? 1 : 0), 0);
  const { f1, threshold } = bestF1(predicted, truth, positives);
  return {
    ...base,
    auc: aucOf(predicted, truth, positives),
    f1,
    f1Threshold: threshold,
    f1Always: rows + positives === 0 ? null : (2 * positives) / (rows + positives),
    positives,
  };
}

/** Quantile by linear interpolation (Hyndman-Fan type 7). */
export function quantile(values: Float64Array, q: number): number {
  const sorted = values.slice().sort();
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(sorted.length - 1, low + 1);
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (at - low);
}

function mean(values: Float64Array, figure: (value: number) => number): number {
  let sum = 0;
  for (const value of values) sum += figure(value);
  return sum / values.length;
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/**
 * Area under the ROC curve as the probability that a positive scores above a negative, ties half (Mann-Whitney U);
 * null where one class is absent.
 */
export function aucOf(predicted: Float64Array, truth: Float64Array, positives: number): number | null {
  const negatives = predicted.length - positives;
  if (positives === 0 || negatives === 0) return null;
  const order = Uint32Array.from(predicted.keys()).sort((a, b) => predicted[a]! - predicted[b]!);
  let rankSum = 0;
  for (let i = 0; i < order.length; ) {
    let end = i;
    while (end < order.length && predicted[order[end]!] === predicted[order[i]!]) end += 1;
    const rank = (i + 1 + end) / 2;
    for (; i < end; i += 1) if (truth[order[i]!]! > 0.5) rankSum += rank;
  }
  return (rankSum - (positives * (positives + 1)) / 2) / (positives * negatives);
}

function bestF1(predicted: Float64Array, truth: Float64Array, positives: number) {
  if (positives === 0) return { f1: null, threshold: null };
  const order = Uint32Array.from(predicted.keys()).sort((a, b) => predicted[b]! - predicted[a]!);
  let best = 0;
  let threshold = 0.5;
  let hits = 0;
  for (let i = 0; i < order.length; i += 1) {
    if (truth[order[i]!]! > 0.5) hits += 1;
    const here = predicted[order[i]!]!;
    const next = i + 1 < order.length ? predicted[order[i + 1]!]! : 0;
    if (here === next) continue;
    const f1 = (2 * hits) / (i + 1 + positives);
    if (f1 <= best) continue;
    best = f1;
    threshold = (here + next) / 2;
  }
  return { f1: best, threshold };
}
