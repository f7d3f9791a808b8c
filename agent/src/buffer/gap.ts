import { decodeBatch, encodeBatch, type ResolutionOf } from "@bellwether/protocol/batch.ts";
import {
  type ClockReading,
  clockReading,
  GAP_REASONS,
  type GapReason,
  type Stream,
} from "@bellwether/protocol/messages/stream.ts";
import type { SeqRange } from "./eviction.ts";

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

/** The same of a gap that holds figures: they are named and numbered as the gap is now. Figures that rotted leave a gap. */
export function encodeDownsampled(
  epoch: string,
  range: SeqRange,
  stored: Uint8Array,
  resolutionOf: ResolutionOf | undefined,
): Uint8Array {
  const decoded = decodeBatch("telemetry", stored);
  const count = range.toSeq - range.fromSeq + 1;
  if (!decoded.ok || decoded.value.gap?.count !== count) return encodeGap("telemetry", epoch, range, stored);
  return encodeBatch({ ...decoded.value, epoch, fromSeq: range.fromSeq }, resolutionOf);
}

/** Why the records of a stored gap are missing. */
export function gapReason(stored: Uint8Array): GapReason {
  return readGapBody(stored).reason;
}

// A page that rotted must not stop the stream behind it: a gap whose story is lost is still a gap of its length.
function readGapBody(stored: Uint8Array): GapBody {
  try {
    const body = JSON.parse(Buffer.from(stored).toString("utf8")) as GapBody;
    if (clockReading.check(body.clock).ok && GAP_REASONS.includes(body.reason)) return body;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
  }
  return { reason: "unreadable", hist: true, clock: { bootId: "unknown", monoMs: 0, wallMs: 0, clockSynced: false } };
}
