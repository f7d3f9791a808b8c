import { STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";
import type { StreamKnowledge } from "./acknowledgement.ts";
import { type Candidate, GIVING_WAY, planEviction, remainder, type SeqRange } from "./eviction.ts";
import { type GapReason, gapReason } from "./gap.ts";
import { isOnItsWay, mayGiveWay } from "./lanes.ts";
import type { HeldChunk, OutboxFile } from "./outbox-file.io.ts";
import { type PerStream, perStream } from "./per-stream.ts";
import { EVICT_TO, PRESSURED_FROM } from "./pressure.ts";

/** Chunks looked at in one step of evicting, or deleting what is acknowledged. */
const WINDOW = 256;

/** What making room needs to know besides the file. All of it runs within the caller's transaction. */
export interface RoomContext {
  readonly known: Readonly<PerStream<StreamKnowledge>>;
  /** How a gap that is made now is stored. */
  readonly gapBodyOf: (reason: GapReason) => Uint8Array;
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
export function expireOld(file: OutboxFile, context: RoomContext, stream: Stream, upTo: number): number {
  expireAcked(file, stream, Math.min(upTo, context.known[stream].ackedTo));
  const due = unsentCandidates(file, stream, context.known[stream]).filter(({ toSeq }) => toSeq <= upTo);
  for (const range of due) {
    file.remove(stream, range);
    insertGap(file, context, stream, range, "expired");
  }
  return due.reduce((sum, { fromSeq, toSeq }) => sum + toSeq - fromSeq + 1, 0);
}

/** Brings the file under its budget; answers how many records of each stream gave way to a gap. */
export function makeRoom(file: OutboxFile, context: RoomContext, budgetBytes: number): PerStream<number> {
  const lost = perStream(() => 0);
  evictDownTo(file, context, budgetBytes * PRESSURED_FROM, true, lost);
  if (file.usedBytes() > budgetBytes) evictDownTo(file, context, budgetBytes * EVICT_TO, false, lost);
  return lost;
}

function evictDownTo(
  file: OutboxFile,
  context: RoomContext,
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
  { known }: RoomContext,
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
  context: RoomContext,
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
  file.insert(stream, { fromSeq, toSeq: range.toSeq }, context.gapBodyOf(reason), true);
}

/** Leaves of a stored gap what the server does not have. */
export function shrinkGap(file: OutboxFile, stream: Stream, gap: HeldChunk, known: StreamKnowledge): void {
  const stored = file.body(stream, gap.fromSeq);
  file.remove(stream, gap);
  for (const range of remainder(gap, known.ackedTo, known.also)) file.insert(stream, range, stored, true);
}

/** Takes out everything the server has, so that a new epoch does not send it a second time. */
export function dropAcked(file: OutboxFile, stream: Stream, known: StreamKnowledge): void {
  const { ackedTo, also } = known;
  while (expireAcked(file, stream, ackedTo));
  const first = file.heldAfter(stream, ackedTo, 1)[0];
  if (first?.gap) shrinkGap(file, stream, first, known);
  for (const [from, to] of also) {
    for (let after = from - 1; after < to; ) {
      const held = file.heldAfter(stream, after, WINDOW).filter(({ fromSeq }) => fromSeq <= to);
      for (const chunk of held) {
        if (chunk.gap) shrinkGap(file, stream, chunk, known);
        else if (from <= chunk.fromSeq && chunk.toSeq <= to) file.remove(stream, chunk);
      }
      after = held.at(-1)?.toSeq ?? to;
    }
  }
}
