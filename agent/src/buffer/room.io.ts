import { decodeBatch, type ResolutionOf } from "@bellwether/protocol/batch.ts";
import { type GapReason, STREAMS, type Stream, type StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import type { StreamKnowledge } from "./acknowledgement.ts";
import { downsampledGap, isAlike } from "./downsample.ts";
import { type Candidate, GIVING_WAY, planEviction, remainder, type SeqRange } from "./eviction.ts";
import { gapReason } from "./gap.ts";
import { isOnItsWay, mayGiveWay } from "./lanes.ts";
import type { HeldChunk, OutboxFile } from "./outbox-file.io.ts";
import { type PerStream, perStream } from "./per-stream.ts";
import { EVICT_TO, PRESSURED_FROM } from "./pressure.ts";

/** Chunks looked at in one step of evicting, or deleting what is acknowledged. */
const WINDOW = 256;
/** Rows that are downsampled in one step, in bytes, and how many steps one commit takes: some tens of milliseconds. */
const RUN_BYTES = 131_072;
const RUNS_MAX = 4;
/** Of the budget, the newest rows keep this much, however long nobody takes them. */
const KEPT_FRACTION = 0.25;
/** Fewer rows beyond that are not worth looking for. */
const SPARE_FRACTION = 1 / 16;

/** What making room and sending need to know besides the file. */
export interface BufferContext {
  readonly epoch: string;
  readonly known: Readonly<PerStream<StreamKnowledge>>;
  /** How a gap that is made now is stored. */
  readonly gapBodyOf: (reason: GapReason) => Uint8Array;
  readonly resolutionOf: ResolutionOf | undefined;
  readonly spare: SpareRows;
}

/** Bytes of telemetry rows that may be downsampled before it is counted again how many there are: counting reads them all. */
export interface SpareRows {
  bytes: number;
}

/** Deletes chunks up to a seq that were acknowledged long enough ago, some at a time; answers whether more are left. */
export function expireAcked(file: OutboxFile, stream: Stream, upTo: number): boolean {
  const due = file.ackedCandidates(stream, { fromSeq: 0, toSeq: upTo }, WINDOW);
  const last = due.at(-1);
  if (last !== undefined) file.remove(stream, { fromSeq: 0, toSeq: last.fromSeq });
  return due.length === WINDOW;
}

/**
 * Records up to a seq are over the age limit: what the server has not gives way to a gap, some chunks at a time; answers
 * how many records. What is on its way stays until the server has said whether it has it.
 */
export function expireOld(file: OutboxFile, context: BufferContext, stream: Stream, upTo: number): number {
  expireAcked(file, stream, Math.min(upTo, context.known[stream].ackedTo));
  const due = unsentCandidates(file, stream, context.known[stream]).filter(({ toSeq }) => toSeq <= upTo);
  for (const range of due) {
    file.remove(stream, range);
    insertGap(file, context, stream, range, "expired");
  }
  return due.reduce((sum, { fromSeq, toSeq }) => sum + toSeq - fromSeq + 1, 0);
}

/**
 * Brings the file under its budget by what costs nobody a record: what the server has goes, then the oldest telemetry is
 * downsampled. Each step is a transaction of its own and begins with an empty log: figures of several would not fit one.
 */
export function makeRoomByFigures(file: OutboxFile, context: BufferContext, budgetBytes: number): void {
  if (file.usedBytes() <= budgetBytes) return;
  file.transaction(() => evictAcked(file, context, budgetBytes));
  for (let runs = 0; runs < RUNS_MAX && file.usedBytes() > budgetBytes; runs++) {
    file.checkpoint();
    if (!file.transaction(() => downsampleOldest(file, context, budgetBytes))) return;
  }
}

/**
 * Brings the file under its budget: what the server has goes first, and then whatever may give way. Answers how many
 * records of each stream gave way to a gap and left nothing.
 */
export function makeRoom(file: OutboxFile, context: BufferContext, budgetBytes: number): PerStream<number> {
  const lost = perStream(() => 0);
  if (file.usedBytes() <= budgetBytes * PRESSURED_FROM) return lost;
  evictAcked(file, context, budgetBytes);
  if (file.usedBytes() > budgetBytes) evictDownTo(file, context, budgetBytes * EVICT_TO, false, lost);
  return lost;
}

/**
 * The oldest rows that are not on their way become figures, as many as one step reads. False where there are none to spare:
 * the newest rows stay as they are, or figures would take as much.
 */
function downsampleOldest(file: OutboxFile, context: BufferContext, budgetBytes: number): boolean {
  const { known, spare, resolutionOf } = context;
  if (spare.bytes <= 0) {
    const bytes = file.recordBytes("telemetry") - budgetBytes * KEPT_FRACTION;
    if (bytes < budgetBytes * SPARE_FRACTION) return false;
    spare.bytes = bytes;
  }
  const { run, batches, bytes } = oldestRun(file, known.telemetry);
  const [first, last] = [run[0], run.at(-1)];
  if (first === undefined || last === undefined) return false;
  const figures = downsampledGap(batches, first.fromSeq, bytes, resolutionOf);
  if (figures === undefined) return false;
  const range = { fromSeq: first.fromSeq, toSeq: last.toSeq };
  file.remove("telemetry", range);
  file.insert("telemetry", range, figures, "downsampled");
  spare.bytes -= bytes;
  return true;
}

interface Run {
  readonly run: SeqRange[];
  readonly batches: StreamBatch<"telemetry">[];
  bytes: number;
}

/** The oldest rows that may give way: alike chunks that follow each other without a hole, as many as one step reads. */
function oldestRun(file: OutboxFile, known: StreamKnowledge): Run {
  const { sentTo, ackedTo } = known;
  const found: Run = { run: [], batches: [], bytes: 0 };
  for (const chunk of file.recordsAfter("telemetry", Math.max(sentTo, ackedTo), WINDOW)) {
    const [before, alike] = [found.run.at(-1), found.batches[0]];
    if (before === undefined && !mayGiveWay(known, chunk)) continue;
    if (before !== undefined && (before.toSeq + 1 !== chunk.fromSeq || !mayGiveWay(known, chunk))) break;
    const decoded = decodeBatch("telemetry", file.body("telemetry", chunk.fromSeq));
    // What cannot be read is left to whoever sends it.
    if (!decoded.ok || decoded.value.records.length !== chunk.toSeq - chunk.fromSeq + 1) break;
    if (alike !== undefined && !isAlike(decoded.value, alike)) break;
    found.run.push(chunk);
    found.batches.push(decoded.value);
    found.bytes += chunk.bytes;
    if (found.bytes >= RUN_BYTES) break;
  }
  return found;
}

/** What the server has goes, which leaves no gap, until there is no pressure any more. */
function evictAcked(file: OutboxFile, context: BufferContext, budgetBytes: number): void {
  const none = perStream(() => 0);
  evictDownTo(file, context, budgetBytes * PRESSURED_FROM, true, none);
}

function evictDownTo(
  file: OutboxFile,
  context: BufferContext,
  targetBytes: number,
  onlyAcked: boolean,
  lost: PerStream<number>,
): void {
  for (;;) {
    const excess = file.usedBytes() - targetBytes;
    if (excess <= 0) return;
    const plan = planEviction(nextToGo(file, context, onlyAcked), excess);
    if (plan.drop.length === 0) return;
    for (const range of plan.drop) file.remove(range.stream, range);
    for (const gap of plan.gaps) {
      insertGap(file, context, gap.stream, gap, "evicted");
      lost[gap.stream] += gap.toSeq - gap.fromSeq + 1;
    }
  }
}

/** Some of what gives way next: what the server has, or else of the lowest class that has anything to give. */
function nextToGo(
  file: OutboxFile,
  { known }: BufferContext,
  onlyAcked: boolean,
): Partial<Readonly<Record<Stream, readonly Candidate[]>>> {
  const acked = perStream((stream) => ackedCandidates(file, stream, known[stream]));
  if (onlyAcked || STREAMS.some((stream) => acked[stream].length > 0)) return acked;
  // One class at a time: a window's worth of the lowest may not be all there is of it.
  for (const stream of GIVING_WAY) {
    const unsent = unsentCandidates(file, stream, known[stream]);
    if (unsent.length > 0) return { [stream]: unsent };
  }
  return {};
}

/** The oldest chunks that the server has: its prefix, then what it has beyond that. */
function ackedCandidates(file: OutboxFile, stream: Stream, { ackedTo, also }: StreamKnowledge): Candidate[] {
  const found = file.ackedCandidates(stream, { fromSeq: 0, toSeq: ackedTo }, WINDOW);
  for (const [fromSeq, toSeq] of also) {
    if (found.length >= WINDOW) break;
    found.push(...file.ackedCandidates(stream, { fromSeq, toSeq }, WINDOW - found.length));
  }
  return found;
}

/** The oldest chunks that may give way. What is on its way may be stored by the server any moment: a gap would contradict it. */
function unsentCandidates(file: OutboxFile, stream: Stream, known: StreamKnowledge): Candidate[] {
  const after = Math.max(known.sentTo, known.ackedTo);
  return file.unsentCandidates(stream, after, WINDOW).filter((range) => mayGiveWay(known, range));
}

/** Stores a gap, as one with the gap before it unless that is already on its way. */
export function insertGap(
  file: OutboxFile,
  context: BufferContext,
  stream: Stream,
  range: SeqRange,
  reason: GapReason,
): void {
  const before = file.gapEndingAt(stream, range.fromSeq - 1);
  let { fromSeq } = range;
  if (before !== undefined && !isOnItsWay(context.known[stream], before.fromSeq)) {
    if (gapReason(file.body(stream, before.fromSeq)) === reason) {
      fromSeq = before.fromSeq;
      file.remove(stream, before);
    }
  }
  file.insert(stream, { fromSeq, toSeq: range.toSeq }, context.gapBodyOf(reason), "gap");
}

/**
 * What the server lacks and nobody holds any more: it had these records when they were taken out beyond its prefix, and was
 * restored to before that.
 */
export function lackedForGood(file: OutboxFile, known: StreamKnowledge, stream: Stream): SeqRange[] {
  const { ackedTo, also, next } = known;
  return file.holes(stream, ackedTo, next).flatMap((hole) => remainder(hole, ackedTo, also));
}

/**
 * Leaves of a stored gap what the server does not have. Where it has some of the rows after all, figures of all of them would
 * count those twice: then the gap stays alone.
 */
export function shrinkGap(file: OutboxFile, context: BufferContext, stream: Stream, gap: HeldChunk): void {
  const known = context.known[stream];
  const figures = gap.kind === "downsampled";
  const stored = figures ? context.gapBodyOf("evicted") : file.body(stream, gap.fromSeq);
  file.remove(stream, gap);
  for (const range of remainder(gap, known.ackedTo, known.also)) file.insert(stream, range, stored, "gap");
}

/** Takes out everything the server has, so that a new epoch does not send it a second time. */
export function dropAcked(file: OutboxFile, context: BufferContext, stream: Stream): void {
  const { ackedTo, also } = context.known[stream];
  while (expireAcked(file, stream, ackedTo));
  const [first] = file.heldAfter(stream, ackedTo, 1);
  if (first !== undefined && first.kind !== "records" && first.fromSeq <= ackedTo)
    shrinkGap(file, context, stream, first);
  for (const [from, to] of also) {
    for (let after = from - 1; after < to; ) {
      const held = file.heldAfter(stream, after, WINDOW).filter(({ fromSeq }) => fromSeq <= to);
      for (const chunk of held) {
        if (chunk.kind !== "records") shrinkGap(file, context, stream, chunk);
        else if (from <= chunk.fromSeq && chunk.toSeq <= to) file.remove(stream, chunk);
      }
      after = held.at(-1)?.toSeq ?? to;
    }
  }
}
