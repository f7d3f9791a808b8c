import { encodeChunks } from "@bellwether/protocol/batch.ts";
import {
  type AckMessage,
  type GapReason,
  STREAMS,
  type Stream,
  type StreamBatch,
} from "@bellwether/protocol/messages/stream.ts";
import { judgeAck, type StreamKnowledge } from "./acknowledgement.ts";
import { type Ages, agesAfter, agesAt, beginAges, overAge, renumberAges } from "./age.ts";
import { BackfillPace } from "./backfill.ts";
import { isAlsoAcked, type SeqRange } from "./eviction.ts";
import { gapBody } from "./gap.ts";
import { JOINED_BYTES, joinChunks } from "./join.ts";
import { cursorsAt, isBehind, type Lane, sent, split } from "./lanes.ts";
import { dueMarks } from "./mark.ts";
import type { AckOutcome, JsonValue, OutboxChunk, OutboxOptions } from "./outbox.ts";
import type { HeldChunk, OutboxFile } from "./outbox-file.io.ts";
import { Pending, type PendingCounts } from "./pending.ts";
import { type PerStream, perStream, total } from "./per-stream.ts";
import { EVICT_TO } from "./pressure.ts";
import {
  type BufferContext,
  dropAcked,
  expireAcked,
  expireOld,
  insertGap,
  lackedForGood,
  makeRoom,
  makeRoomByFigures,
  type SpareRows,
} from "./room.io.ts";
import { type Credits, NO_CREDITS, planSend } from "./send-plan.ts";
import { chunkToSend, waitingChunks } from "./sending.io.ts";

type LedgerOptions = Pick<
  OutboxOptions,
  "keepAckedMs" | "maxAgeMs" | "joinMs" | "backfillBytesPerSecond" | "resolutionOf" | "clock"
>;

/** What may be sent now, and when there is more to ask for though nothing new comes. */
export interface Taken {
  readonly chunks: OutboxChunk[];
  readonly heldMs: number | undefined;
}

/** What a commit did. */
export interface Written {
  readonly chunks: number;
  /** Records that gave way, to make room or because they fit no packet, since the commit before. */
  readonly lost: number;
}

/**
 * What the outbox knows beside its file: what waits to be stored, what of each stream is numbered, sent, acknowledged
 * and gone. Every method that is given the file may throw an error of SQLite, and has then changed nothing here.
 */
export class Ledger {
  epoch: string;
  pending = new Pending();
  #online = false;
  readonly #pace: BackfillPace;
  /** Records that gave way since the file was made. */
  evicted: PerStream<number>;
  /** Something beside records waits for a commit: acknowledgements, or counts of what gave way. */
  moved = false;
  /** What a commit held that failed without saying whether it took effect. */
  attempted: PendingCounts | undefined;
  readonly cursors: Record<string, JsonValue>;
  readonly #options: LedgerOptions;
  #known: PerStream<StreamKnowledge>;
  /** What of each stream was acknowledged so long ago that it may go. */
  #expiredTo = perStream(() => 0);
  /** Streams of which the server has not said where it stands, since the session was opened or it went back. */
  readonly #unheard = new Set<Stream>();
  readonly #spare: SpareRows = { bytes: 0 };
  #commits: number;
  readonly #credits: Record<Lane, Credits> = { live: NO_CREDITS, backfill: NO_CREDITS };
  #ages: Ages;
  /** When its ages were saved last, by the outbox's own time; the first commit saves them. */
  #agesSavedMs = Number.NEGATIVE_INFINITY;
  #telemetrySentAtMs = Number.NEGATIVE_INFINITY;

  constructor(file: OutboxFile, options: LedgerOptions) {
    this.#options = options;
    this.epoch = file.epoch;
    this.#commits = file.commits;
    this.cursors = file.cursors();
    this.#known = perStream((stream) => ({ ...file.position(stream), also: [], ...cursorsAt(0) }));
    this.#pace = new BackfillPace(options.backfillBytesPerSecond);
    this.evicted = perStream((stream) => file.position(stream).evicted);
    this.#ages = this.#agesOf(file);
    this.rewind();
  }

  nextOf(stream: Stream): number {
    return this.#known[stream].next;
  }

  /** Committed records that the server has not acknowledged. */
  get unacked(): number {
    return STREAMS.reduce((sum, stream) => {
      const { next, ackedTo, also } = this.#known[stream];
      return sum + next - 1 - ackedTo - also.reduce((count, [from, to]) => count + to - from + 1, 0);
    }, 0);
  }

  get isIdle(): boolean {
    return this.pending.isEmpty && !this.moved;
  }

  /** What was handed out and not acknowledged will be handed out again. */
  rewind(): void {
    this.#telemetrySentAtMs = Number.NEGATIVE_INFINITY;
    this.#pace.restart();
    for (const stream of STREAMS) this.#unheard.add(stream);
    this.#known = perStream((stream) => {
      const known = this.#known[stream];
      return { ...known, also: [], ...cursorsAt(known.ackedTo) };
    });
  }

  /** Whether the server hears us: what is numbered while it does not is marked as backfill. */
  get online(): boolean {
    return this.#online;
  }

  set online(online: boolean) {
    this.#online = online;
    if (online) this.#known = perStream((stream) => split(this.#known[stream]));
  }

  /**
   * What may go makes room, and everything that waits becomes durable: one transaction, in a log of at most `logBytes`. What
   * fits neither that nor the limit gives way first.
   */
  write(file: OutboxFile, limitBytes: number, logBytes: number): Written {
    const { keepAckedMs, maxAgeMs, clock } = this.#options;
    const now = clock();
    const { next, evicted, chunks } = this.#encodeWithin(Math.min(limitBytes * EVICT_TO, logBytes * LOG_SHARE));
    const added = bytesOnDisk(chunks);
    makeRoomByFigures(file, this.#context(), limitBytes - added);
    // The log may hold commits yet that were not folded into the file: with this one it would be too long.
    if (added > logBytes / 2) file.checkpoint();
    const marks = perStream((stream) => dueMarks(this.#known[stream].marks, now.wallMs, keepAckedMs));
    const aged = agesAt(this.#ages, now);
    const tooOld = overAge(aged, maxAgeMs);
    const ackedTo = perStream((stream) => this.#known[stream].ackedTo);
    const ages = agesAfter(aged, next, ackedTo, maxAgeMs);
    const savesAges = ages.heldMs - this.#agesSavedMs >= AGES_EVERY_MS;
    const moved = chunks.length > 0 || this.pending.cursors.size > 0;
    const context = this.#context();
    this.attempted = this.pending.counts();
    file.transaction(() => {
      // Room first: on a full disk the pages that the oldest leave are all there is for the newest.
      for (const stream of STREAMS) {
        this.#expire(file, stream, marks[stream].upTo);
        if (tooOld[stream] > 0) evicted[stream] += expireOld(file, context, stream, tooOld[stream]);
      }
      const lost = makeRoom(file, context, limitBytes - added);
      for (const stream of STREAMS) evicted[stream] += lost[stream];
      for (const { stream, range, bytes, gap } of chunks) {
        if (gap) insertGap(file, context, stream, range, gap);
        else file.insert(stream, range, bytes, "records");
      }
      for (const [input, value] of this.pending.cursors) file.saveCursor(input, value);
      for (const stream of STREAMS) {
        const { ackedTo } = this.#known[stream];
        const position = { next: next[stream], ackedTo, evicted: evicted[stream], marks: marks[stream].marks };
        file.savePosition(stream, position);
      }
      if (moved) file.commits = this.#commits + 1;
      if (savesAges) file.ages = ages;
    });
    if (moved) this.#commits++;
    this.#settle(next, marks);
    this.#ages = ages;
    if (savesAges) this.#agesSavedMs = ages.heldMs;
    const lost = total(evicted) - total(this.evicted);
    this.evicted = evicted;
    return { chunks: chunks.length, lost };
  }

  #settle(next: PerStream<number>, kept: PerStream<Pick<StreamKnowledge, "marks">>): void {
    this.attempted = undefined;
    for (const [input, value] of this.pending.cursors) this.cursors[input] = value;
    this.pending = new Pending();
    this.moved = false;
    this.#known = perStream((stream) => ({
      ...this.#known[stream],
      next: next[stream],
      marks: kept[stream].marks,
    }));
  }

  #agesOf(file: OutboxFile): Ages {
    return beginAges(
      file.ages,
      this.#options.clock(),
      perStream((stream) => this.#known[stream].next),
    );
  }

  /** Cuts what waits into chunks of so many bytes in all; of what is more, lowest class and oldest give way. */
  #encodeWithin(roomBytes: number) {
    for (;;) {
      const next = perStream((stream) => this.#known[stream].next);
      const evicted = { ...this.evicted };
      const chunks = STREAMS.flatMap((stream) => this.#encodePending(stream, next, evicted));
      const bytes = bytesOnDisk(chunks);
      if (bytes <= roomBytes || this.pending.records === 0) return { next, evicted, chunks };
      this.pending.shedTo(Math.floor(this.pending.cells * Math.min(0.9, roomBytes / bytes)));
    }
  }

  /** Cuts one stream's waiting records into chunks, and moves `next` past them. */
  #encodePending(stream: Stream, next: PerStream<number>, evicted: PerStream<number>): PendingChunk[] {
    const { shed, records } = this.pending.streams[stream];
    const chunks: PendingChunk[] = [];
    const fromSeq = next[stream] + shed;
    if (shed > 0) {
      chunks.push({ stream, range: { fromSeq: next[stream], toSeq: fromSeq - 1 }, bytes: NOTHING, gap: "evicted" });
      evicted[stream] += shed;
    }
    const clock = this.#options.clock();
    const batch = { v: 1, epoch: this.epoch, stream, fromSeq, records, hist: !this.online, clock } as StreamBatch;
    for (const { bytes, unreadable, ...range } of encodeChunks(batch, this.#options.resolutionOf)) {
      chunks.push({ stream, range, bytes, gap: unreadable > 0 ? "unreadable" : undefined });
      evicted[stream] += unreadable;
    }
    next[stream] = fromSeq + records.length;
    return chunks;
  }

  /** Deletes what was acknowledged long enough ago, a few chunks with every commit. */
  #expire(file: OutboxFile, stream: Stream, upTo: number): void {
    const { ackedTo } = this.#known[stream];
    this.#expiredTo[stream] = Math.min(ackedTo, Math.max(upTo, this.#expiredTo[stream]));
    if (this.#expiredTo[stream] > 0) expireAcked(file, stream, this.#expiredTo[stream]);
  }

  /** The oldest give way until the file is within a limit; the next commit notes how many. */
  makeRoom(file: OutboxFile, limitBytes: number): void {
    makeRoomByFigures(file, this.#context(), limitBytes);
    const lost = file.transaction(() => makeRoom(file, this.#context(), limitBytes));
    this.evicted = perStream((stream) => this.evicted[stream] + lost[stream]);
    this.moved = true;
  }

  #context(): BufferContext {
    return {
      epoch: this.epoch,
      known: this.#known,
      gapBodyOf: (reason) => gapBody(reason, !this.online, this.#options.clock()),
      resolutionOf: this.#options.resolutionOf,
      spare: this.#spare,
    };
  }

  /**
   * The next chunks by weight of stream, live ones before backfill, oldest first in both, short ones of a stream in one; they
   * count as sent.
   */
  take(file: OutboxFile, maxBytes: number): Taken {
    const { monoMs } = this.#options.clock();
    const behind = STREAMS.some((stream) => isBehind(this.#known[stream]));
    const paceBytes = behind ? this.#pace.roomBytes(monoMs) : 0;
    // What waits longest gets its share, however much comes in.
    const live = this.#takeLane(file, "live", paceBytes > 0 ? maxBytes * LIVE_SHARE : maxBytes);
    const left = maxBytes - live.chunks.reduce((sum, { bytes }) => sum + bytes.length, 0);
    if (paceBytes === 0 || left <= 0) return { ...live, heldMs: sooner(live.heldMs, this.#backfillWaitMs) };
    const { chunks } = this.#takeLane(file, "backfill", Math.min(left, paceBytes));
    for (const chunk of chunks) this.#pace.sent(chunk.stream, chunk, chunk.bytes.length, monoMs);
    return { chunks: [...live.chunks, ...chunks], heldMs: sooner(live.heldMs, this.#backfillWaitMs) };
  }

  /** After how long backfill may go on, where nothing but its rate keeps it back. */
  get #backfillWaitMs(): number | undefined {
    return STREAMS.some((stream) => isBehind(this.#known[stream])) ? this.#pace.waitMs : undefined;
  }

  #takeLane(file: OutboxFile, lane: Lane, maxBytes: number): Taken {
    const context = this.#context();
    const { waiting, unreadable } = waitingChunks(file, context, lane);
    for (const stream of STREAMS) this.evicted[stream] += unreadable[stream];
    this.moved ||= total(unreadable) > 0;
    const heldMs = lane === "live" ? this.#heldMs(waiting.telemetry) : undefined;
    const sizes = perStream((stream) =>
      stream === "telemetry" && heldMs !== undefined ? [] : waiting[stream].map(({ size }) => size),
    );
    const { picks, credits } = planSend(sizes, this.#credits[lane], maxBytes);
    this.#credits[lane] = credits;
    const chunks = picks.map((stream) => {
      const chunk = waiting[stream].shift() as HeldChunk;
      this.#known[stream] = sent(this.#known[stream], lane, chunk.toSeq);
      return chunkToSend(file, context, stream, chunk);
    });
    if (picks.includes("telemetry")) this.#telemetrySentAtMs = this.#options.clock().monoMs;
    return { chunks: joinChunks(chunks, this.#options.resolutionOf), heldMs };
  }

  /** How long telemetry waits yet to become a message worth sending; undefined where it does not. */
  #heldMs(telemetry: readonly HeldChunk[]): number | undefined {
    if (telemetry.length === 0) return undefined;
    const leftMs = this.#telemetrySentAtMs + (this.#options.joinMs ?? 0) - this.#options.clock().monoMs;
    const bytes = telemetry.reduce((sum, { size }) => sum + size, 0);
    return leftMs > 0 && bytes < JOINED_BYTES ? Math.ceil(leftMs) : undefined;
  }

  /** Takes in the server's word; `newEpoch` says that one must be drawn now. */
  acked(ack: AckMessage): AckOutcome {
    let rewound = false;
    let ahead = false;
    let others = false;
    const { wallMs, monoMs } = this.#options.clock();
    for (const stream of STREAMS) {
      const said = ack.streams[stream];
      if (said === undefined) continue;
      const verdict = judgeAck(this.#known[stream], this.epoch, said, wallMs, this.#options.keepAckedMs);
      if (verdict.kind === "ignored") others = true;
      else if (verdict.kind === "ahead") ahead = true;
      else {
        rewound ||= verdict.kind === "rewound";
        if (verdict.kind === "rewound") this.#unheard.add(stream);
        this.moved ||= verdict.knowledge.ackedTo !== this.#known[stream].ackedTo;
        this.#known[stream] = verdict.knowledge;
      }
    }
    this.#pace.acked((stream, { fromSeq, toSeq }) => {
      const { ackedTo, also } = this.#known[stream];
      return toSeq <= ackedTo || isAlsoAcked(fromSeq, toSeq, also);
    }, monoMs);
    // An order about another epoch has been followed already.
    return { newEpoch: ahead || (ack.newEpoch === true && !others), rewound };
  }

  /**
   * Where the server said for the first time where it stands: what it lacks and is not held any more leaves a gap, or both
   * would wait for it for ever. Answers whether there was any.
   */
  tellLacking(file: OutboxFile, { streams }: AckMessage): boolean {
    const heard = STREAMS.filter((stream) => this.#unheard.has(stream) && streams[stream]?.epoch === this.epoch);
    const lacking = heard.flatMap((stream) =>
      lackedForGood(file, this.#known[stream], stream).map((range) => ({ stream, range })),
    );
    const context = this.#context();
    if (lacking.length > 0) {
      file.transaction(() => {
        for (const { stream, range } of lacking) insertGap(file, context, stream, range, "evicted");
      });
    }
    for (const stream of heard) this.#unheard.delete(stream);
    for (const { stream } of lacking) {
      // What was handed out meanwhile lies behind the gap.
      this.#known[stream] = { ...this.#known[stream], ...cursorsAt(this.#known[stream].ackedTo) };
    }
    return lacking.length > 0;
  }

  /** Draws a new epoch: everything unacknowledged is numbered again from 1. */
  newEpoch(file: OutboxFile): void {
    const next = perStream(() => 1);
    const now = agesAt(this.#ages, this.#options.clock());
    const places = perStream((stream) => now.marks[stream].map(({ upTo }) => upTo) as readonly number[]);
    const epoch = file.transaction(() => {
      for (const stream of STREAMS) {
        dropAcked(file, this.#context(), stream);
        ({ next: next[stream], places: places[stream] } = file.renumber(stream, places[stream]));
        file.savePosition(stream, { next: next[stream], ackedTo: 0, evicted: this.evicted[stream], marks: [] });
      }
      file.ages = renumberAges(now, places);
      return file.drawEpoch();
    });
    this.epoch = epoch;
    this.#ages = renumberAges(now, places);
    this.#known = perStream((stream) => ({ next: next[stream], ackedTo: 0, also: [], marks: [], ...cursorsAt(0) }));
    this.#pace.restart();
    this.#expiredTo = perStream(() => 0);
  }

  /** Goes on with a file that was opened again, or made anew. */
  adopt(file: OutboxFile): void {
    const same = file.epoch === this.epoch;
    if (same && this.attempted !== undefined && file.commits === this.#commits + 1) {
      // The commit that reported a failure had taken effect: storing it once more would store it twice.
      this.pending.forget(this.attempted);
    }
    this.attempted = undefined;
    this.epoch = file.epoch;
    this.#commits = file.commits;
    this.#known = perStream((stream) => {
      const { next, ackedTo, marks } = file.position(stream);
      const before = this.#known[stream];
      return same
        ? { ...before, next, ackedTo: Math.max(ackedTo, before.ackedTo) }
        : { next, ackedTo, marks, also: [], ...cursorsAt(ackedTo) };
    });
    if (!same) {
      this.#expiredTo = perStream(() => 0);
      this.#ages = this.#agesOf(file);
    }
    this.evicted = perStream((stream) => Math.max(this.evicted[stream], file.position(stream).evicted));
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

/** The shorter of two waits, where there are any. */
function sooner(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other);
}

/** Of what may be sent at once, live records leave this much to backfill that waits. */
const LIVE_SHARE = 0.75;
/** Ages are saved this often: what a crash takes of them makes records a minute younger. */
const AGES_EVERY_MS = 60_000;
const PAGE_BYTES = 4_096;
/** Beside the new bodies a commit writes the pages that lead to them. */
const LOG_SHARE = 0.8;
const NOTHING = new Uint8Array(0);
