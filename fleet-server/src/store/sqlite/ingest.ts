import { createHash } from "node:crypto";
import { decodeBatch, encodeBatch } from "@bellwether/protocol/batch.ts";
import type { Problem } from "@bellwether/protocol/errors.ts";
import type { InferenceRecord, StreamAck, StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Database } from "better-sqlite3";
import { add, fits, missing, NOTHING, type Position, type Range } from "../../ingest/ranges.ts";
import type { CommittedBatch, IncomingBatch, IngestStore } from "../ingest.ts";
import { type Commands, write } from "./command.ts";
import { ingestReads } from "./ingest-reads.ts";

export const ingestMigrations = [
  `CREATE TABLE epochs (
     device TEXT NOT NULL, epoch TEXT NOT NULL, epoch_no INTEGER NOT NULL,
     PRIMARY KEY (device, epoch)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE stream_positions (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, stream TEXT NOT NULL, up_to INTEGER NOT NULL, also TEXT NOT NULL,
     PRIMARY KEY (device, epoch_no, stream)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE batch_digests (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, stream TEXT NOT NULL, from_seq INTEGER NOT NULL,
     digest BLOB NOT NULL,
     PRIMARY KEY (device, epoch_no, stream, from_seq)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE clock_offsets (
     device TEXT NOT NULL, boot_id TEXT NOT NULL, offset_ms INTEGER NOT NULL,
     PRIMARY KEY (device, boot_id)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE telemetry_batches (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
     site TEXT NOT NULL, assets TEXT NOT NULL, first_at_ms INTEGER NOT NULL, last_at_ms INTEGER NOT NULL,
     offset_ms INTEGER NOT NULL, hist INTEGER NOT NULL, committed_at_ms INTEGER NOT NULL, bytes BLOB NOT NULL,
     PRIMARY KEY (device, epoch_no, from_seq)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE predictions (
     id INTEGER PRIMARY KEY,
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, seq INTEGER NOT NULL, site TEXT NOT NULL,
     asset TEXT NOT NULL, observed_at_ms INTEGER NOT NULL, corrected_at_ms INTEGER NOT NULL,
     committed_at_ms INTEGER NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL,
     value REAL, error TEXT, latency_us REAL, alert INTEGER NOT NULL, hist INTEGER NOT NULL,
     predecessor_digest TEXT, predecessor_value REAL, body TEXT NOT NULL,
     UNIQUE (device, epoch_no, seq)
   ) STRICT;
   CREATE INDEX predictions_by_device ON predictions (device, model, committed_at_ms);
   CREATE INDEX predictions_by_asset ON predictions (asset, observed_at_ms);
   CREATE TABLE events (
     id INTEGER PRIMARY KEY,
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, seq INTEGER NOT NULL, site TEXT NOT NULL,
     committed_at_ms INTEGER NOT NULL, hist INTEGER NOT NULL, body TEXT NOT NULL,
     UNIQUE (device, epoch_no, seq)
   ) STRICT;
   CREATE TABLE stream_records (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL, site TEXT NOT NULL,
     committed_at_ms INTEGER NOT NULL, body TEXT NOT NULL,
     PRIMARY KEY (device, epoch_no, stream, seq)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE gaps (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, stream TEXT NOT NULL, from_seq INTEGER NOT NULL,
     to_seq INTEGER NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,
     PRIMARY KEY (device, epoch_no, stream, from_seq)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE dead_letters (
     id INTEGER PRIMARY KEY,
     device TEXT NOT NULL, site TEXT NOT NULL, stream TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
     digest BLOB NOT NULL, byte_count INTEGER NOT NULL, bytes BLOB, at_ms INTEGER NOT NULL
   ) STRICT;
   CREATE UNIQUE INDEX dead_letters_once ON dead_letters (device, stream, digest);`,
];

/** Newest dead letters that are kept, and how many of them with their bytes. */
const DEAD_LETTERS_MAX = 100_000;
const DEAD_LETTER_BODIES_MAX = 1_000;

export const ingest = {
  ...ingestReads,
  commit: write((db, { batches, withRecords }) => batches.map((batch) => commitOne(db, batch, withRecords))),

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
} as const satisfies Commands<IngestStore>;

function commitOne(db: Database, incoming: IncomingBatch, withRecords: boolean): CommittedBatch {
  const { device, site, stream } = incoming;
  const answer = { device, site, stream, hist: false, records: [] };
  const decoded = decodeBatch(stream, incoming.bytes);
  if (!decoded.ok) {
    keepDeadLetter(db, incoming, decoded.error);
    const range = readableRange(incoming.bytes);
    if (!range) return { ...answer, outcome: "poison" };
    const epochNo = epochNumber(db, device, range.epoch);
    let position = positionOf(db, device, epochNo, stream);
    const parts = fits(add(position, range.range)) ? missing(position, range.range) : [];
    for (const part of parts) {
      addGap(db, { device, epochNo, stream, range: part, reason: "deadLetter", nowMs: incoming.receivedAtMs });
      position = add(position, part);
    }
    keepPosition(db, device, epochNo, stream, position);
    return { ...answer, outcome: "poison", ack: { epoch: range.epoch, ...position } };
  }
  const batch = decoded.value;
  const epochNo = epochNumber(db, device, batch.epoch);
  const position = positionOf(db, device, epochNo, stream);
  const range: Range = [batch.fromSeq, batch.fromSeq + (batch.gap?.count ?? batch.records.length) - 1];
  const parts = missing(position, range);
  const ack = (at: Position) => ({ epoch: batch.epoch, ...at });
  if (!fits(add(position, range))) return { ...answer, outcome: "deferred", ack: ack(position) };
  // A gap says that records gave way, never what they were: where some arrived after all, it contradicts nothing. It may
  // also come again longer or shorter than before.
  const same = batch.gap ? undefined : sameContent(db, incoming, epochNo, batch.fromSeq);
  if (same === false) return { ...answer, outcome: "conflict", ack: ack(position) };
  if (parts.length === 0) return { ...answer, outcome: "duplicate", ack: ack(position) };
  const offsetMs = clockOffset(db, incoming, batch);
  const records = parts.flatMap((part) => storePart(db, incoming, batch, epochNo, part, offsetMs));
  const after = parts.reduce(add, position);
  keepPosition(db, device, epochNo, stream, after);
  return {
    ...answer,
    outcome: "committed",
    hist: batch.hist,
    records: withRecords ? records : [],
    ack: ack(after),
  };
}

function epochNumber(db: Database, device: string, epoch: string): number {
  const find = db.prepare("SELECT epoch_no FROM epochs WHERE device = ? AND epoch = ?").pluck();
  const found = find.get(device, epoch) as number | undefined;
  if (found !== undefined) return found;
  db.prepare("INSERT INTO epochs SELECT ?, ?, coalesce(max(epoch_no), 0) + 1 FROM epochs WHERE device = ?").run(
    device,
    epoch,
    device,
  );
  return find.get(device, epoch) as number;
}

function positionOf(db: Database, device: string, epochNo: number, stream: string): Position {
  const row = db
    .prepare("SELECT up_to, also FROM stream_positions WHERE device = ? AND epoch_no = ? AND stream = ?")
    .get(device, epochNo, stream) as { up_to: number; also: string } | undefined;
  return row ? { upTo: row.up_to, also: JSON.parse(row.also) } : NOTHING;
}

function keepPosition(db: Database, device: string, epochNo: number, stream: string, position: Position): void {
  db.prepare(
    `INSERT INTO stream_positions VALUES (?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET up_to = excluded.up_to, also = excluded.also`,
  ).run(device, epochNo, stream, position.upTo, JSON.stringify(position.also));
}

/**
 * Whether a batch that begins where an earlier one began says the same: undefined when none began there, and then it is
 * noted. Sent again it has the same bytes; other bytes under the same seq mean an outbox that went back in time.
 */
function sameContent(db: Database, incoming: IncomingBatch, epochNo: number, fromSeq: number): boolean | undefined {
  const digest = createHash("sha256").update(incoming.bytes).digest();
  const key = [incoming.device, epochNo, incoming.stream, fromSeq] as const;
  const known = db
    .prepare("SELECT digest FROM batch_digests WHERE device = ? AND epoch_no = ? AND stream = ? AND from_seq = ?")
    .pluck()
    .get(...key) as Buffer | undefined;
  if (known) return known.equals(digest);
  db.prepare("INSERT INTO batch_digests VALUES (?, ?, ?, ?, ?)").run(...key, digest);
  return undefined;
}

/**
 * What to add to a device's clock: 0 where it says it is synchronised, else the smallest difference between arrival and
 * the clock at cutting that this boot has shown; the smallest had the least delay in it.
 */
function clockOffset(db: Database, incoming: IncomingBatch, batch: StreamBatch): number {
  if (batch.clock.clockSynced) return 0;
  return db
    .prepare(
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
  epochNo: number,
  [from, to]: Range,
  offsetMs: number,
): readonly unknown[] {
  const { device, site, stream, receivedAtMs } = incoming;
  if (batch.gap) {
    addGap(db, { device, epochNo, stream, range: [from, to], reason: batch.gap.reason, nowMs: receivedAtMs });
    return [];
  }
  const records = batch.records.slice(from - batch.fromSeq, to - batch.fromSeq + 1);
  const at = { device, epochNo, site, committedAtMs: receivedAtMs, hist: batch.hist ? 1 : 0, offsetMs };
  if (stream === "telemetry") {
    const whole = records.length === batch.records.length;
    const part = { ...batch, fromSeq: from, records } as StreamBatch;
    addTelemetry(db, at, from, to, records as TelemetryRow[], whole ? incoming.bytes : encodeBatch(part));
    return records;
  }
  const event = db.prepare(
    `INSERT INTO events (device, epoch_no, seq, site, committed_at_ms, hist, body)
     VALUES (@device, @epochNo, @seq, @site, @committedAtMs, @hist, @body)`,
  );
  const other = db.prepare("INSERT INTO stream_records VALUES (?, ?, ?, ?, ?, ?, ?)");
  for (const [index, record] of records.entries()) {
    const seq = from + index;
    if (stream === "inference") addPrediction(db, at, seq, record as InferenceRecord);
    else if (stream === "event") event.run({ ...at, seq, body: JSON.stringify(record) });
    else other.run(device, epochNo, stream, seq, site, receivedAtMs, JSON.stringify(record));
  }
  return records;
}

interface At {
  readonly device: string;
  readonly epochNo: number;
  readonly site: string;
  readonly committedAtMs: number;
  readonly hist: number;
  readonly offsetMs: number;
}

function addTelemetry(
  db: Database,
  at: At,
  from: number,
  to: number,
  rows: readonly TelemetryRow[],
  bytes: Uint8Array,
): void {
  const times = rows.map((row) => row.observedAtMs);
  db.prepare(
    `INSERT INTO telemetry_batches VALUES (@device, @epochNo, @from, @to, @site, @assets, @first, @last, @offsetMs, @hist,
       @committedAtMs, @bytes)`,
  ).run({
    ...at,
    from,
    to,
    assets: JSON.stringify([...new Set(rows.map((row) => row.asset))]),
    first: Math.min(...times),
    last: Math.max(...times),
    bytes,
  });
}

function addPrediction(db: Database, at: At, seq: number, record: InferenceRecord): void {
  db.prepare(
    `INSERT INTO predictions (device, epoch_no, seq, site, asset, observed_at_ms, corrected_at_ms, committed_at_ms, model,
       version, digest, value, error, latency_us, alert, hist, predecessor_digest, predecessor_value, body)
     VALUES (@device, @epochNo, @seq, @site, @asset, @observedAtMs, @observedAtMs + @offsetMs, @committedAtMs, @model,
       @version, @digest, @value, @error, @latencyUs, @alert, @hist, @predecessorDigest, @predecessorValue, @body)`,
  ).run({
    ...at,
    seq,
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

function addGap(
  db: Database,
  gap: { device: string; epochNo: number; stream: string; range: Range; reason: string; nowMs: number },
): void {
  db.prepare("INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?)").run(
    gap.device,
    gap.epochNo,
    gap.stream,
    gap.range[0],
    gap.range[1],
    gap.reason,
    gap.nowMs,
  );
}

function keepDeadLetter(db: Database, incoming: IncomingBatch, problem: Problem): void {
  const added = db
    .prepare(
      `INSERT INTO dead_letters (device, site, stream, code, message, digest, byte_count, bytes, at_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    )
    .run(
      incoming.device,
      incoming.site,
      incoming.stream,
      problem.code,
      problem.message,
      createHash("sha256").update(incoming.bytes).digest(),
      incoming.bytes.byteLength,
      incoming.bytes,
      incoming.receivedAtMs,
    );
  if (added.changes === 0) return;
  // Ids rise by one: neither step reads more than it changes, however many letters there are.
  const newest = Number(added.lastInsertRowid);
  db.prepare("UPDATE dead_letters SET bytes = NULL WHERE id = ?").run(newest - DEAD_LETTER_BODIES_MAX);
  db.prepare("DELETE FROM dead_letters WHERE id <= ?").run(newest - DEAD_LETTERS_MAX);
}

/** The seq range of a message that fits no schema, where at least its envelope can be read: then it can be acknowledged. */
function readableRange(bytes: Uint8Array): { epoch: string; range: Range } | undefined {
  let value: { epoch?: unknown; fromSeq?: unknown; records?: unknown; gap?: { count?: unknown } | null } | null;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined; // no JSON at all: nothing in it says which seq it was
  }
  const { epoch, fromSeq, records, gap } = value ?? {};
  const count = gap ? gap.count : Array.isArray(records) ? records.length : undefined;
  const readable =
    typeof epoch === "string" &&
    /^[0-9a-f]{16}$/.test(epoch) &&
    Number.isSafeInteger(fromSeq) &&
    Number.isSafeInteger(count) &&
    (fromSeq as number) >= 1 &&
    (count as number) >= 1 &&
    (count as number) <= 100_000;
  if (!readable) return undefined;
  return { epoch, range: [fromSeq as number, (fromSeq as number) + (count as number) - 1] };
}
