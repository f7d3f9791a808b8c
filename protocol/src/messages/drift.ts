import { type Static, Type } from "typebox";
import { Digest, Name, TimeMs } from "../ids.ts";
import { integer, oneOf } from "../schema.ts";

export const DRIFT_PHASES = ["warming", "stable", "suspect", "drifted"] as const;
export type DriftPhase = (typeof DRIFT_PHASES)[number];

/** What can be wrong with a channel's data themselves; any of them blocks retraining instead of triggering it. */
export const QUALITY_KINDS = ["missing", "range", "stuck", "gap", "clock", "unit"] as const;
export type QualityKind = (typeof QUALITY_KINDS)[number];

const FeatureName = Type.String({ maxLength: 200 });
const Whole = integer();
const Count = integer({ minimum: 0, maximum: 1_000_000 });
const FEATURES_MAX = 256;

/** One chart that stands out. */
export const ChartVerdict = Type.Object({
  /** Charted feature; "(score)" for the model's own output. */
  feature: FeatureName,
  kind: oneOf(["mean", "spread", "score"]),
  direction: oneOf(["up", "down"]),
  /** Its CUSUM, and the limit at which it alarms. */
  sum: Type.Number(),
  limit: Type.Number(),
  /** Mean distance since then: in spreads of the feature (mean), logarithm of a ratio (spread), unit of the score (score). */
  shift: Type.Number(),
  /** When the chart last was at rest. */
  sinceMs: TimeMs,
});
export type ChartVerdict = Static<typeof ChartVerdict>;

/** A channel whose data themselves are wrong, in one window. */
export const QualityFinding = Type.Object({
  channel: Name,
  kind: oneOf(QUALITY_KINDS),
  /** Rows concerned. */
  rows: Count,
  text: Type.String({ maxLength: 300 }),
});
export type QualityFinding = Static<typeof QualityFinding>;

/**
 * Counts and sums of one window that add up exactly, in any order: whole numbers only. Lists are in the order of the
 * reference's charted features.
 */
export const DriftSketch = Type.Object({
  /** Values that were there. */
  n: Type.Array(Count, { maxItems: FEATURES_MAX }),
  /** Sum, and sum of squares, of distances from what the cell expects, in thousandths of its spread. */
  sum: Type.Array(Whole, { maxItems: FEATURES_MAX }),
  sumSq: Type.Array(Whole, { maxItems: FEATURES_MAX }),
  /** Counts in the reference's frozen bins, by the regimes that occurred. */
  bins: Type.Array(
    Type.Object({
      regime: integer({ minimum: 0, maximum: 7 }),
      counts: Type.Array(Type.Array(Count, { maxItems: 32 }), { maxItems: FEATURES_MAX }),
    }),
    { maxItems: 8 },
  ),
});
export type DriftSketch = Static<typeof DriftSketch>;

/** Sketch and verdicts of one asset's window: the record of the drift stream. */
export const DriftRecord = Type.Object({
  asset: Name,
  /** Source time of the window's last row. */
  observedAtMs: TimeMs,
  /** Source time of its first row. */
  fromMs: TimeMs,
  model: Name,
  version: integer({ minimum: 1 }),
  /** Of the manifest. */
  digest: Digest,
  /** Digest of the reference whose bins and cells this was held against. */
  reference: Digest,
  phase: oneOf(DRIFT_PHASES),
  /** The asset's own lasting distance from the reference, per feature, in thousandths; absent while it is not known. */
  own: Type.Optional(Type.Array(Type.Union([Whole, Type.Null()]), { maxItems: FEATURES_MAX })),
  sketch: DriftSketch,
  verdicts: Type.Array(ChartVerdict, { maxItems: 16 }),
  quality: Type.Array(QualityFinding, { maxItems: 64 }),
});
export type DriftRecord = Static<typeof DriftRecord>;
