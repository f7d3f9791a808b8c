import { type Static, Type } from "typebox";
import { Digest, Epoch, Name, TimeMs } from "../ids.ts";
import { integer, mapOf, oneOf, pairOf, validator } from "../schema.ts";
import type { DriftRecord } from "./drift.ts";

/** The durable streams of a device, most important first; the order is the order of eviction backwards. */
export const STREAMS = ["event", "drift", "inference", "telemetry", "samples"] as const;
export type Stream = (typeof STREAMS)[number];
export const StreamName = oneOf(STREAMS);

export const QUALITIES = ["good", "uncertain", "bad"] as const;
/** good: as measured; uncertain: outside its declared range or interpolated; bad: the read failed, there is no value. */
export type Quality = (typeof QUALITIES)[number];

/** One channel's value at one time. `value` is null exactly when `quality` is "bad". */
export interface Sample {
  readonly asset: string;
  readonly channel: string;
  readonly observedAtMs: number;
  readonly value: number | null;
  readonly quality: Quality;
}

/** One asset's channels at one instant: the record of the telemetry stream. Absent channels were not read. */
export interface TelemetryRow {
  readonly asset: string;
  readonly observedAtMs: number;
  readonly values: Readonly<Record<string, number | null>>;
  /** Only the channels that are not good. */
  readonly quality?: Readonly<Record<string, "uncertain" | "bad">>;
}

/** What is kept of a channel's values in a bucket of time; `mean` to nine digits. */
export interface BucketFigures {
  readonly count: number;
  readonly min: number;
  readonly mean: number;
  readonly max: number;
  readonly last: number;
}
export const BUCKET_FIGURES = ["count", "min", "mean", "max", "last"] as const;

/** What is kept of an asset's rows in one bucket when they gave way. */
export interface DownsampledRow {
  readonly asset: string;
  /** Of the last of the rows. */
  readonly observedAtMs: number;
  /** By channel; of values that were read. */
  readonly figures: Readonly<Record<string, BucketFigures>>;
}

const OutputValue = Type.Union([
  Type.Number(),
  Type.Boolean(),
  Type.String({ maxLength: 256 }),
  Type.Array(Type.Union([Type.Number(), Type.String({ maxLength: 256 })]), { maxItems: 1024 }),
]);

/** One feature's share of a prediction: how much the value moves when the feature is set to its baseline. */
export const Contribution = Type.Object({ feature: Type.String({ maxLength: 200 }), delta: Type.Number() });

/** A prediction, or the error that stood in its place: the record of the inference stream. */
export const InferenceRecord = Type.Object({
  asset: Name,
  /** End of the window, in the source's own time. */
  observedAtMs: TimeMs,
  model: Name,
  version: integer({ minimum: 1 }),
  digest: Digest,
  /** The output the manifest names primary; absent when the inference failed. */
  value: Type.Optional(Type.Number()),
  /** Every output the manifest names, by name. */
  outputs: Type.Optional(mapOf(Name, OutputValue)),
  /** Code of the error that stood in the way. */
  error: Type.Optional(Type.String({ maxLength: 64 })),
  latencyUs: Type.Optional(Type.Number({ minimum: 0 })),
  alert: Type.Optional(Type.Boolean()),
  explanation: Type.Optional(Type.Array(Contribution, { maxItems: 8 })),
  /** Rows the window should have had, had, and of those late or missing a channel. */
  quality: Type.Optional(
    Type.Object({
      expected: integer({ minimum: 0 }),
      received: integer({ minimum: 0 }),
      late: integer({ minimum: 0 }),
      missing: integer({ minimum: 0 }),
    }),
  ),
  /** While a new model is being confirmed: what its predecessor says of the same vector. */
  predecessor: Type.Optional(Type.Object({ digest: Digest, value: Type.Number() })),
  /** While a candidate runs as a shadow: what it says of the same vector. Nothing is ever done about it. */
  shadow: Type.Optional(
    Type.Object({
      digest: Digest,
      value: Type.Optional(Type.Number()),
      error: Type.Optional(Type.String({ maxLength: 64 })),
    }),
  ),
});
export type InferenceRecord = Static<typeof InferenceRecord>;

/** Codes of the events by which an asset's alert begins and ends. */
export const ALERT_RAISED = "ALERT_RAISED";
export const ALERT_CLEARED = "ALERT_CLEARED";

/** An alarm, device or security event: the record of the event stream. */
export const EventRecord = Type.Object({
  atMs: TimeMs,
  kind: Type.Union([Type.Literal("alert"), Type.Literal("device"), Type.Literal("security")]),
  severity: Type.Union([Type.Literal("info"), Type.Literal("warning"), Type.Literal("critical")]),
  code: Type.String({ minLength: 1, maxLength: 64 }),
  text: Type.String({ maxLength: 1000 }),
  asset: Type.Optional(Name),
  model: Type.Optional(Name),
  detail: Type.Optional(mapOf(Type.String({ maxLength: 64 }), Type.Unknown(), { maxProperties: 32 })),
});
export type EventRecord = Static<typeof EventRecord>;

/** A feature vector kept for retraining: the record of the samples stream. */
export const SampleVectorRecord = Type.Object({
  asset: Name,
  observedAtMs: TimeMs,
  model: Name,
  features: mapOf(Type.String({ maxLength: 200 }), Type.Union([Type.Number(), Type.Null()])),
});
export type SampleVectorRecord = Static<typeof SampleVectorRecord>;

/** The record type of each stream. */
export interface StreamRecords {
  readonly event: EventRecord;
  readonly drift: DriftRecord;
  readonly inference: InferenceRecord;
  readonly telemetry: TelemetryRow;
  readonly samples: SampleVectorRecord;
}

/** The device's clocks at the moment a batch was cut; the server derives corrected time from them. */
export const ClockReading = Type.Object({
  bootId: Type.String({ minLength: 1, maxLength: 64 }),
  monoMs: Type.Number({ minimum: 0 }),
  wallMs: TimeMs,
  clockSynced: Type.Boolean(),
});
export type ClockReading = Static<typeof ClockReading>;
export const clockReading = validator("The clock reading", ClockReading);

/** Why records are missing. */
export const GAP_REASONS = ["evicted", "expired", "unreadable", "downsampled"] as const;
export type GapReason = (typeof GAP_REASONS)[number];

/**
 * The unit of every durable stream: records with consecutive seq from `fromSeq`, or a counted gap that takes the place
 * of records the outbox had to evict. (device, epoch, stream, seq) names one record for ever.
 */
export interface StreamBatch<S extends Stream = Stream> {
  readonly v: 1;
  readonly epoch: string;
  readonly stream: S;
  readonly fromSeq: number;
  readonly records: readonly StreamRecords[S][];
  /**
   * With a gap `records` is empty; the gap consumes `count` numbers from `fromSeq`. evicted: the disk budget was used up;
   * expired: over the age limit; unreadable: the records fit no packet, or rotted; downsampled: only figures of them are left.
   */
  readonly gap?: { readonly count: number; readonly reason: GapReason };
  /** With a gap of telemetry that was downsampled: what is left of its rows, by the minute. */
  readonly downsampled?: readonly DownsampledRow[];
  /** Taken while the link was down: backfill, which never pages people. */
  readonly hist: boolean;
  readonly clock: ClockReading;
}

/** Schema of the non-telemetry batches as they travel (telemetry travels in columns, see batch.ts). */
export const batchEnvelope = {
  v: Type.Literal(1),
  epoch: Epoch,
  fromSeq: integer({ minimum: 1 }),
  gap: Type.Optional(
    Type.Object({
      count: integer({ minimum: 1, maximum: 1e12 }),
      reason: oneOf(GAP_REASONS),
    }),
  ),
  hist: Type.Boolean(),
  clock: ClockReading,
};

/** `down/ack`: per stream what is committed, and the last `reported` revision that was stored. */
export const AckMessage = Type.Object({
  v: Type.Literal(1),
  streams: Type.Partial(
    Type.Object(
      Object.fromEntries(
        STREAMS.map((stream) => [
          stream,
          Type.Object({
            epoch: Epoch,
            /** Everything up to and including this seq is committed; 0 when nothing is. */
            upTo: integer({ minimum: 0 }),
            /** Committed ranges beyond `upTo`, both ends included. */
            also: Type.Array(pairOf(integer({ minimum: 1 })), {
              maxItems: 256,
            }),
          }),
        ]),
      ),
    ),
  ),
  reportedRev: Type.Optional(integer({ minimum: 0 })),
  /** The same seq arrived with other content: the device draws a new epoch and sends everything unacknowledged again. */
  newEpoch: Type.Optional(Type.Boolean()),
});
export interface StreamAck {
  readonly epoch: string;
  readonly upTo: number;
  readonly also: readonly (readonly [number, number])[];
}
export interface AckMessage {
  readonly v: 1;
  readonly streams: Readonly<Partial<Record<Stream, StreamAck>>>;
  readonly reportedRev?: number;
  readonly newEpoch?: boolean;
}
export const ackMessage = validator("The acknowledgement", AckMessage);
