import type { StreamAck } from "@bellwether/protocol/messages/stream.ts";

/** What is known of one stream: the next seq to give, and what the server said it has. */
export interface StreamKnowledge {
  readonly next: number;
  /** The server has everything up to and including this seq. */
  readonly ackedTo: number;
  /** Ranges it has beyond that, both ends included. */
  readonly also: readonly (readonly [number, number])[];
  /** Handed out in this session up to this seq. */
  readonly sentTo: number;
  /** When the server had how much: the chunks up to `upTo` were acknowledged by `atMs`. Ascending. */
  readonly marks: readonly AckMark[];
}

export interface AckMark {
  readonly atMs: number;
  readonly upTo: number;
}

/** What an acknowledgement means for a stream. */
export type AckVerdict =
  /** It is about another epoch, or says nothing new. */
  | { readonly kind: "ignored" }
  | { readonly kind: "advanced"; readonly knowledge: StreamKnowledge }
  /** The server has less than it said before: it was restored from a backup. What it lacks is sent again. */
  | { readonly kind: "rewound"; readonly knowledge: StreamKnowledge }
  /** The server has numbers that were never given out: this file is older than what was sent from it. */
  | { readonly kind: "ahead" };

/** Marks stand this far apart at least; their number is the kept time over this. */
const MARK_FRACTION = 1 / 32;

/** Judges the server's word on one stream. */
export function judgeAck(
  known: StreamKnowledge,
  epoch: string,
  ack: StreamAck,
  nowMs: number,
  keepAckedMs: number,
): AckVerdict {
  if (ack.epoch !== epoch) return { kind: "ignored" };
  if (ack.upTo >= known.next || ack.also.some(([, to]) => to >= known.next)) return { kind: "ahead" };
  const { upTo } = ack;
  const also = ack.also.filter(([from, to]) => from <= to && to > upTo);
  if (upTo >= known.ackedTo) {
    const marks = upTo > known.ackedTo ? addMark(known.marks, { atMs: nowMs, upTo }, keepAckedMs) : known.marks;
    return {
      kind: "advanced",
      knowledge: { ...known, ackedTo: upTo, also, marks, sentTo: Math.max(known.sentTo, upTo) },
    };
  }
  const marks = known.marks.map((mark) => (mark.upTo > upTo ? { ...mark, upTo } : mark));
  return { kind: "rewound", knowledge: { ...known, ackedTo: upTo, also, marks: distinct(marks), sentTo: upTo } };
}

function addMark(marks: readonly AckMark[], mark: AckMark, keepAckedMs: number): readonly AckMark[] {
  const last = marks.at(-1);
  const before = marks.at(-2);
  // The newest mark moves along until it stands far enough from the one before; then it stays, as a lower bound of time.
  if (last !== undefined && mark.atMs - (before?.atMs ?? Number.NEGATIVE_INFINITY) < keepAckedMs * MARK_FRACTION) {
    return [...marks.slice(0, -1), mark];
  }
  return [...marks, mark];
}

function distinct(marks: readonly AckMark[]): readonly AckMark[] {
  return marks.filter((mark, index) => marks[index - 1]?.upTo !== mark.upTo);
}

/**
 * Up to which seq chunks were acknowledged at least `keepAckedMs` ago and may go, and the marks still needed. A clock
 * that was set back makes them stay longer; the budget takes them then.
 */
export function expiredAcks(
  marks: readonly AckMark[],
  nowMs: number,
  keepAckedMs: number,
): { readonly upTo: number; readonly marks: readonly AckMark[] } {
  const kept = marks.findIndex((mark) => nowMs - mark.atMs < keepAckedMs);
  const due = kept === -1 ? marks.length : kept;
  return { upTo: marks[due - 1]?.upTo ?? 0, marks: marks.slice(due) };
}

/** Whether the server has said that it has this whole range, beyond its prefix. */
export function isAlsoAcked(fromSeq: number, toSeq: number, also: readonly (readonly [number, number])[]): boolean {
  return also.some(([from, to]) => from <= fromSeq && toSeq <= to);
}
