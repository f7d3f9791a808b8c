import type { StreamPosition } from "@bellwether/protocol/messages/device.ts";
import type {
  EventRecord,
  InferenceRecord,
  Stream,
  StreamAck,
  TelemetryRow,
} from "@bellwether/protocol/messages/stream.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import type { Tape } from "@bellwether/protocol/scan-tape.ts";
import type { Static } from "typebox";

/** Where a durable message comes from, and what it is. */
export interface MessageSource {
  readonly device: string;
  readonly site: string;
  readonly stream: Stream;
}

/** A durable message as it came from the broker. */
export interface IncomingBatch extends MessageSource {
  readonly bytes: Uint8Array;
  readonly receivedAtMs: number;
}

/**
 * Messages that are committed together, in the order they came, as a few long columns: on their way to another thread
 * thousands of small objects cost as much as storing them.
 */
export interface MessageGroup {
  /** Each device and stream once. */
  readonly sources: readonly MessageSource[];
  /** Of each message: its place in `sources`, where it ends in `bytes` (it begins where the one before ends), when it came. */
  readonly sourceOf: Uint32Array;
  readonly ends: Uint32Array;
  readonly receivedAtMs: Float64Array;
  readonly bytes: Uint8Array;
  /** What was found in the messages that could be scanned, and where on it each begins; -1 for one that could not. */
  readonly tape: Tape;
  readonly tapeAt: Int32Array;
}

/**
 * How one message ended. Acknowledged are: committed; duplicate (it is there); poison (it is kept as dead letter).
 * Not acknowledged: conflict (the same seq says something else; its device draws a new epoch) and deferred (too many
 * holes before it; it is sent again when they are filled).
 */
export const INGEST_OUTCOMES = ["committed", "duplicate", "poison", "conflict", "deferred"] as const;
export type IngestOutcome = (typeof INGEST_OUTCOMES)[number];

/** What a committed group leaves to be done: acknowledgements, the feed, counters. */
export interface CommittedGroup {
  /** How each message ended, as its place in `INGEST_OUTCOMES`. */
  readonly outcomes: Uint8Array;
  /** Where each source's stream stands now; undefined where not even an epoch could be read. */
  readonly acks: readonly (StreamAck | undefined)[];
  /** Messages with something new in them, as far as somebody asked for their records. */
  readonly batches: readonly CommittedBatch[];
  /** New rows whose records were not asked for although somebody listens, and the assets they are about. */
  readonly leftOut: { readonly rows: number; readonly assets: readonly SiteAsset[] };
  /** The memory of the group, which nobody reads any more: for another. */
  readonly memory: GroupMemory;
}

/** What a group's bytes and its tape lie in. */
export interface GroupMemory {
  readonly bytes: ArrayBuffer;
  readonly words: ArrayBuffer;
}

/** An asset, as the feed names it. */
export interface SiteAsset {
  readonly site: string;
  readonly asset: string;
}

/** Which records a commit answers with. */
export interface AskedRecords {
  readonly withRecords: boolean;
  /** Of how many telemetry messages one comes with its rows; 0: none does. All by default. */
  readonly telemetryEvery?: number;
}

/** What was new in a message, for those who listen. */
export interface CommittedBatch extends MessageSource {
  readonly hist: boolean;
  /** What to add to the device's own times. */
  readonly offsetMs: number;
  /** The records that were new, in seq order. */
  readonly records: readonly unknown[];
}

/** One committed telemetry row as it is exported. */
export interface StoredRow extends TelemetryRow {
  readonly device: string;
  /** Number of the epoch: the order in which the server first saw them. */
  readonly epoch: number;
  readonly seq: number;
  /** The row's time after what is known of the device's clock. */
  readonly correctedAtMs: number;
  readonly committedAtMs: number;
  readonly hist: boolean;
}

/** One committed prediction. */
export interface StoredPrediction {
  readonly id: number;
  readonly device: string;
  readonly epoch: number;
  readonly seq: number;
  readonly correctedAtMs: number;
  readonly committedAtMs: number;
  readonly hist: boolean;
  readonly record: InferenceRecord;
}

export interface StoredEvent {
  readonly id: number;
  readonly device: string;
  readonly epoch: number;
  readonly seq: number;
  readonly correctedAtMs: number;
  readonly committedAtMs: number;
  readonly hist: boolean;
  readonly record: EventRecord;
}

export interface StoredGap {
  readonly device: string;
  readonly stream: Stream;
  readonly epoch: number;
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly reason: string;
  readonly atMs: number;
}

/** A record with where it came from. */
export interface Latest<T> {
  readonly device: string;
  readonly hist: boolean;
  readonly offsetMs: number;
  readonly record: T;
}

/** The newest that is stored of an asset: a row, and what each model said last. */
export interface LatestOfAsset {
  readonly site: string;
  readonly asset: string;
  readonly row?: Latest<TelemetryRow>;
  readonly predictions: readonly Latest<InferenceRecord>[];
}

/** An alert that stands. */
export interface StandingAlarm extends Latest<EventRecord> {
  readonly site: string;
  readonly asset: string;
}

/** A message that could not be understood. */
export interface DeadLetter {
  readonly id: number;
  readonly device: string;
  /** What it was sent as: a stream, or state, birth, reported. */
  readonly stream: string;
  readonly code: string;
  readonly message: string;
  readonly byteCount: number;
  readonly atMs: number;
}

export interface IngestStore {
  /** Commits a group of messages in one transaction, in the order given. `group` is handed over: its bytes are gone after. */
  commit(args: AskedRecords & { readonly group: MessageGroup }): Promise<CommittedGroup>;
  /**
   * A session begins: what the device no longer holds and never arrived becomes counted gaps. Answers where each stream
   * stands, so that the device sends again what a restored store lacks. `conflict` when the store knows more of this
   * epoch than the device ever numbered: its outbox went back in time and must draw a new epoch.
   */
  openSession(args: {
    readonly device: string;
    readonly epoch: string;
    readonly streams: readonly Static<typeof StreamPosition>[];
    readonly nowMs: number;
  }): Promise<{ readonly acks: Readonly<Partial<Record<Stream, StreamAck>>>; readonly conflict: boolean }>;
  /** Rows in the order (device, epoch, seq), some batches at a time; `after` is the place of the last row read. */
  rows(args: {
    readonly device?: string;
    readonly assets?: readonly string[];
    /** Rows with these channels only. */
    readonly channels?: readonly string[];
    readonly sites?: readonly string[];
    readonly fromMs?: number;
    readonly toMs?: number;
    readonly after?: readonly [device: string, epoch: number, seq: number];
    readonly batches: number;
  }): Promise<{ readonly rows: StoredRow[]; readonly next?: readonly [device: string, epoch: number, seq: number] }>;
  /** The newest of every asset, or of some. */
  latest(args: {
    readonly sites?: readonly string[];
    readonly assets?: readonly { readonly site: string; readonly asset: string }[];
  }): Promise<LatestOfAsset[]>;
  /** Alerts that stand. */
  alarms(args: { readonly sites?: readonly string[] }): Promise<StandingAlarm[]>;
  /** By `seq`: in the order (device, epoch, seq), after one of them. By `commit`: as they arrived, after an id. */
  predictions(args: {
    readonly order?: "seq" | "commit";
    readonly after?: readonly [device: string, epoch: number, seq: number];
    readonly device?: string;
    readonly asset?: string;
    readonly model?: string;
    readonly digest?: string;
    readonly sites?: readonly string[];
    readonly afterId?: number;
    readonly limit: number;
  }): Promise<StoredPrediction[]>;
  events(args: {
    readonly device?: string;
    readonly asset?: string;
    readonly sites?: readonly string[];
    readonly afterId?: number;
    readonly limit: number;
  }): Promise<StoredEvent[]>;
  /** Newest first, after the given one. */
  gaps(args: {
    readonly device?: string;
    readonly sites?: readonly string[];
    readonly after?: Pick<StoredGap, "atMs" | "device" | "epoch" | "stream" | "fromSeq">;
    readonly limit: number;
  }): Promise<StoredGap[]>;
  deadLetters(args: {
    readonly device?: string;
    readonly sites?: readonly string[];
    readonly afterId?: number;
    readonly limit: number;
  }): Promise<DeadLetter[]>;
  /** One of them with its bytes, where they are still kept. */
  deadLetter(args: {
    readonly id: number;
    readonly sites?: readonly string[];
  }): Promise<(DeadLetter & { readonly bytes: Uint8Array | null }) | undefined>;
  /** Takes a dead letter again; answers how many records are stored now that were not, or why it cannot be taken. */
  replayDeadLetter(args: {
    readonly id: number;
    readonly nowMs: number;
  }): Promise<Result<{ readonly records: number }>>;
  /** Keeps a message that could not be understood, once; the newest of each device. */
  keepDeadLetter(args: {
    readonly device: string;
    readonly site: string;
    readonly kind: string;
    readonly code: string;
    readonly message: string;
    readonly bytes: Uint8Array;
    readonly atMs: number;
  }): Promise<void>;
  counts(args: Record<string, never>): Promise<{ readonly deadLetters: number; readonly gapRecords: number }>;
}
