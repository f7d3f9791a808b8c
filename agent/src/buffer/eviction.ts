import { STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";

/** A range of seq, both ends included. */
export interface SeqRange {
  readonly fromSeq: number;
  readonly toSeq: number;
}

/** A chunk that may go, with what its going frees. */
export interface Candidate extends SeqRange {
  readonly bytes: number;
  /** The server has it: nothing is lost when it goes. */
  readonly acked: boolean;
}

/** What must go: chunks the server has, chunks that leave a gap, and the gaps, merged where they touch. */
export interface EvictionPlan {
  readonly drop: readonly (SeqRange & { readonly stream: Stream })[];
  readonly gaps: readonly (SeqRange & { readonly stream: Stream })[];
  readonly freedBytes: number;
  readonly lostRecords: number;
}

/** Lowest class first: the order in which streams give way. */
export const GIVING_WAY: readonly Stream[] = [...STREAMS].reverse();

/**
 * Chooses what gives way to free `bytes`: first what the server has anyway, then what it has not; lowest class first
 * and oldest first in both. `candidates` of a stream are in the order of seq and hold no chunk that is on its way.
 */
export function planEviction(
  candidates: Readonly<Partial<Record<Stream, readonly Candidate[]>>>,
  bytes: number,
): EvictionPlan {
  const drop: (SeqRange & { stream: Stream })[] = [];
  const gaps: (SeqRange & { stream: Stream })[] = [];
  let freedBytes = 0;
  let lostRecords = 0;
  for (const acked of [true, false]) {
    for (const stream of GIVING_WAY) {
      for (const candidate of candidates[stream] ?? []) {
        if (freedBytes >= bytes) return { drop, gaps, freedBytes, lostRecords };
        if (candidate.acked !== acked) continue;
        const { fromSeq, toSeq } = candidate;
        drop.push({ stream, fromSeq, toSeq });
        freedBytes += candidate.bytes;
        if (acked) continue;
        lostRecords += toSeq - fromSeq + 1;
        addGap(gaps, stream, candidate);
      }
    }
  }
  return { drop, gaps, freedBytes, lostRecords };
}

function addGap(gaps: (SeqRange & { stream: Stream })[], stream: Stream, { fromSeq, toSeq }: SeqRange): void {
  const last = gaps.at(-1);
  if (last !== undefined && last.stream === stream && last.toSeq + 1 === fromSeq) {
    gaps[gaps.length - 1] = { stream, fromSeq: last.fromSeq, toSeq };
  } else gaps.push({ stream, fromSeq, toSeq });
}

/** What of a range is left when everything up to `upTo` and the ranges of `also` are taken out. */
export function remainder(
  range: SeqRange,
  upTo: number,
  also: readonly (readonly [number, number])[],
): readonly SeqRange[] {
  let left: SeqRange[] = [{ fromSeq: Math.max(range.fromSeq, upTo + 1), toSeq: range.toSeq }];
  for (const [from, to] of also) {
    left = left.flatMap(({ fromSeq, toSeq }) => [
      { fromSeq, toSeq: Math.min(toSeq, from - 1) },
      { fromSeq: Math.max(fromSeq, to + 1), toSeq },
    ]);
    left = left.filter(({ fromSeq, toSeq }) => fromSeq <= toSeq);
  }
  return left.filter(({ fromSeq, toSeq }) => fromSeq <= toSeq);
}

/** Whether the server has said that it has this whole range, beyond its prefix. */
export function isAlsoAcked(fromSeq: number, toSeq: number, also: readonly (readonly [number, number])[]): boolean {
  return also.some(([from, to]) => from <= fromSeq && toSeq <= to);
}
