import { claimedRange, decodeBatch, encodeBatch } from "@bellwether/protocol/batch.ts";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type {
  EventRecord,
  InferenceRecord,
  StreamAck,
  StreamBatch,
  TelemetryRow,
} from "@bellwether/protocol/messages/stream.ts";
import type { Database } from "better-sqlite3";
import { add, fits, missing, NOTHING, type Position, type Range } from "../../ingest/ranges.ts";
import type { CommittedBatch, IncomingBatch, IngestStore } from "../ingest.ts";
import { type Commands, statement, write } from "./command.ts";
import { keepDeadLetter } from "./dead-letters.ts";
import { addDriftWindow } from "./drift.ts";
import { agreesWithStored } from "./ingest-content.ts";
import { keepAlarm, keepLatestPredictions, keepLatestRows, type StoredAt } from "./ingest-latest.ts";
import { ingestReads } from "./ingest-reads.ts";

export { ingestMigrations } from "./ingest-schema.ts";

export const ingest = {
  ...ingestReads,
  commit: write((db, { batches, withRecords }) => batches.map((batch) => commitSafely(db, batch, withRecords))),

  openSession: write((db, { device, epoch, streams, nowMs }) => {
    const epochNo = epochNumber(db, device, epoch);
    const acks: Record<string, StreamAck> = {};
    let conflict = false;
    for (const { stream, firstHeld, next } of streams) {
      let position = positionOf(db, device, epochNo, stream);
      const highest = position.also.at(-1)?.[1] ?? position.upTo;
      if (highest >= next) conflict = true;
      if (firstHeld > 1) {
        for (const range of missing(position, [1, firstHeld - 1])) {
          addGap(db, { device, epochNo, stream, range, reason: "lost", nowMs });
          position = add(position, range);
        }
        keepPosition(db, device, epochNo, stream, position);
      }
      acks[stream] = { epoch, ...position };
    }
    return { acks, conflict };
  }),

  keepDeadLetter: write((db, letter) => keepDeadLetter(db, letter)),
} as const satisfies Commands<IngestStore>;

/** Errors of SQLite that are about a message; every other one is about the disk, and then nothing may be concluded. */
const MESSAGE_ERRORS = /^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG)/;

type CommitOne = (incoming: IncomingBatch, withRecords: boolean) => CommittedBatch;
const savepoints = new WeakMap<Database, CommitOne>();

/** `commitOne` in a savepoint; made once per connection, making it costs as much as several statements. */
function savepoint(db: Database): CommitOne {
  const found = savepoints.get(db);
  if (found !== undefined) return found;
  const made: CommitOne = db.transaction((incoming: IncomingBatch, withRecords: boolean) =>
    commitOne(db, incoming, withRecords),
  );
  savepoints.set(db, made);
  return made;
}

/** Commits one message in a savepoint of its own: one that cannot be stored must not hold up the others for ever. */
function commitSafely(db: Database, incoming: IncomingBatch, withRecords: boolean): CommittedBatch {
  try {
    return savepoint(db)(incoming, withRecords);
  } catch (cause) {
    const { code = "", message } = cause as Error & { code?: string };
    if (!db.inTransaction || (code.startsWith("SQLITE_") && !MESSAGE_ERRORS.test(code))) throw cause;
    return commitPoison(db, incoming, problem("INTERNAL", { reference: `${code} ${message}`.trim() }));
  }
}

function commitOne(db: Database, incoming: IncomingBatch, withRecords: boolean): CommittedBatch {
  const { device, site, stream } = incoming;
  const decoded = decodeBatch(stream, incoming.bytes);
  if (!decoded.ok) return commitPoison(db, incoming, decoded.error);
  const batch = decoded.value;
  const answer = { device, site, stream, hist: batch.hist, offsetMs: 0, records: [] };
  const epochNo = epochNumber(db, device, batch.epoch);
  const position = positionOf(db, device, epochNo, stream);
  const count = batch.gap?.count ?? batch.records.length;
  const range: Range = [batch.fromSeq, batch.fromSeq + count - 1];
  const parts = missing(position, range);
  const ack = (at: Position) => ({ epoch: batch.epoch, ...at });
  // A gap says that records gave way, never what they were: where some arrived after all, it contradicts nothing. It may
  // also come again longer or shorter than before.
  const known = parts.reduce((left, [from, to]) => left - (to - from + 1), count);
  if (known > 0 && !batch.gap && !agreesWithStored(db, incoming, batch, epochNo)) {
    return { ...answer, outcome: "conflict", ack: ack(position) };
  }
  if (parts.length === 0) return { ...answer, outcome: "duplicate", ack: ack(position) };
  const after = parts.reduce(add, position);
  // A device that leaves ever more holes would make its position, and every acknowledgement, grow without bound.
  if (!fits(after)) return { ...answer, outcome: "deferred", ack: ack(position) };
  const at: StoredAt = { site, device, epochNo, hist: batch.hist ? 1 : 0, offsetMs: clockOffset(db, incoming, batch) };
  const records = parts.flatMap((part) => storePart(db, incoming, batch, at, part));
  keepPosition(db, device, epochNo, stream, after);
  return {
    ...answer,
    outcome: "committed",
    offsetMs: at.offsetMs,
    records: withRecords ? records : [],
    ack: ack(after),
  };
}

function commitPoison(db: Database, incoming: IncomingBatch, cause: Problem): CommittedBatch {
  const { device, site, stream, receivedAtMs } = incoming;
  const answer = { device, site, stream, hist: false, offsetMs: 0, records: [], outcome: "poison" } as const;
  const { code, message } = cause;
  keepDeadLetter(db, { device, site, kind: stream, code, message, bytes: incoming.bytes, atMs: receivedAtMs });
  const claimed = claimedRange(stream, incoming.bytes);
  if (!claimed) return answer;
  const { epoch, fromSeq, toSeq } = claimed;
  const epochNo = epochNumber(db, device, epoch);
  const position = positionOf(db, device, epochNo, stream);
  const parts = missing(position, [fromSeq, toSeq]);
  const after = parts.reduce(add, position);
  if (!fits(after)) return { ...answer, ack: { epoch, ...position } };
  for (const range of parts) {
    addGap(db, { device, epochNo, stream, range, reason: "deadLetter", nowMs: receivedAtMs });
  }
  keepPosition(db, device, epochNo, stream, after);
  return { ...answer, ack: { epoch, ...after } };
}

function epochNumber(db: Database, device: string, epoch: string): number {
  const find = statement(db, "SELECT epoch_no FROM epochs WHERE device = ? AND epoch = ?").pluck();
  const found = find.get(device, epoch) as number | undefined;
  if (found !== undefined) return found;
  statement(db, "INSERT INTO epochs SELECT ?, ?, coalesce(max(epoch_no), 0) + 1 FROM epochs WHERE device = ?").run(
    device,
    epoch,
    device,
  );
  return find.get(device, epoch) as number;
}

function positionOf(db: Database, device: string, epochNo: number, stream: string): Position {
  const row = statement(
    db,
    "SELECT up_to, also FROM stream_positions WHERE device = ? AND epoch_no = ? AND stream = ?",
  ).get(device, epochNo, stream) as { up_to: number; also: string } | undefined;
  return row ? { upTo: row.up_to, also: JSON.parse(row.also) } : NOTHING;
}

function keepPosition(db: Database, device: string, epochNo: number, stream: string, position: Position): void {
  statement(
    db,
    `INSERT INTO stream_positions VALUES (?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET up_to = excluded.up_to, also = excluded.also`,
  ).run(device, epochNo, stream, position.upTo, JSON.stringify(position.also));
}

/**
 * What to add to a device's clock: 0 where it says it is synchronised, else the smallest difference between arrival and
 * the clock at cutting that this boot has shown; the smallest had the least delay in it.
 */
function clockOffset(db: Database, incoming: IncomingBatch, batch: StreamBatch): number {
  if (batch.clock.clockSynced) return 0;
  return statement(
    db,
    `INSERT INTO clock_offsets VALUES (?, ?, ?)
     ON CONFLICT DO UPDATE SET offset_ms = min(offset_ms, excluded.offset_ms) RETURNING offset_ms`,
  )
    .pluck()
    .get(incoming.device, batch.clock.bootId, incoming.receivedAtMs - batch.clock.wallMs) as number;
}

function storePart(
  db: Database,
  incoming: IncomingBatch,
  batch: StreamBatch,
  at: StoredAt,
  [from, to]: Range,
): readonly unknown[] {
  const { device, stream, receivedAtMs } = incoming;
  if (batch.gap) {
    addGap(db, { ...at, stream, range: [from, to], reason: batch.gap.reason, nowMs: receivedAtMs });
    return [];
  }
  const records = batch.records.slice(from - batch.fromSeq, to - batch.fromSeq + 1);
  if (stream === "telemetry") {
    const whole = records.length === batch.records.length;
    const bytes = whole ? incoming.bytes : encodeBatch({ ...batch, fromSeq: from, records } as StreamBatch);
    addTelemetry(db, at, [from, to], records as TelemetryRow[], bytes, receivedAtMs);
  } else if (stream === "inference") {
    for (const [index, record] of records.entries()) {
      addPrediction(db, at, from + index, record as InferenceRecord, receivedAtMs);
    }
    keepLatestPredictions(db, at, from, records as InferenceRecord[]);
  } else if (stream === "event") {
    for (const [index, record] of records.entries()) {
      addEvent(db, at, from + index, record as EventRecord, receivedAtMs);
    }
  } else if (stream === "drift") {
    for (const [index, record] of records.entries()) {
      addDriftWindow(db, at, from + index, record as DriftRecord, receivedAtMs);
    }
  } else {
    const keep = statement(db, "INSERT INTO stream_records VALUES (?, ?, ?, ?, ?, ?, ?)");
    for (const [index, record] of records.entries()) {
      keep.run(device, at.epochNo, stream, from + index, at.site, receivedAtMs, JSON.stringify(record));
    }
  }
  return records;
}

function addTelemetry(
  db: Database,
  at: StoredAt,
  [from, to]: Range,
  rows: readonly TelemetryRow[],
  bytes: Uint8Array,
  committedAtMs: number,
): void {
  let first = Number.POSITIVE_INFINITY;
  let last = 0;
  for (const { observedAtMs } of rows) {
    first = Math.min(first, observedAtMs);
    last = Math.max(last, observedAtMs);
  }
  statement(
    db,
    `INSERT INTO telemetry_batches VALUES (@device, @epochNo, @from, @to, @site, @assets, @first, @last, @offsetMs, @hist,
       @committedAtMs, @bytes)`,
  ).run({
    ...at,
    from,
    to,
    assets: JSON.stringify([...new Set(rows.map((row) => row.asset))]),
    first,
    last,
    committedAtMs,
    bytes,
  });
  keepLatestRows(db, at, from, rows);
}

function addPrediction(db: Database, at: StoredAt, seq: number, record: InferenceRecord, committedAtMs: number): void {
  statement(
    db,
    `INSERT INTO predictions (device, epoch_no, seq, site, asset, observed_at_ms, corrected_at_ms, committed_at_ms, model,
       version, digest, value, error, latency_us, alert, hist, predecessor_digest, predecessor_value, body)
     VALUES (@device, @epochNo, @seq, @site, @asset, @observedAtMs, @observedAtMs + @offsetMs, @committedAtMs, @model,
       @version, @digest, @value, @error, @latencyUs, @alert, @hist, @predecessorDigest, @predecessorValue, @body)`,
  ).run({
    ...at,
    seq,
    committedAtMs,
    asset: record.asset,
    observedAtMs: record.observedAtMs,
    model: record.model,
    version: record.version,
    digest: record.digest,
    value: record.value ?? null,
    error: record.error ?? null,
    latencyUs: record.latencyUs ?? null,
    alert: record.alert ? 1 : 0,
    predecessorDigest: record.predecessor?.digest ?? null,
    predecessorValue: record.predecessor?.value ?? null,
    body: JSON.stringify(record),
  });
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
}

function addGap(
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
