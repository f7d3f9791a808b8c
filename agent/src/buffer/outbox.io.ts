import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { encodeChunks } from "@bellwether/protocol/batch.ts";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import {
  type AckMessage,
  STREAMS,
  type Stream,
  type StreamBatch,
  type StreamRecords,
} from "@bellwether/protocol/messages/stream.ts";
import { checkRecord } from "@bellwether/protocol/record-check.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import { expiredAcks, judgeAck, type StreamKnowledge } from "./acknowledgement.ts";
import type { SeqRange } from "./eviction.ts";
import { type GapReason, gapBody } from "./gap.ts";
import type {
  AckOutcome,
  JsonValue,
  Outbox,
  OutboxChunk,
  OutboxEntry,
  OutboxFigures,
  OutboxOptions,
  OutboxPositions,
} from "./outbox.ts";
import type { HeldChunk, OpenDatabase, OutboxFile } from "./outbox-file.io.ts";
import { Pending, type PendingCounts } from "./pending.ts";
import { type PerStream, perStream, total } from "./per-stream.ts";
import { type BufferPhase, EVICT_TO, nextPhase } from "./pressure.ts";
import { type FilePlace, openFile, recoverFile, troubleOf } from "./recovery.io.ts";
import { dropAcked, expireAcked, insertGap, makeRoom, type RoomContext } from "./room.io.ts";
import { type Credits, NO_CREDITS, planSend } from "./send-plan.ts";
import { chunkToSend, type SendContext, waitingChunks } from "./sending.io.ts";

/** Values waiting for a commit: beyond the first limit it comes at once, beyond the second the oldest give way. */
const COMMIT_CELLS = 150_000;
const PENDING_CELLS_MAX = 500_000;
const WAL_BYTES_MAX = 4 * 1024 * 1024;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 10_000;
/** After the disk was full, the outbox tries to grow again this much later. */
const DISK_LIMIT_MS = 60_000;

/** A predecessor that was just killed may still be letting go of the file. */
const LOCK_WAIT_MS = 500;

/**
 * Opens the outbox on a file, making it if need be. Fails only where the agent must not run at all: another process
 * uses the file, a newer agent wrote it, or it can neither be opened nor made.
 */
export function openOutbox(
  path: string,
  options: OutboxOptions,
  openDatabase: OpenDatabase = openSqlite,
): Result<Outbox> {
  const walBytes = Math.min(WAL_BYTES_MAX, Math.floor(options.maxBytes / 4));
  const place = { path, walBytes, openDatabase, clock: options.clock };
  try {
    const opened = openFile(place);
    if (!opened.ok) return opened;
    const { file, recovered } = opened.value;
    const outbox = new SqliteOutbox(place, file, options);
    if (recovered) outbox.tellRecovered(recovered);
    return ok(outbox);
  } catch (cause) {
    if (troubleOf(cause) === undefined) throw cause;
    return err("OUTBOX_DISK_FAILED", { reason: (cause as Error).message });
  }
}

function openSqlite(file: string): Database.Database {
  // better-sqlite3 calls this a TypeError; it is the disk's trouble like any other (a mount that is gone).
  if (!existsSync(dirname(file))) throw Object.assign(new Error(`no folder for ${file}`), { code: "ENOENT" });
  return new Database(file, { timeout: LOCK_WAIT_MS });
}

class SqliteOutbox implements Outbox {
  readonly #place: FilePlace;
  readonly #options: OutboxOptions;
  readonly #budgetBytes: number;
  #file: OutboxFile | undefined;
  #epoch: string;
  #known: PerStream<StreamKnowledge>;
  #evicted: PerStream<number>;
  /** What of each stream was acknowledged so long ago that it may go. */
  #expiredTo = perStream(() => 0);
  #cursors: Record<string, JsonValue>;
  #commits: number;
  #pending = new Pending();
  #refused = 0;
  #credits: Credits = NO_CREDITS;
  #online = false;
  #closed = false;
  /** Acknowledgements moved since the last commit. */
  #moved = false;
  #timer: NodeJS.Timeout | undefined;
  #usedBytes = 0;
  #phase: BufferPhase = "normal";
  #problem: Problem | undefined;
  #retryMs = RETRY_FIRST_MS;
  #retryAtMonoMs = 0;
  /** What a commit held that failed without saying whether it took effect. */
  #attempted: PendingCounts | undefined;
  /** While the disk is full, it is the budget. */
  #diskLimit: { readonly bytes: number; readonly untilMonoMs: number } | undefined;

  constructor(place: FilePlace, file: OutboxFile, options: OutboxOptions) {
    this.#place = place;
    this.#options = options;
    this.#budgetBytes = options.maxBytes - place.walBytes;
    this.#file = file;
    this.#epoch = file.epoch;
    this.#commits = file.commits;
    this.#cursors = file.cursors();
    this.#known = perStream((stream) => ({ ...file.position(stream), also: [], sentTo: 0 }));
    this.#evicted = perStream((stream) => file.position(stream).evicted);
    for (const stream of STREAMS) this.#rewind(stream);
    this.#usedBytes = file.usedBytes();
    this.#phase = nextPhase("normal", this.#usedBytes / this.#budgetBytes, false);
  }

  get epoch(): string {
    return this.#epoch;
  }

  append(entry: OutboxEntry): void {
    this.#take("telemetry", entry.rows);
    this.#take("inference", entry.inference);
    this.#take("event", entry.events);
    this.#take("drift", entry.drift);
    this.#take("samples", entry.samples);
    if (entry.cursor) this.#pending.cursors.set(entry.cursor.input, entry.cursor.value);
    if (this.#problem !== undefined && this.#pending.cells > PENDING_CELLS_MAX) {
      this.#pending.shedTo(PENDING_CELLS_MAX * EVICT_TO);
      this.#phase = "shedding";
    }
    if (this.#problem === undefined && this.#pending.cells >= COMMIT_CELLS) this.commit();
    else if (!this.#pending.isEmpty) this.#schedule(this.#options.commitMs);
  }

  #take<S extends Stream>(stream: S, records: readonly StreamRecords[S][] | undefined): void {
    if (records === undefined) return;
    for (const record of records) {
      const checked = checkRecord(stream, record);
      if (checked.ok) this.#pending.add(stream, record);
      else if (this.#refused++ === 0) this.#notice(problem("RECORD_REFUSED", { ...checked.error.detail, stream }));
    }
  }

  commit(): Result<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#closed) return ok(undefined);
    const waiting = this.#awaitedRetry();
    if (waiting !== undefined) return { ok: false, error: waiting };
    return this.#guard(() => {
      const file = this.#usableFile();
      if (this.#pending.isEmpty && !this.#moved) return;
      this.#write(file);
    });
  }

  /** What may go makes room, and everything that waits becomes durable: one transaction. */
  #write(file: OutboxFile): void {
    const clock = this.#options.clock();
    const next = perStream((stream) => this.#known[stream].next);
    const evicted = { ...this.#evicted };
    const chunks = STREAMS.flatMap((stream) => this.#encodePending(stream, next, evicted));
    const marks = perStream((stream) =>
      expiredAcks(this.#known[stream].marks, clock.wallMs, this.#options.keepAckedMs),
    );
    const moved = chunks.length > 0 || this.#pending.cursors.size > 0;
    const context = this.#context();
    this.#attempted = this.#pending.counts();
    file.transaction(() => {
      // Room first: on a full disk the pages that the oldest leave are all there is for the newest.
      for (const stream of STREAMS) this.#expire(file, stream, marks[stream].upTo);
      const lost = makeRoom(file, context, this.#limitBytes() - bytesOnDisk(chunks));
      for (const stream of STREAMS) evicted[stream] += lost[stream];
      for (const { stream, range, bytes, gap } of chunks) {
        if (gap) insertGap(file, context, stream, range, gap);
        else file.insert(stream, range, bytes, false);
      }
      for (const [input, value] of this.#pending.cursors) file.saveCursor(input, value);
      for (const stream of STREAMS) {
        const { ackedTo } = this.#known[stream];
        file.savePosition(stream, {
          next: next[stream],
          ackedTo,
          evicted: evicted[stream],
          marks: marks[stream].marks,
        });
      }
      if (moved) file.commits = this.#commits + 1;
    });
    this.#attempted = undefined;
    if (moved) this.#commits++;
    for (const [input, value] of this.#pending.cursors) this.#cursors[input] = value;
    this.#pending = new Pending();
    this.#moved = false;
    for (const stream of STREAMS) {
      this.#known[stream] = { ...this.#known[stream], next: next[stream], marks: marks[stream].marks };
    }
    this.#settle(file, evicted, clock.monoMs);
    if (chunks.length > 0) this.#options.sendable?.();
  }

  /** Cuts one stream's waiting records into chunks, and moves `next` past them. */
  #encodePending(stream: Stream, next: PerStream<number>, evicted: PerStream<number>): PendingChunk[] {
    const { shed, records } = this.#pending.streams[stream];
    const chunks: PendingChunk[] = [];
    const fromSeq = next[stream] + shed;
    if (shed > 0) {
      chunks.push({ stream, range: { fromSeq: next[stream], toSeq: fromSeq - 1 }, bytes: NOTHING, gap: "evicted" });
      evicted[stream] += shed;
    }
    const clock = this.#options.clock();
    const batch = { v: 1, epoch: this.#epoch, stream, fromSeq, records, hist: !this.#online, clock } as StreamBatch;
    for (const { bytes, unreadable, ...range } of encodeChunks(batch, this.#options.resolutionOf)) {
      chunks.push({ stream, range, bytes, gap: unreadable > 0 ? "unreadable" : undefined });
      evicted[stream] += unreadable;
    }
    next[stream] = fromSeq + records.length;
    return chunks;
  }

  #context(): RoomContext & SendContext {
    return {
      epoch: this.#epoch,
      known: this.#known,
      gapBodyOf: (reason) => gapBody(reason, !this.#online, this.#options.clock()),
      resolutionOf: this.#options.resolutionOf,
    };
  }

  /** Deletes what was acknowledged long enough ago, a few chunks with every commit. */
  #expire(file: OutboxFile, stream: Stream, upTo: number): void {
    const { ackedTo } = this.#known[stream];
    this.#expiredTo[stream] = Math.min(ackedTo, Math.max(upTo, this.#expiredTo[stream]));
    if (this.#expiredTo[stream] > 0) expireAcked(file, stream, this.#expiredTo[stream]);
  }

  #limitBytes(): number {
    return Math.min(this.#budgetBytes, this.#diskLimit?.bytes ?? Number.POSITIVE_INFINITY);
  }

  /** After a commit: the phase, and whether anything is to be said about it. */
  #settle(file: OutboxFile, evicted: PerStream<number>, monoMs: number): void {
    const before = this.#phase;
    const lost = total(evicted) - total(this.#evicted);
    this.#evicted = evicted;
    this.#usedBytes = file.usedBytes();
    this.#phase = nextPhase(this.#phase, this.#usedBytes / this.#limitBytes(), lost > 0);
    if (this.#phase === "shedding" && before !== "shedding") {
      this.#notice(problem("OUTBOX_SHEDDING", { bytesMax: this.#options.maxBytes, records: lost }));
    }
    if (this.#diskLimit !== undefined && monoMs > this.#diskLimit.untilMonoMs) this.#diskLimit = undefined;
    this.#problem = undefined;
    this.#retryMs = RETRY_FIRST_MS;
  }

  cursors(): Readonly<Record<string, JsonValue>> {
    return this.#cursors;
  }

  setOnline(online: boolean): void {
    if (online === this.#online) return;
    // What was taken until now belongs to the time before.
    if (!this.#pending.isEmpty) this.commit();
    this.#online = online;
  }

  open(): OutboxPositions {
    for (const stream of STREAMS) this.#rewind(stream);
    return this.positions();
  }

  positions(): OutboxPositions {
    const held = this.#guard(() => {
      const file = this.#usableFile();
      return perStream((stream) => file.firstHeld(stream));
    });
    const streams = STREAMS.map((stream) => {
      const { next } = this.#known[stream];
      return { stream, firstHeld: (held.ok ? held.value[stream] : undefined) ?? next, next };
    });
    return { epoch: this.#epoch, streams };
  }

  #rewind(stream: Stream): void {
    this.#known[stream] = { ...this.#known[stream], sentTo: this.#known[stream].ackedTo, also: [] };
  }

  nextChunks(maxBytes: number): OutboxChunk[] {
    const taken = this.#guard(() => {
      const file = this.#usableFile();
      const { waiting, unreadable } = waitingChunks(file, this.#context());
      for (const stream of STREAMS) this.#evicted[stream] += unreadable[stream];
      this.#moved ||= total(unreadable) > 0;
      const sizes = perStream((stream) => waiting[stream].map(({ size }) => size));
      const { picks, credits } = planSend(sizes, this.#credits, maxBytes);
      this.#credits = credits;
      return picks.map((stream) => {
        const chunk = waiting[stream].shift() as HeldChunk;
        this.#known[stream] = { ...this.#known[stream], sentTo: chunk.toSeq };
        return chunkToSend(file, this.#epoch, stream, chunk);
      });
    });
    return taken.ok ? taken.value : [];
  }

  acked(ack: AckMessage): AckOutcome {
    let rewound = false;
    let ahead = false;
    let others = false;
    const { wallMs } = this.#options.clock();
    for (const stream of STREAMS) {
      const said = ack.streams[stream];
      if (said === undefined) continue;
      const verdict = judgeAck(this.#known[stream], this.#epoch, said, wallMs, this.#options.keepAckedMs);
      if (verdict.kind === "ignored") others = true;
      else if (verdict.kind === "ahead") ahead = true;
      else {
        rewound ||= verdict.kind === "rewound";
        this.#moved ||= verdict.knowledge.ackedTo !== this.#known[stream].ackedTo;
        this.#known[stream] = verdict.knowledge;
      }
    }
    if (this.#moved) this.#schedule(Math.max(this.#options.commitMs, 1_000));
    // An order about another epoch has been followed already.
    const newEpoch = ahead || (ack.newEpoch === true && !others);
    if (newEpoch) this.newEpoch();
    else if (rewound) this.#options.sendable?.();
    return { newEpoch, rewound };
  }

  newEpoch(): void {
    this.commit();
    this.#guard(() => {
      const file = this.#usableFile();
      const next = perStream(() => 1);
      const epoch = file.transaction(() => {
        for (const stream of STREAMS) {
          dropAcked(file, stream, this.#known[stream]);
          next[stream] = file.renumber(stream);
          file.savePosition(stream, { next: next[stream], ackedTo: 0, evicted: this.#evicted[stream], marks: [] });
        }
        return file.drawEpoch();
      });
      this.#epoch = epoch;
      for (const stream of STREAMS) {
        this.#known[stream] = { next: next[stream], ackedTo: 0, also: [], sentTo: 0, marks: [] };
        this.#expiredTo[stream] = 0;
      }
      this.#options.sendable?.();
    });
  }

  stats(): OutboxFigures {
    const unacked = STREAMS.reduce((sum, stream) => {
      const { next, ackedTo, also } = this.#known[stream];
      return sum + next - 1 - ackedTo - also.reduce((count, [from, to]) => count + to - from + 1, 0);
    }, 0);
    const shed = STREAMS.reduce((sum, stream) => sum + this.#pending.streams[stream].shed, 0);
    return {
      bytes: this.#usedBytes,
      bytesMax: this.#options.maxBytes,
      phase: this.#phase,
      evictedRecords: total(this.#evicted) + shed,
      refusedRecords: this.#refused,
      unacked,
      pending: this.#pending.records,
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
    };
  }

  close(): Result<void> {
    this.#retryAtMonoMs = 0;
    const committed = this.commit();
    clearTimeout(this.#timer);
    this.#closed = true;
    this.#file?.close();
    this.#file = undefined;
    return committed;
  }

  /** Says that a corrupt file was replaced, and by what. */
  tellRecovered(recovered: { readonly reason: string; readonly records: number }): void {
    this.#notice(problem("OUTBOX_CORRUPT", recovered));
  }

  #schedule(delayMs: number): void {
    if (this.#closed) return;
    const due = () => {
      this.#retryAtMonoMs = 0;
      this.commit();
    };
    this.#timer ??= setTimeout(due, this.#problem === undefined ? delayMs : this.#retryMs);
  }

  #notice(said: Problem): void {
    this.#options.noticed?.(said);
  }

  /** Runs something that touches the file; what the disk does wrong becomes a value, and the outbox lives on. */
  #guard<T>(work: () => T): Result<T> {
    const waiting = this.#file === undefined ? this.#awaitedRetry() : undefined;
    if (waiting !== undefined) return { ok: false, error: waiting };
    try {
      return ok(work());
    } catch (cause) {
      const failed = this.#fail(cause);
      return { ok: false, error: failed };
    }
  }

  /** The trouble the outbox waits out: trying again for every row would only burn what the device has left. */
  #awaitedRetry(): Problem | undefined {
    if (this.#problem === undefined || this.#options.clock().monoMs >= this.#retryAtMonoMs) return undefined;
    this.#schedule(this.#retryMs);
    return this.#problem;
  }

  #fail(cause: unknown): Problem {
    const trouble = troubleOf(cause);
    if (trouble === undefined) throw cause;
    const reason = (cause as Error).message;
    const said =
      trouble === "full" ? problem("OUTBOX_DISK_FULL", { reason }) : problem("OUTBOX_DISK_FAILED", { reason });
    if (trouble === "full") this.#shrink();
    else {
      this.#file?.close();
      this.#file = undefined;
      if (trouble === "corrupt") return this.#replaceCorrupt(reason);
    }
    if (this.#problem?.code !== said.code) this.#notice(said);
    this.#problem = said;
    this.#phase = "shedding";
    this.#retryMs = Math.min(RETRY_MAX_MS, this.#retryMs * 2);
    this.#retryAtMonoMs = this.#options.clock().monoMs + this.#retryMs;
    this.#schedule(this.#retryMs);
    return said;
  }

  /** The disk is full: what the file occupies now is all there is, so the oldest make room for the newest within it. */
  #shrink(): void {
    const file = this.#file;
    if (file === undefined) return;
    // A transaction that ran out of disk was rolled back whole.
    this.#attempted = undefined;
    try {
      const { monoMs } = this.#options.clock();
      this.#diskLimit = { bytes: file.usedBytes() * EVICT_TO, untilMonoMs: monoMs + DISK_LIMIT_MS };
      file.checkpoint();
      const lost = file.transaction(() => makeRoom(file, this.#context(), this.#limitBytes()));
      this.#evicted = perStream((stream) => this.#evicted[stream] + lost[stream]);
      this.#moved = true;
    } catch (cause) {
      // No room even for making room: records wait in memory until there is.
      if (troubleOf(cause) === undefined) throw cause;
    }
  }

  #replaceCorrupt(reason: string): Problem {
    try {
      const { file, recovered } = recoverFile(this.#place, reason);
      this.#adopt(file);
      const said = problem("OUTBOX_CORRUPT", { reason, records: recovered?.records ?? 0 });
      this.#notice(said);
      this.#schedule(this.#options.commitMs);
      this.#options.sendable?.();
      return said;
    } catch (cause) {
      if (troubleOf(cause) === undefined) throw cause;
      this.#problem = problem("OUTBOX_DISK_FAILED", { reason: (cause as Error).message });
      this.#notice(this.#problem);
      this.#phase = "shedding";
      this.#schedule(this.#retryMs);
      return this.#problem;
    }
  }

  #usableFile(): OutboxFile {
    if (this.#file !== undefined) return this.#file;
    const opened = openFile(this.#place);
    if (!opened.ok) throw Object.assign(new Error(opened.error.message), { code: "EACCES" });
    this.#adopt(opened.value.file);
    if (opened.value.recovered) this.tellRecovered(opened.value.recovered);
    return opened.value.file;
  }

  /** Goes on with a file that was opened again, or made anew. */
  #adopt(file: OutboxFile): void {
    const same = file.epoch === this.#epoch;
    if (same && this.#attempted !== undefined && file.commits === this.#commits + 1) {
      // The commit that reported a failure had taken effect: storing it once more would store it twice.
      this.#pending.forget(this.#attempted);
    }
    this.#attempted = undefined;
    this.#file = file;
    this.#epoch = file.epoch;
    this.#commits = file.commits;
    this.#known = perStream((stream) => {
      const { next, ackedTo, marks } = file.position(stream);
      const before = this.#known[stream];
      return same
        ? { ...before, next, ackedTo: Math.max(ackedTo, before.ackedTo) }
        : { next, ackedTo, marks, also: [], sentTo: ackedTo };
    });
    if (!same) this.#expiredTo = perStream(() => 0);
    this.#evicted = perStream((stream) => Math.max(this.#evicted[stream], file.position(stream).evicted));
  }
}

/** A chunk that is not stored yet: bytes, or the reason of a gap. */
interface PendingChunk {
  readonly stream: Stream;
  readonly range: SeqRange;
  readonly bytes: Uint8Array;
  readonly gap: GapReason | undefined;
}

/** What chunks will take of the file: a long body has pages of its own, the last of them not full. */
function bytesOnDisk(chunks: readonly PendingChunk[]): number {
  return chunks.reduce((sum, { bytes }) => sum + bytes.length + PAGE_BYTES, 0);
}

const PAGE_BYTES = 4_096;
const NOTHING = new Uint8Array(0);
