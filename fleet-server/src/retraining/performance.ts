import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import { isBinary, type TargetSpec, targetsOf } from "./targets.ts";

/** A prediction that may be held against what happened. */
export interface JudgedPrediction {
  readonly asset: string;
  readonly atMs: number;
  readonly version: number;
  readonly value: number;
}

/** What is known of an asset: times of its rows, rising, and its failures. */
export interface AssetPast {
  readonly asset: string;
  readonly timesMs: Float64Array;
  readonly failuresMs: Float64Array;
}

const closed = { additionalProperties: false } as const;
const Figure = Type.Union([Type.Number(), Type.Null()]);

/** Errors of predictions whose labels have matured. */
export const Performance = Type.Object(
  {
    n: integer({ description: "Predictions whose label is known by now." }),
    unmatured: integer({ description: "Predictions that nobody can judge yet." }),
    assets: integer(),
    rmse: Figure,
    mae: Figure,
    bias: Type.Union([Type.Number(), Type.Null()], { description: "Mean of predicted minus true." }),
    rmseOfMean: Type.Union([Type.Number(), Type.Null()], {
      description: "Of a predictor that always says the mean label.",
    }),
    precision: Type.Union([Type.Number(), Type.Null()], { description: "Of probabilities of a half or more." }),
    recall: Figure,
  },
  closed,
);
export type Performance = Static<typeof Performance>;

/**
 * Predictions against their labels. A label matures when the failure that ends the life has happened, or, for failure
 * within a horizon, when the horizon has passed without one; until then a prediction is neither right nor wrong.
 */
export function performanceOf(
  predictions: readonly JudgedPrediction[],
  pasts: readonly AssetPast[],
  spec: TargetSpec,
): Performance {
  const labels = new Map<string, number>();
  for (const past of pasts) {
    const targets = targetsOf({ ...past, channels: [], target: undefined }, spec);
    for (const [i, atMs] of past.timesMs.entries()) labels.set(`${past.asset}@${atMs}`, targets[i]!);
  }
  const pairs = predictions.flatMap(({ asset, atMs, value }) => {
    const label = labels.get(`${asset}@${atMs}`) ?? Number.NaN;
    return Number.isNaN(label) ? [] : [{ asset, value, label }];
  });
  const n = pairs.length;
  const mean = (of: (pair: (typeof pairs)[number]) => number) =>
    n === 0 ? null : pairs.reduce((sum, pair) => sum + of(pair), 0) / n;
  const rootMean = (of: (pair: (typeof pairs)[number]) => number) => {
    const squares = mean((pair) => of(pair) ** 2);
    return squares === null ? null : Math.sqrt(squares);
  };
  const usual = mean(({ label }) => label) ?? 0;
  const binary = isBinary(spec);
  const count = (said: boolean, was: boolean) =>
    pairs.filter(({ value, label }) => value >= 0.5 === said && (label === 1) === was).length;
  const share = (part: number, whole: number) => (binary && whole > 0 ? part / whole : null);
  const hits = count(true, true);
  return {
    n,
    unmatured: predictions.length - n,
    assets: new Set(pairs.map(({ asset }) => asset)).size,
    rmse: rootMean(({ value, label }) => value - label),
    mae: mean(({ value, label }) => Math.abs(value - label)),
    bias: mean(({ value, label }) => value - label),
    rmseOfMean: rootMean(({ label }) => usual - label),
    precision: share(hits, hits + count(true, false)),
    recall: share(hits, hits + count(false, true)),
  };
}
