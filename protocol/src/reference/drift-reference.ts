import { type Static, Type } from "typebox";
import { integer } from "../schema.ts";

/** Features that are charted at most, over all regimes together: a window's sketch must fit a packet. */
export const DRIFT_FEATURES_MAX = 256;
/** Operating regimes at most. */
export const REGIMES_MAX = 8;
/** States of predicted health at most. */
export const HEALTH_STATES_MAX = 4;

const closed = { additionalProperties: false } as const;
const Numbers = (maxItems: number) => Type.Array(Type.Number(), { maxItems });
const PerFeature = Numbers(DRIFT_FEATURES_MAX);

/**
 * How operating regimes are told apart: the nearest centre over these features of the vector, each divided by its
 * scale. Without features there is one regime.
 */
export const Regimes = Type.Object(
  {
    features: Type.Array(Type.String({ maxLength: 200 }), { maxItems: 16 }),
    scales: Numbers(16),
    centres: Type.Array(Numbers(16), { minItems: 1, maxItems: REGIMES_MAX }),
  },
  closed,
);
export type Regimes = Static<typeof Regimes>;

/** A chart's statistic over the reference's own windows: where it lies, how far it strays, what is no news. */
export const ChartReference = Type.Object(
  {
    centre: Type.Number(),
    /** Window-to-window spread within an asset, after its own baseline was subtracted. */
    scale: Type.Number({ exclusiveMinimum: 0 }),
    /** Share of an asset's own distance from the centre, seen in its first windows, that lasts. */
    lasting: Type.Number({ minimum: 0, maximum: 1 }),
    /** Standardised distance a window may have without being counted. */
    allowance: Type.Number({ minimum: 0 }),
    /** Spread between assets of the standardised distance that stays beyond their own baseline. */
    between: Type.Number({ minimum: 0 }),
  },
  closed,
);
export type ChartReference = Static<typeof ChartReference>;

/** What a device watches for drift, frozen with the model: made by drift/calibration.ts. */
export const DriftReference = Type.Object(
  {
    /** Names of the charted features, in the order of every list below. */
    features: Type.Array(Type.String({ maxLength: 200 }), { minItems: 1, maxItems: DRIFT_FEATURES_MAX }),
    /** Vectors of one asset that make a window, and windows that make its baseline. */
    windowVectors: integer({ minimum: 4, maximum: 100_000 }),
    baselineWindows: integer({ minimum: 1, maximum: 1_000 }),
    regimes: Regimes,
    /** Edges between states of predicted health, over the primary output. */
    healthEdges: Numbers(HEALTH_STATES_MAX - 1),
    /** Expected value and spread of each feature in each cell; cell = regime * health states + health state. */
    cells: Type.Array(Type.Object({ n: integer({ minimum: 0 }), mean: PerFeature, spread: PerFeature }, closed), {
      minItems: 1,
      maxItems: REGIMES_MAX * HEALTH_STATES_MAX,
    }),
    /** Per regime and feature: edges of bins of equal mass, frozen, and what the reference had in them. */
    bins: Type.Array(
      Type.Array(
        Type.Object({ edges: Numbers(31), counts: Type.Array(integer({ minimum: 0 }), { maxItems: 32 }) }, closed),
        { maxItems: DRIFT_FEATURES_MAX },
      ),
      { minItems: 1, maxItems: REGIMES_MAX },
    ),
    /** Charts of the window mean and of the logarithm of the window's spread, per feature. */
    mean: Type.Array(ChartReference, { maxItems: DRIFT_FEATURES_MAX }),
    spread: Type.Array(ChartReference, { maxItems: DRIFT_FEATURES_MAX }),
    /** Chart of how far the mean score moves from one window to the next, per state of health it moves from. */
    score: Type.Array(ChartReference, { minItems: 1, maxItems: HEALTH_STATES_MAX }),
    /**
     * How high the CUSUMs of an asset peak where nothing drifts: above x exp((location - x) / scale) times in `windows`
     * windows. The alarm limit of a stated false-alarm rate follows from it.
     */
    limit: Type.Object(
      {
        windows: integer({ minimum: 1 }),
        location: Type.Number(),
        scale: Type.Number({ exclusiveMinimum: 0 }),
        falseAlarmsPerDeviceMonth: Type.Number({ exclusiveMinimum: 0 }),
      },
      closed,
    ),
    /** Usual source time between rows of an asset. */
    rowMs: Type.Number({ exclusiveMinimum: 0 }),
    /** What is usual of each channel's data themselves. */
    channels: Type.Array(
      Type.Object(
        {
          channel: Type.String({ maxLength: 128 }),
          unit: Type.String({ maxLength: 32 }),
          min: Type.Number(),
          max: Type.Number(),
          missing: Type.Number({ minimum: 0, maximum: 1 }),
          /** Longest run of one value. */
          stuckRows: integer({ minimum: 0 }),
        },
        closed,
      ),
      { maxItems: 1_024 },
    ),
  },
  closed,
);
export type DriftReference = Static<typeof DriftReference>;
export type ChannelReference = DriftReference["channels"][number];

/** What does not fit together in a drift reference, and what was expected; undefined when all of it does. */
export function checkDrift(drift: DriftReference): { readonly name: string; readonly expected: string } | undefined {
  const { features, regimes, healthEdges, cells, bins, mean, spread, score } = drift;
  const F = features.length;
  const rises = (edges: readonly number[]) => edges.every((edge, i) => i === 0 || edge > edges[i - 1]!);
  const wrong = (expected: string) => ({ name: "(drift)", expected });
  if (regimes.centres.some((centre) => centre.length !== regimes.features.length))
    return wrong("centres over every regime feature");
  if (regimes.scales.length !== regimes.features.length || regimes.scales.some((scale) => !(scale > 0))) {
    return wrong("a scale above zero for every regime feature");
  }
  if (!rises(healthEdges)) return wrong("health edges that rise");
  if (score.length !== healthEdges.length + 1) return wrong("a score chart for every state of health");
  if (cells.length !== regimes.centres.length * (healthEdges.length + 1))
    return wrong("a cell for every regime and state of health");
  if (
    cells.some((cell) => cell.mean.length !== F || cell.spread.length !== F || cell.spread.some((one) => !(one > 0)))
  ) {
    return wrong("a mean, and a spread above zero, of every feature in every cell");
  }
  if (mean.length !== F || spread.length !== F) return wrong("two charts for every feature");
  if (bins.length !== regimes.centres.length || bins.some((own) => own.length !== F))
    return wrong("bins for every regime and feature");
  const uneven = bins.flat().find(({ edges, counts }) => counts.length !== edges.length + 1 || !rises(edges));
  return uneven === undefined ? undefined : wrong("bin edges that rise, and one count for each bin");
}
