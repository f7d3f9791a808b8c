import { isDeepStrictEqual } from "node:util";
import { BATCH_RECORDS_MAX, decodeBatch } from "@bellwether/protocol/batch.ts";
import type { Stream, StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import type { Range } from "../../ingest/ranges.ts";
import type { MessageSource } from "../ingest.ts";
import { statement } from "./command.ts";
import { MESSAGE_TABLES, type MessageStream, partsOfRun } from "./ingest-batches.ts";

/** A message whose bytes begin at `from` and end before `to`. */
interface Incoming extends MessageSource {
  readonly bytes: Buffer;
  readonly from: number;
  readonly to: number;
}

/**
 * Whether every record of a batch that is stored already says the same there, however the batches were cut then. Where
 * it does not, an outbox went back in time and gave the same seq to something else. Seqs that a gap took say nothing.
 */
export function agreesWithStored(db: Database, incoming: Incoming, batch: StreamBatch, epochNo: number): boolean {
  const range: Range = [batch.fromSeq, batch.fromSeq + batch.records.length - 1];
  if (incoming.stream === "telemetry" || incoming.stream === "inference") {
    return messagesAgree(db, incoming.stream, incoming, batch, epochNo, range);
  }
  const stored = storedBodies(db, incoming, epochNo, range);
  return stored.every(({ seq, body }) => isDeepStrictEqual(JSON.parse(body), batch.records[seq - batch.fromSeq]));
}

/** Streams whose records have a table of their own. */
const TABLES: Readonly<Partial<Record<Stream, string>>> = {
  event: "events",
  drift: "drift_windows",
};

function storedBodies(
  db: Database,
  { device, stream }: MessageSource,
  epochNo: number,
  [from, to]: Range,
): { seq: number; body: string }[] {
  const table = TABLES[stream];
  const rows =
    table === undefined
      ? statement(
          db,
          "SELECT seq, body FROM stream_records WHERE device = ? AND epoch_no = ? AND stream = ? AND seq BETWEEN ? AND ?",
        ).all(device, epochNo, stream, from, to)
      : statement(db, `SELECT seq, body FROM ${table} WHERE device = ? AND epoch_no = ? AND seq BETWEEN ? AND ?`).all(
          device,
          epochNo,
          from,
          to,
        );
  return rows as { seq: number; body: string }[];
}

function messagesAgree(
  db: Database,
  stream: MessageStream,
  incoming: Incoming,
  batch: StreamBatch,
  epochNo: number,
  [from, to]: Range,
): boolean {
  const { device } = incoming;
  const bytes = incoming.bytes.subarray(incoming.from, incoming.to);
  // No run of messages is longer than one message may be, so one that overlaps begins at most that far before.
  const stored = statement(
    db,
    `SELECT from_seq, bytes, unpacked_bytes, cuts FROM ${MESSAGE_TABLES[stream]}
     WHERE device = ? AND epoch_no = ? AND from_seq BETWEEN ? AND ? AND to_seq >= ?`,
  ).all(device, epochNo, from - BATCH_RECORDS_MAX, to, from) as {
    from_seq: number;
    bytes: Buffer;
    unpacked_bytes: number | null;
    cuts: string | null;
  }[];
  return stored.flatMap(partsOfRun).every((one) => {
    if (one.fromSeq === from && one.bytes.equals(bytes)) return true;
    const { records } = unwrap(decodeBatch<MessageStream>(stream, one.bytes));
    return records.every((record, index) => {
      const seq = one.fromSeq + index;
      return seq < from || seq > to || isDeepStrictEqual(record, batch.records[seq - from]);
    });
  });
}
