import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { type AckMessage, STREAMS, type Stream, type StreamRecords } from "@bellwether/protocol/messages/stream.ts";
import { machineTime } from "@bellwether/protocol/process/time.io.ts";
import { checkRecord } from "@bellwether/protocol/record-check.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import { Ledger } from "./ledger.io.ts";
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
import { type OpenDatabase, type OutboxFile, randomEpoch } from "./outbox-file.io.ts";
import { perStream, total } from "./per-stream.ts";
import { type BufferPhase, EVICT_TO, nextPhase } from "./pressure.ts";
import { type FilePlace, openFile, recoverFile, troubleOf } from "./recovery.io.ts";

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
  const { clock, drawEpoch = randomEpoch } = options;
  const place = { path, walBytes, openDatabase, clock, drawEpoch };
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
  readonly #ledger: Ledger;
  /** Absent while the disk fails. */
  #file: OutboxFile | undefined;
  readonly #commitCells: number;
  #refused = 0;
  #closed = false;
  #cancelCommit: (() => void) | undefined;
  #cancelOffer: (() => void) | undefined;
  #usedBytes = 0;
  #phase: BufferPhase = "normal";
  #problem: Problem | undefined;
  #retryMs = RETRY_FIRST_MS;
  #retryAtMonoMs = 0;
  /** While the disk is full, it is the budget. */
  #diskLimit: { readonly bytes: number; readonly untilMonoMs: number } | undefined;

  constructor(place: FilePlace, file: OutboxFile, options: OutboxOptions) {
    this.#place = place;
    this.#options = options;
    this.#budgetBytes = options.maxBytes - place.walBytes;
    // A value takes at most about eight bytes: what is committed at once fits half of the log.
    this.#commitCells = Math.min(COMMIT_CELLS, place.walBytes / 16);
    this.#file = file;
    this.#ledger = new Ledger(file, options);
    this.#usedBytes = file.usedBytes();
    this.#phase = nextPhase("normal", this.#usedBytes / this.#budgetBytes, false);
  }

  get epoch(): string {
    return this.#ledger.epoch;
  }

  append(entry: OutboxEntry): void {
    this.#take("telemetry", entry.rows);
    this.#take("inference", entry.inference);
    this.#take("event", entry.events);
    this.#take("drift", entry.drift);
    this.#take("samples", entry.samples);
    const { pending } = this.#ledger;
    if (entry.cursor) pending.cursors.set(entry.cursor.input, entry.cursor.value);
    if (this.#problem !== undefined && pending.cells > PENDING_CELLS_MAX) {
      pending.shedTo(PENDING_CELLS_MAX * EVICT_TO);
      this.#phase = "shedding";
    }
    if (this.#problem === undefined && pending.cells >= this.#commitCells) this.commit();
    else if (!pending.isEmpty) this.#schedule(this.#options.commitMs);
  }

  #take<S extends Stream>(stream: S, records: readonly StreamRecords[S][] | undefined): void {
    if (records === undefined) return;
    for (const record of records) {
      const checked = checkRecord(stream, record);
      if (checked.ok) this.#ledger.pending.add(stream, record);
      else if (this.#refused++ === 0) this.#notice(problem("RECORD_REFUSED", { ...checked.error.detail, stream }));
    }
  }

  commit(): Result<void> {
    this.#cancelCommit?.();
    this.#cancelCommit = undefined;
    if (this.#closed) return ok(undefined);
    const waiting = this.#awaitedRetry();
    if (waiting !== undefined) return { ok: false, error: waiting };
    return this.#guard(() => {
      const reopened = this.#file === undefined;
      const file = this.#usableFile();
      // A commit that was reported as failed may have taken effect: what it held waits to be sent, and nothing else says so.
      if (reopened) this.#options.sendable?.();
      if (this.#ledger.isIdle) return;
      const { monoMs } = this.#options.clock();
      const { chunks, lost } = this.#ledger.write(file, this.#limitBytes(), this.#place.walBytes);
      this.#settle(file, lost, monoMs);
      if (chunks > 0) this.#options.sendable?.();
    });
  }

  #limitBytes(): number {
    return Math.min(this.#budgetBytes, this.#diskLimit?.bytes ?? Number.POSITIVE_INFINITY);
  }

  /** After a commit: the phase, and whether anything is to be said about it. */
  #settle(file: OutboxFile, lost: number, monoMs: number): void {
    const before = this.#phase;
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
    return this.#ledger.cursors;
  }

  setOnline(online: boolean): void {
    if (online === this.#ledger.online) return;
    // What was taken until now belongs to the time before.
    if (!this.#ledger.pending.isEmpty) this.commit();
    this.#ledger.online = online;
  }

  open(): OutboxPositions {
    this.#ledger.rewind();
    return this.positions();
  }

  positions(): OutboxPositions {
    const held = this.#guard(() => {
      const file = this.#usableFile();
      return perStream((stream) => file.firstHeld(stream));
    });
    const streams = STREAMS.map((stream) => {
      const next = this.#ledger.nextOf(stream);
      return { stream, firstHeld: (held.ok ? held.value[stream] : undefined) ?? next, next };
    });
    return { epoch: this.epoch, streams };
  }

  nextChunks(maxBytes: number): OutboxChunk[] {
    const taken = this.#guard(() => this.#ledger.take(this.#usableFile(), maxBytes));
    if (!taken.ok) return [];
    const { chunks, heldMs } = taken.value;
    if (heldMs !== undefined && !this.#closed) {
      this.#cancelOffer?.();
      this.#cancelOffer = this.#after(heldMs, () => this.#offer());
    }
    return chunks;
  }

  #offer(): void {
    this.#cancelOffer = undefined;
    this.#options.sendable?.();
  }

  acked(ack: AckMessage): AckOutcome {
    const outcome = this.#ledger.acked(ack);
    if (this.#ledger.moved) this.#schedule(Math.max(this.#options.commitMs, 1_000));
    if (outcome.newEpoch) this.newEpoch();
    else {
      const told = this.#guard(() => this.#ledger.tellLacking(this.#usableFile(), ack));
      if (outcome.rewound || (told.ok && told.value)) this.#options.sendable?.();
    }
    return outcome;
  }

  newEpoch(): void {
    this.commit();
    this.#guard(() => {
      this.#ledger.newEpoch(this.#usableFile());
      this.#options.sendable?.();
    });
  }

  stats(): OutboxFigures {
    const { pending, evicted, unacked } = this.#ledger;
    const shed = STREAMS.reduce((sum, stream) => sum + pending.streams[stream].shed, 0);
    return {
      bytes: this.#usedBytes,
      bytesMax: this.#options.maxBytes,
      phase: this.#phase,
      evictedRecords: total(evicted) + shed,
      refusedRecords: this.#refused,
      unacked,
      pending: pending.records,
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
    };
  }

  close(): Result<void> {
    this.#retryAtMonoMs = 0;
    const committed = this.commit();
    this.#cancelCommit?.();
    this.#cancelOffer?.();
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
    this.#cancelCommit ??= this.#after(this.#problem === undefined ? delayMs : this.#retryMs, due);
  }

  #after(delayMs: number, due: () => void): () => void {
    return (this.#options.time ?? machineTime).after(delayMs, due);
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
    this.#ledger.attempted = undefined;
    try {
      const { monoMs } = this.#options.clock();
      this.#diskLimit = { bytes: file.usedBytes() * EVICT_TO, untilMonoMs: monoMs + DISK_LIMIT_MS };
      file.checkpoint();
      this.#ledger.makeRoom(file, this.#limitBytes());
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

  #adopt(file: OutboxFile): void {
    this.#file = file;
    this.#ledger.adopt(file);
  }
}
