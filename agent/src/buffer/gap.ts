import { encodeBatch } from "@bellwether/protocol/batch.ts";
import {
  type ClockReading,
  clockReading,
  type Stream,
  type StreamBatch,
} from "@bellwether/protocol/messages/stream.ts";
import type { SeqRange } from "./eviction.ts";

/** Why records are missing. */
export type GapReason = NonNullable<StreamBatch["gap"]>["reason"];

const REASONS: readonly GapReason[] = ["evicted", "expired", "unreadable"];

/** What is stored of a gap besides its range. */
interface GapBody {
  readonly reason: GapReason;
  readonly hist: boolean;
  readonly clock: ClockReading;
}

/** The stored form of a gap. It is encoded when it is sent, for its range may shrink or grow until then. */
export function gapBody(reason: GapReason, hist: boolean, clock: ClockReading): Uint8Array {
  return Buffer.from(JSON.stringify({ reason, hist, clock } satisfies GapBody), "utf8");
}

/** The batch that tells the server of a gap; the same stored gap and range give the same bytes. */
export function encodeGap(stream: Stream, epoch: string, { fromSeq, toSeq }: SeqRange, stored: Uint8Array): Uint8Array {
  const { reason, hist, clock } = readGapBody(stored);
  const gap = { count: toSeq - fromSeq + 1, reason };
  return encodeBatch({ v: 1, epoch, stream, fromSeq, records: [], gap, hist, clock });
}

/** Why the records of a stored gap are missing. */
export function gapReason(stored: Uint8Array): GapReason {
  return readGapBody(stored).reason;
}

// A page that rotted must not stop the stream behind it: a gap whose story is lost is still a gap of its length.
function readGapBody(stored: Uint8Array): GapBody {
  try {
    const body = JSON.parse(Buffer.from(stored).toString("utf8")) as GapBody;
    if (clockReading.check(body.clock).ok && REASONS.includes(body.reason)) return body;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
  }
  return { reason: "unreadable", hist: true, clock: { bootId: "unknown", monoMs: 0, wallMs: 0, clockSynced: false } };
}
