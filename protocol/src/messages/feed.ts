import { type Static, Type } from "typebox";
import { Digest, Name, TimeMs } from "../ids.ts";
import { integer, mapOf, oneOf } from "../schema.ts";
import { ChartVerdict, QualityFinding } from "./drift.ts";
import { Contribution } from "./stream.ts";

/**
 * What subscribers read: plain JSON by asset, only of what is committed. `time` is ISO 8601 in UTC after what the server
 * knows of the device's clock; `observedAtMs` is the source's own. Members may be added; readers ignore what they do not
 * know.
 */
const about = {
  asset: Name,
  device: Name,
  time: Type.String({ description: "ISO 8601, UTC" }),
  observedAtMs: TimeMs,
  /** Backfill: it was taken while the line was down. */
  hist: Type.Boolean(),
};

const values = {
  values: mapOf(Name, Type.Union([Type.Number(), Type.Null()])),
  /** Only the channels that are not good. */
  quality: Type.Optional(mapOf(Name, oneOf(["uncertain", "bad"]))),
};

/** `feed/{asset}/telemetry`: one committed row. */
export const TelemetryFeed = Type.Object({ ...about, ...values });
export type TelemetryFeed = Static<typeof TelemetryFeed>;

const said = {
  model: Name,
  version: integer({ minimum: 1 }),
  digest: Digest,
  /** The model's primary output; absent where the inference failed. */
  value: Type.Optional(Type.Number()),
  error: Type.Optional(Type.String()),
  /** Whether the model's alert stands. */
  alert: Type.Optional(Type.Boolean()),
};

/** `feed/{asset}/prediction`: one committed prediction, or the error that stood in its place. */
export const PredictionFeed = Type.Object({
  ...about,
  ...said,
  /** Every output of the model, by name. */
  outputs: Type.Optional(mapOf(Name, Type.Unknown())),
  explanation: Type.Optional(Type.Array(Contribution)),
  quality: Type.Optional(mapOf(Name, integer())),
});
export type PredictionFeed = Static<typeof PredictionFeed>;

/** `feed/{asset}/drift`: a closed drift window of the asset, or a new verdict on a cohort it belongs to. */
export const DriftFeed = Type.Object({
  ...about,
  model: Name,
  version: Type.Optional(integer({ minimum: 1 })),
  phase: Type.String({ description: "Of the asset; of the cohort where one is named." }),
  /** The verdict in a sentence. */
  text: Type.String(),
  cohort: Type.Optional(Name),
  verdicts: Type.Optional(Type.Array(ChartVerdict)),
  quality: Type.Optional(Type.Array(QualityFinding)),
});
export type DriftFeed = Static<typeof DriftFeed>;

/** `feed/{asset}/last`, retained: the newest row and what each model said last. */
export const LastFeed = Type.Object({
  ...values,
  asset: Name,
  /** Absent until the asset's first row. */
  device: Type.Optional(Name),
  time: Type.Optional(about.time),
  observedAtMs: Type.Optional(TimeMs),
  hist: Type.Optional(Type.Boolean()),
  predictions: mapOf(Name, Type.Object({ ...said, time: about.time, observedAtMs: TimeMs })),
});
export type LastFeed = Static<typeof LastFeed>;

/** `feed/{asset}/alarm/{alarm}`, retained while the alert stands; an empty payload clears it. */
export const AlarmFeed = Type.Object({
  ...about,
  alarm: Name,
  severity: oneOf(["info", "warning", "critical"]),
  code: Type.String(),
  text: Type.String(),
  model: Type.Optional(Name),
  detail: Type.Optional(mapOf(Type.String(), Type.Unknown())),
});
export type AlarmFeed = Static<typeof AlarmFeed>;

/** `feed/{device}/device`, retained: presence with its age, health, and the models that run. */
export const DeviceFeed = Type.Object({
  device: Name,
  time: about.time,
  presence: oneOf(["never", "online", "late", "offline"]),
  /** Age of the last word, in milliseconds; null before the first. */
  ageMs: Type.Union([integer({ minimum: 0 }), Type.Null()]),
  labels: mapOf(Type.String(), Type.String()),
  health: Type.Optional(Type.Unknown()),
  models: Type.Array(
    Type.Object({
      model: Name,
      phase: Type.String(),
      version: Type.Optional(integer()),
      digest: Type.Optional(Digest),
    }),
  ),
});
export type DeviceFeed = Static<typeof DeviceFeed>;
