import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { BATCH_BYTES_MAX, checkRecord, decodeBatch, encodeBatch, encodeChunks } from "@bellwether/protocol/batch.ts";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import {
  type AckMessage,
  STREAMS,
  type Stream,
  type StreamBatch,
  type StreamRecords,
} from "@bellwether/protocol/messages/stream.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import { expiredAcks, isAlsoAcked, judgeAck, type StreamKnowledge } from "./acknowledgement.ts";
import { planEviction, remainder, type SeqRange } from "./eviction.ts";
import { encodeGap, type GapReason, gapBody, gapReason } from "./gap.ts";
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
import { type BufferPhase, EVICT_TO, nextPhase, PRESSURED_FROM } from "./pressure.ts";
import { type FilePlace, openFile, recoverFile, troubleOf } from "./recovery.io.ts";
import { type Credits, NO_CREDITS, planSend } from "./send-plan.ts";

/** Values waiting for a commit: beyond the first limit it comes at once, beyond the second the oldest give way. */
const COMMIT_CELLS = 50_000;
const PENDING_CELLS_MAX = 500_000;
const WAL_BYTES_MAX = 4 * 1024 * 1024;
/** Chunks looked at in one step of sending, evicting, or deleting what is acknowledged. */
const SEND_WINDOW = 32;
const EVICT_WINDOW = 256;
const EXPIRE_WINDOW = 256;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 30_000;
/** After the disk was full, the outbox tries to grow again this much later. */
const DISK_LIMIT_MS = 60_000;

/** A predecessor that was just killed may still be letting go of the file. */
const LOCK_WAIT_MS = 500;

type PerStream<T> = Record<Stream, T>;

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
    return this.#guard(() => {
      const file = this.#usableFile();
      if (this.#pending.isEmpty && !this.#moved) return;
      this.#write(file);
    });
  }

  /** Everything that waits becomes durable, then what may go makes room: one transaction. */
  #write(file: OutboxFile): void {
    const clock = this.#options.clock();
    const next = perStream((stream) => this.#known[stream].next);
    const evicted = { ...this.#evicted };
    const chunks = STREAMS.flatMap((stream) => this.#encodePending(stream, next, evicted));
    const marks = perStream((stream) =>
      expiredAcks(this.#known[stream].marks, clock.wallMs, this.#options.keepAckedMs),
    );
    const moved = chunks.length > 0 || this.#pending.cursors.size > 0;
    this.#attempted = this.#pending.counts();
    file.transaction(() => {
      for (const { stream, range, bytes, gap } of chunks) {
        if (gap) this.#insertGap(file, stream, range, gap);
        else file.insert(stream, range, bytes, false);
      }
      for (const [input, value] of this.#pending.cursors) file.saveCursor(input, value);
      for (const stream of STREAMS) this.#expire(file, stream, marks[stream].upTo);
      this.#makeRoom(file, evicted);
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
    const batch = { ...this.#envelope(), stream, fromSeq, records } as StreamBatch;
    for (const { bytes, unreadable, ...range } of encodeChunks(batch, this.#options.resolutionOf)) {
      chunks.push({ stream, range, bytes, gap: unreadable > 0 ? "unreadable" : undefined });
      evicted[stream] += unreadable;
    }
    next[stream] = fromSeq + records.length;
    return chunks;
  }

  #envelope() {
    return { v: 1, epoch: this.#epoch, hist: !this.#online, clock: this.#options.clock() } as const;
  }

  /** Stores a gap, one with the gap before it unless that is already on its way. */
  #insertGap(file: OutboxFile, stream: Stream, range: SeqRange, reason: GapReason): void {
    const before = file.gapEndingAt(stream, range.fromSeq - 1);
    let { fromSeq } = range;
    if (before !== undefined && before.fromSeq > this.#known[stream].sentTo) {
      if (gapReason(file.body(stream, before.fromSeq)) === reason) {
        fromSeq = before.fromSeq;
        file.remove(stream, before);
      }
    }
    file.insert(stream, { fromSeq, toSeq: range.toSeq }, gapBody(reason, !this.#online, this.#options.clock()), true);
  }

  /** Deletes what was acknowledged long enough ago, a few chunks at a time. */
  #expire(file: OutboxFile, stream: Stream, upTo: number): void {
    const due = file.ackedCandidates(stream, Math.min(upTo, this.#known[stream].ackedTo), EXPIRE_WINDOW);
    const last = due.at(-1);
    if (last !== undefined) file.remove(stream, { fromSeq: 0, toSeq: last.fromSeq });
  }

  #makeRoom(file: OutboxFile, evicted: PerStream<number>): void {
    const budget = this.#limitBytes();
    this.#evictDownTo(file, budget * PRESSURED_FROM, true, evicted);
    if (file.usedBytes() > budget) this.#evictDownTo(file, budget * EVICT_TO, false, evicted);
  }

  #evictDownTo(file: OutboxFile, targetBytes: number, onlyAcked: boolean, evicted: PerStream<number>): void {
    for (;;) {
      const excess = file.usedBytes() - targetBytes;
      if (excess <= 0) return;
      const candidates = perStream((stream) => {
        const { ackedTo, sentTo, also } = this.#known[stream];
        const acked = file.ackedCandidates(stream, ackedTo, EVICT_WINDOW);
        if (onlyAcked || acked.length === EVICT_WINDOW) return acked;
        // What is on its way may be stored by the server any moment: a gap in its place would contradict it.
        const unsent = file.unsentCandidates(stream, Math.max(sentTo, ackedTo), EVICT_WINDOW);
        return [...acked, ...unsent.filter(({ fromSeq, toSeq }) => !isAlsoAcked(fromSeq, toSeq, also))];
      });
      const plan = planEviction(candidates, excess);
      if (plan.drop.length === 0) return;
      for (const range of plan.drop) file.remove(range.stream, range);
      for (const gap of plan.gaps) {
        this.#insertGap(file, gap.stream, gap, "evicted");
        evicted[gap.stream] += gap.toSeq - gap.fromSeq + 1;
      }
    }
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
      let waiting = perStream((stream) => this.#waiting(file, stream));
      if (this.#refresh(file, waiting)) waiting = perStream((stream) => this.#waiting(file, stream));
      const sizes = perStream((stream) => waiting[stream].map(({ size }) => size));
      const { picks, credits } = planSend(sizes, this.#credits, maxBytes);
      this.#credits = credits;
      return picks.map((stream) => this.#handOut(file, stream, waiting[stream].shift() as HeldChunk));
    });
    return taken.ok ? taken.value : [];
  }

  #waiting(file: OutboxFile, stream: Stream): HeldChunk[] {
    const { also } = this.#known[stream];
    for (let after = this.#known[stream].sentTo; ; ) {
      const held = file.heldAfter(stream, after, SEND_WINDOW);
      const waiting = held.filter(({ fromSeq, toSeq }) => !isAlsoAcked(fromSeq, toSeq, also));
      const last = held.at(-1);
      if (waiting.length > 0 || last === undefined) return waiting;
      after = last.toSeq;
    }
  }

  #handOut(file: OutboxFile, stream: Stream, { fromSeq, toSeq, gap }: HeldChunk): OutboxChunk {
    const stored = file.body(stream, fromSeq);
    const bytes = gap ? encodeGap(stream, this.#epoch, { fromSeq, toSeq }, stored) : stored;
    this.#known[stream] = { ...this.#known[stream], sentTo: toSeq };
    return { stream, fromSeq, toSeq, bytes };
  }

  /** Encodes anew what a new epoch made stale, and takes out of gaps what the server has after all. */
  #refresh(file: OutboxFile, waiting: PerStream<HeldChunk[]>): boolean {
    const work: (() => void)[] = [];
    for (const stream of STREAMS) {
      const { ackedTo, also } = this.#known[stream];
      for (const chunk of waiting[stream]) {
        if (chunk.stale) work.push(() => this.#reencode(file, stream, chunk));
        if (!chunk.gap) continue;
        const left = remainder(chunk, ackedTo, also);
        if (left.length === 1 && left[0]?.fromSeq === chunk.fromSeq && left[0].toSeq === chunk.toSeq) continue;
        work.push(() => {
          const stored = file.body(stream, chunk.fromSeq);
          file.remove(stream, chunk);
          for (const range of left) file.insert(stream, range, stored, true);
        });
      }
    }
    if (work.length > 0) file.transaction(() => work.forEach((step) => void step()));
    return work.length > 0;
  }

  #reencode(file: OutboxFile, stream: Stream, chunk: HeldChunk): void {
    const decoded = decodeBatch(stream, file.body(stream, chunk.fromSeq));
    const count = chunk.toSeq - chunk.fromSeq + 1;
    const bytes =
      decoded.ok && decoded.value.records.length === count
        ? encodeBatch({ ...decoded.value, epoch: this.#epoch, fromSeq: chunk.fromSeq }, this.#options.resolutionOf)
        : undefined;
    if (bytes !== undefined && bytes.length <= BATCH_BYTES_MAX * 1.05) {
      file.reencoded(stream, chunk.fromSeq, bytes);
    } else {
      file.remove(stream, chunk);
      file.insert(stream, chunk, gapBody("unreadable", !this.#online, this.#options.clock()), true);
      this.#evicted[stream] += count;
      this.#moved = true;
    }
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
          this.#dropAcked(file, stream);
          next[stream] = file.renumber(stream);
          file.savePosition(stream, { next: next[stream], ackedTo: 0, evicted: this.#evicted[stream], marks: [] });
        }
        return file.drawEpoch();
      });
      this.#epoch = epoch;
      for (const stream of STREAMS) {
        this.#known[stream] = { next: next[stream], ackedTo: 0, also: [], sentTo: 0, marks: [] };
      }
      this.#options.sendable?.();
    });
  }

  /** Takes out everything the server has, so that the new epoch does not send it a second time. */
  #dropAcked(file: OutboxFile, stream: Stream): void {
    const { ackedTo, also } = this.#known[stream];
    for (;;) {
      const last = file.ackedCandidates(stream, ackedTo, EXPIRE_WINDOW).at(-1);
      if (last === undefined) break;
      file.remove(stream, { fromSeq: 0, toSeq: last.fromSeq });
    }
    const first = file.heldAfter(stream, ackedTo, 1)[0];
    if (first?.gap) this.#shrinkGap(file, stream, first);
    for (const [from, to] of also) {
      for (let after = from - 1; after < to; ) {
        const held = file.heldAfter(stream, after, SEND_WINDOW).filter(({ fromSeq }) => fromSeq <= to);
        for (const chunk of held) {
          if (chunk.gap) this.#shrinkGap(file, stream, chunk);
          else if (from <= chunk.fromSeq && chunk.toSeq <= to) file.remove(stream, chunk);
        }
        after = held.at(-1)?.toSeq ?? to;
      }
    }
  }

  #shrinkGap(file: OutboxFile, stream: Stream, gap: HeldChunk): void {
    const stored = file.body(stream, gap.fromSeq);
    file.remove(stream, gap);
    const { ackedTo, also } = this.#known[stream];
    for (const range of remainder(gap, ackedTo, also)) file.insert(stream, range, stored, true);
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
    this.#timer ??= setTimeout(() => this.commit(), this.#problem === undefined ? delayMs : this.#retryMs);
  }

  #notice(said: Problem): void {
    this.#options.noticed?.(said);
  }

  /** Runs something that touches the file; what the disk does wrong becomes a value, and the outbox lives on. */
  #guard<T>(work: () => T): Result<T> {
    try {
      return ok(work());
    } catch (cause) {
      const failed = this.#fail(cause);
      return { ok: false, error: failed };
    }
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
      const evicted = { ...this.#evicted };
      file.transaction(() => this.#makeRoom(file, evicted));
      this.#evicted = evicted;
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
    this.#evicted = perStream((stream) => Math.max(this.#evicted[stream], file.position(stream).evicted));
  }
}

interface PendingChunk {
  readonly stream: Stream;
  readonly range: SeqRange;
  readonly bytes: Uint8Array;
  readonly gap: GapReason | undefined;
}

const NOTHING = new Uint8Array(0);

function perStream<T>(of: (stream: Stream) => T): PerStream<T> {
  return Object.fromEntries(STREAMS.map((stream) => [stream, of(stream)])) as PerStream<T>;
}

function total(counts: PerStream<number>): number {
  return STREAMS.reduce((sum, stream) => sum + counts[stream], 0);
}
