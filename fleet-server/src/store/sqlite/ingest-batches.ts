import { decodeBatch } from "@bellwether/protocol/batch.ts";
import type { StreamRecords } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import type { Bound, Condition } from "./conditions.ts";
import { unpack } from "./packed.ts";

/** The streams whose messages lie as they came. */
export type MessageStream = "telemetry" | "inference";
export const MESSAGE_TABLES: Readonly<Record<MessageStream, string>> = {
  telemetry: "telemetry_batches",
  inference: "prediction_batches",
};

/** A row of such a table. */
export interface BatchRow {
  readonly device: string;
  readonly epoch_no: number;
  readonly from_seq: number;
  readonly to_seq: number;
  readonly offset_ms: number;
  readonly hist: number;
  readonly committed_at_ms: number;
  readonly bytes: Buffer;
  readonly unpacked_bytes: number | null;
  readonly cuts: string | null;
}
export const BATCH_COLUMNS =
  "device, epoch_no, from_seq, to_seq, offset_ms, hist, committed_at_ms, bytes, unpacked_bytes, cuts";

function place([afterDevice, afterEpoch, afterSeq]: readonly [string, number, number]): Bound {
  return { afterDevice, afterEpoch, afterSeq };
}

/** Batches that hold anything after a place; begins at the batch the place is in, so that the key finds it. */
export function batchesAfter(stream: MessageStream, at: readonly [string, number, number] | undefined): Condition {
  return (
    at && [
      `(device, epoch_no, from_seq) >= (@afterDevice, @afterEpoch, (
         SELECT coalesce(max(from_seq), 0) FROM ${MESSAGE_TABLES[stream]}
         WHERE device = @afterDevice AND epoch_no = @afterEpoch AND from_seq <= @afterSeq))
       AND (device, epoch_no, to_seq) > (@afterDevice, @afterEpoch, @afterSeq)`,
      place(at),
    ]
  );
}

/** One message of a stored run. */
export interface StoredPart {
  readonly fromSeq: number;
  readonly bytes: Buffer;
}

/** The messages that lie in a row of the table, in the order of seq. */
export function partsOfRun(row: Pick<BatchRow, "from_seq" | "bytes" | "unpacked_bytes" | "cuts">): StoredPart[] {
  const run = unpack({ bytes: row.bytes, unpackedBytes: row.unpacked_bytes });
  if (row.cuts === null) return [{ fromSeq: row.from_seq, bytes: run }];
  const cuts: [rows: number, bytes: number][] = JSON.parse(row.cuts);
  let fromSeq = row.from_seq;
  let at = 0;
  return cuts.map(([rows, bytes]) => {
    const part = { fromSeq, bytes: run.subarray(at, at + bytes) };
    fromSeq += rows;
    at += bytes;
    return part;
  });
}

/** A record with where it came from. */
export interface StoredRecord<T> {
  readonly device: string;
  readonly epoch: number;
  readonly seq: number;
  readonly correctedAtMs: number;
  readonly committedAtMs: number;
  readonly hist: boolean;
  readonly record: T;
}

/** The records of a stored row, in the order of seq. */
export function recordsOfBatch<S extends MessageStream>(stream: S, batch: BatchRow): StoredRecord<StreamRecords[S]>[] {
  return partsOfRun(batch).flatMap(({ fromSeq, bytes }) =>
    unwrap(decodeBatch(stream, bytes)).records.map((record, index) => ({
      device: batch.device,
      epoch: batch.epoch_no,
      seq: fromSeq + index,
      correctedAtMs: record.observedAtMs + batch.offset_ms,
      committedAtMs: batch.committed_at_ms,
      hist: batch.hist === 1,
      record,
    })),
  );
}
