import { encodeBatch } from "@bellwether/protocol/batch.ts";
import { type BatchView, viewOfRecords } from "@bellwether/protocol/batch-view.ts";
import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type { EventRecord, StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import type { Database } from "better-sqlite3";
import type { Range } from "../../ingest/ranges.ts";
import { minutesOfDownsampled } from "../../series/rollup.ts";
import type { MessageSource } from "../ingest.ts";
import { statement } from "./command.ts";
import { addDriftWindow } from "./drift.ts";
import type { IngestGroup, OpenStream } from "./ingest-group.ts";
import { keepAlarm, type StoredAt } from "./ingest-latest.ts";
import { noteSecurity } from "./security.ts";
import { addMinutes } from "./series-minutes.ts";

/** A message of a group: its bytes begin at `from` and end before `to`. */
export interface Message extends MessageSource {
  readonly index: number;
  readonly source: number;
  readonly bytes: Buffer;
  readonly from: number;
  readonly to: number;
  readonly receivedAtMs: number;
}

/**
 * What to add to a device's clock: 0 where it says it is synchronised, else the smallest difference between arrival and
 * the clock at cutting that this boot has shown; the smallest had the least delay in it.
 */
export function clockOffset(db: Database, { device, receivedAtMs }: Message, { clock }: BatchView): number {
  if (clock.clockSynced) return 0;
  return statement(
    db,
    `INSERT INTO clock_offsets VALUES (?, ?, ?)
     ON CONFLICT DO UPDATE SET offset_ms = min(offset_ms, excluded.offset_ms) RETURNING offset_ms`,
  )
    .pluck()
    .get(device, clock.bootId, receivedAtMs - clock.wallMs) as number;
}

/** Stores the records of a message from one seq to another, both included. */
export function storePart(
  db: Database,
  group: IngestGroup,
  open: OpenStream,
  message: Message,
  view: BatchView,
  at: StoredAt,
  [first, last]: Range,
): void {
  const { device, stream, receivedAtMs } = message;
  if (view.gap || !(stream === "telemetry" || stream === "inference")) group.isPlain = false;
  if (view.gap) {
    const { count, reason } = view.gap;
    const partly = reason === "downsampled" && last - first + 1 < count;
    // Of rows that arrived after all, figures of all of them would count twice.
    addGap(db, { ...at, stream, range: [first, last], reason: partly ? "evicted" : reason, nowMs: receivedAtMs });
    if (!partly && view.downsampled) {
      addMinutes(db, minutesOfDownsampled({ ...at, hist: view.hist }, view.downsampled));
    }
    return;
  }
  const whole = last - first + 1 === view.count;
  if (whole && (stream === "telemetry" || stream === "inference")) {
    group.addMessage(open, at, view, message, receivedAtMs);
    return;
  }
  const part = partOf(view, first, last);
  const { records } = part;
  if (stream === "telemetry" || stream === "inference") {
    const bytes = Buffer.from(encodeBatch(part));
    group.addMessage(open, at, viewOfRecords(part), { bytes, from: 0, to: bytes.length }, receivedAtMs);
  } else if (stream === "event") {
    for (const [index, record] of records.entries()) {
      addEvent(db, at, first + index, record as EventRecord, receivedAtMs);
    }
  } else if (stream === "drift") {
    for (const [index, record] of records.entries()) {
      addDriftWindow(db, at, first + index, record as DriftRecord, receivedAtMs);
    }
  } else {
    const keep = statement(db, "INSERT INTO stream_records VALUES (?, ?, ?, ?, ?, ?, ?)");
    for (const [index, record] of records.entries()) {
      keep.run(device, at.epochNo, stream, first + index, at.site, receivedAtMs, JSON.stringify(record));
    }
  }
}

/** The batch with only the records from one seq to another. */
function partOf(view: BatchView, first: number, last: number): StreamBatch {
  const batch = view.batch();
  const records = batch.records.slice(first - view.fromSeq, last - view.fromSeq + 1);
  return { ...batch, fromSeq: first, records } as StreamBatch;
}

function addEvent(db: Database, at: StoredAt, seq: number, record: EventRecord, committedAtMs: number): void {
  statement(
    db,
    `INSERT INTO events (device, epoch_no, seq, site, asset, corrected_at_ms, committed_at_ms, hist, body)
     VALUES (@device, @epochNo, @seq, @site, @asset, @atMs + @offsetMs, @committedAtMs, @hist, @body)`,
  ).run({
    ...at,
    seq,
    committedAtMs,
    asset: record.asset ?? null,
    atMs: record.atMs,
    body: JSON.stringify(record),
  });
  keepAlarm(db, at, seq, record);
  if (record.kind === "security") {
    const { code, text } = record;
    noteSecurity(db, { device: at.device, code, text, reference: `event/${at.epochNo}/${seq}` }, committedAtMs);
  }
}

/** Notes that records of a stream will not come, and why. */
export function addGap(
  db: Database,
  gap: { device: string; epochNo: number; stream: string; range: Range; reason: string; nowMs: number },
): void {
  statement(db, "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?)").run(
    gap.device,
    gap.epochNo,
    gap.stream,
    gap.range[0],
    gap.range[1],
    gap.reason,
    gap.nowMs,
  );
}
