import type { ResolutionOf } from "@bellwether/protocol/batch.ts";
import type { Problem } from "@bellwether/protocol/errors.ts";
import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type {
  AckMessage,
  ClockReading,
  EventRecord,
  InferenceRecord,
  SampleVectorRecord,
  Stream,
  TelemetryRow,
} from "@bellwether/protocol/messages/stream.ts";
import type { Time } from "@bellwether/protocol/process/time.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import type { BufferPhase } from "./pressure.ts";

/** A JSON document, as an input writes its cursor. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** What one step of the pipeline made. All of it, the cursor included, becomes durable in one transaction. */
export interface OutboxEntry {
  readonly rows?: readonly TelemetryRow[];
  readonly inference?: readonly InferenceRecord[];
  readonly events?: readonly EventRecord[];
  readonly drift?: readonly DriftRecord[];
  readonly samples?: readonly SampleVectorRecord[];
  /** Where the input that gave the rows goes on after a restart. */
  readonly cursor?: { readonly input: string; readonly value: JsonValue };
}

/** One encoded batch on its way to the server. */
export interface OutboxChunk {
  readonly stream: Stream;
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly bytes: Uint8Array;
}

/** What is held of each stream, for the message that opens a session. */
export interface OutboxPositions {
  readonly epoch: string;
  readonly streams: readonly { readonly stream: Stream; readonly firstHeld: number; readonly next: number }[];
}

export interface OutboxFigures {
  /** Bytes of the file that are in use, and the most it may use. */
  readonly bytes: number;
  readonly bytesMax: number;
  readonly phase: BufferPhase;
  /** Records that gave way to newer or more important ones since this file was made. */
  readonly evictedRecords: number;
  /** Records that fit no stream and were never given a seq. */
  readonly refusedRecords: number;
  /** Committed records that the server has not acknowledged. */
  readonly unacked: number;
  /** Records taken but not durable yet: more than a moment's worth only while the disk fails. */
  readonly pending: number;
  /** Why nothing can be made durable at the moment. */
  readonly problem?: Problem;
}

/** What an acknowledgement led to. */
export interface AckOutcome {
  /** A new epoch was drawn: the session must be opened again with it. */
  readonly newEpoch: boolean;
  /** The server lacks what it once had (a restored backup): it is sent again. */
  readonly rewound: boolean;
}

export interface OutboxOptions {
  /** Most bytes the outbox may use on disk, its write-ahead log included. */
  readonly maxBytes: number;
  /**
   * Records that were held this long without an acknowledgement give way, counted, even where there is room. The time of
   * a device that is on counts, by its monotonic clock.
   */
  readonly maxAgeMs: number;
  /** Longest time between taking a record and making it durable; read whenever one waits, so that it may change. */
  readonly commitMs: number;
  /**
   * How long telemetry that is little for a message waits for more, counted from the message before; 0 when not said.
   * Nothing else waits.
   */
  readonly joinMs?: number;
  /** How long acknowledged chunks are kept for a server that is restored from a backup. */
  readonly keepAckedMs: number;
  /** The most that backfill may take of the line, in bytes a second; live records are not counted. */
  readonly backfillBytesPerSecond: number;
  readonly resolutionOf?: ResolutionOf;
  /** The device's clocks now. */
  readonly clock: () => ClockReading;
  /** Timers; the machine's own by default. */
  readonly time?: Pick<Time, "after">;
  /** Draws an epoch, a random number of 64 bits in hex; from the machine's own chance by default. */
  readonly drawEpoch?: () => string;
  /** Called when `nextChunks` may have something new to give. */
  readonly sendable?: () => void;
  /** Called when something goes wrong, or the phase changes to shedding; not for every repetition. */
  readonly noticed?: (problem: Problem) => void;
}

/**
 * The device's durable buffer. Records are taken in memory and become durable together, at most `commitMs` later, in
 * one SQLite transaction (`synchronous=FULL`) that moves the inputs' cursors too. Each stream counts its own seq
 * without holes within an epoch. What does not fit the budget gives way, lowest class and oldest first, and what is over
 * the age limit; both leave counted gaps. Nothing here throws for want of disk: the outbox goes on in memory, bounded, and says so.
 */
export interface Outbox {
  readonly epoch: string;
  /** Takes records; returns at once. They are durable after the next commit. */
  append(entry: OutboxEntry): void;
  /** Makes everything taken durable now. */
  commit(): Result<void>;
  /** Cursors as they were committed, by input. */
  cursors(): Readonly<Record<string, JsonValue>>;
  /** A session opens: what was handed out before and not acknowledged will be handed out again. */
  open(): OutboxPositions;
  positions(): OutboxPositions;
  /** Whether the server hears us now; what is committed while it does not is marked as backfill (`hist`). */
  setOnline(online: boolean): void;
  /**
   * The next chunks of about `maxBytes`: by weight of stream, oldest first, and live ones before backfill; at least one if
   * any waits that the backfill's pace does not hold back.
   */
  nextChunks(maxBytes: number): OutboxChunk[];
  /** The server's word on what it has committed. */
  acked(ack: AckMessage): AckOutcome;
  /** Draws a new epoch; everything unacknowledged is numbered again from 1 and sent under it. */
  newEpoch(): void;
  stats(): OutboxFigures;
  /** Commits and closes. */
  close(): Result<void>;
}
