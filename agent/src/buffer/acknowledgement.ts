import type { StreamAck } from "@bellwether/protocol/messages/stream.ts";
import { cursorsAt, joined } from "./lanes.ts";
import { addMark, type Mark } from "./mark.ts";

/** What is known of one stream: the next seq to give, and what the server said it has. */
export interface StreamKnowledge {
  readonly next: number;
  /** The server has everything up to and including this seq. */
  readonly ackedTo: number;
  /** Ranges it has beyond that, both ends included. */
  readonly also: readonly (readonly [number, number])[];
  /** Handed out in this session up to this seq, of what waited when it began. */
  readonly sentTo: number;
  /** What came after this seq is live, and was handed out up to `liveSentTo` while older records still waited. */
  readonly liveFrom: number;
  readonly liveSentTo: number;
  /** When the server had how much: the chunks up to `upTo` were acknowledged by `atMs`. Ascending. */
  readonly marks: readonly Mark[];
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
    const sentTo = Math.max(known.sentTo, upTo);
    return { kind: "advanced", knowledge: joined({ ...known, ackedTo: upTo, also, marks, sentTo }) };
  }
  const marks = known.marks.map((mark) => (mark.upTo > upTo ? { ...mark, upTo } : mark));
  const knowledge = { ...known, ackedTo: upTo, also, marks: distinct(marks), ...cursorsAt(upTo) };
  return { kind: "rewound", knowledge };
}

function distinct(marks: readonly Mark[]): readonly Mark[] {
  return marks.filter((mark, index) => marks[index - 1]?.upTo !== mark.upTo);
}
