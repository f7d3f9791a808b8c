import type { StreamKnowledge } from "./acknowledgement.ts";
import { isAlsoAcked, type SeqRange } from "./eviction.ts";

/**
 * Records of a stream leave in two lanes: backfill, what waited when the session came online, oldest first; and live, what
 * was taken since, oldest first. The lanes are one again once the backfill is through. The server puts both in
 * the order of seq, and acknowledges the live ones as ranges beyond its prefix.
 */
export type Lane = "live" | "backfill";

/** A server remembers 256 ranges beyond its prefix; with half of them in use, live records wait for their turn. */
const RANGES_BEFORE_WAITING = 128;

type Cursors = Pick<StreamKnowledge, "sentTo" | "liveFrom" | "liveSentTo">;

/** Cursors of a stream of which everything after a seq is still to be sent. */
export function cursorsAt(seq: number): Cursors {
  return { sentTo: seq, liveFrom: 0, liveSentTo: 0 };
}

/** Whether some of the backfill has not been handed out. */
export function isBehind({ sentTo, liveFrom }: Cursors): boolean {
  return sentTo < liveFrom;
}

/** The server listens from now on: what waits is backfill, what comes is live. */
export function split(known: StreamKnowledge): StreamKnowledge {
  if (isBehind(known)) return known;
  const newest = known.next - 1;
  return { ...known, sentTo: Math.max(known.sentTo, known.ackedTo), liveFrom: newest, liveSentTo: newest };
}

/** Everything up to a seq was handed out in a lane. */
export function sent(known: StreamKnowledge, lane: Lane, toSeq: number): StreamKnowledge {
  return lane === "live" && isBehind(known) ? { ...known, liveSentTo: toSeq } : joined({ ...known, sentTo: toSeq });
}

/** The lanes as one, if the backfill is through. */
export function joined(known: StreamKnowledge): StreamKnowledge {
  return isBehind(known) ? known : { ...known, sentTo: Math.max(known.sentTo, known.liveSentTo) };
}

/** Where a lane goes on: after which seq, and up to which its chunks may begin. Undefined where it has to wait. */
export function laneOf(
  known: StreamKnowledge,
  lane: Lane,
): { readonly after: number; readonly from: SeqRange } | undefined {
  const { sentTo, liveFrom, liveSentTo, also } = known;
  const behind = isBehind(known);
  if (lane === "backfill") return behind ? { after: sentTo, from: { fromSeq: 0, toSeq: liveFrom } } : undefined;
  if (behind && also.length >= RANGES_BEFORE_WAITING) return undefined;
  const beyond = { fromSeq: behind ? liveFrom + 1 : 0, toSeq: Number.MAX_SAFE_INTEGER };
  return { after: behind ? liveSentTo : sentTo, from: beyond };
}

/** Whether a chunk was handed out in this session and may be stored by the server any moment. */
export function isOnItsWay(known: StreamKnowledge, fromSeq: number): boolean {
  const { sentTo, liveFrom, liveSentTo } = known;
  return fromSeq <= sentTo || (isBehind(known) && fromSeq > liveFrom && fromSeq <= liveSentTo);
}

/** Whether the server lacks a chunk that is not on its way to it. */
export function mayGiveWay(known: StreamKnowledge, { fromSeq, toSeq }: SeqRange): boolean {
  return !isOnItsWay(known, fromSeq) && !isAlsoAcked(fromSeq, toSeq, known.also);
}
