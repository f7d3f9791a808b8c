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
import { add, fits, missing, type Position, type Range } from "../../ingest/ranges.ts";
import type { CommittedBatch, IncomingBatch, IngestStore } from "../ingest.ts";
import { type Commands, statement, write } from "./command.ts";
import { keepDeadLetter } from "./dead-letters.ts";
import { addDriftWindow } from "./drift.ts";
import { agreesWithStored } from "./ingest-content.ts";
import { epochNumber, IngestGroup, readPosition, writePosition } from "./ingest-group.ts";
import { keepAlarm, predictionKind, ROW_KIND, type StoredAt } from "./ingest-latest.ts";
import { ingestReads } from "./ingest-reads.ts";
import { ingestWire } from "./ingest-wire.ts";
import { noteSecurity } from "./security.ts";

export { ingestMigrations } from "./ingest-schema.ts";

export const ingest = {
  ...ingestReads,
  commit: write((db, { batches, withRecords }) => {
    try {
      return inSavepoint(db, batches, withRecords);
    } catch (cause) {
      // One of them cannot be stored: the group is undone, and each stands for itself.
      if (!isAboutMessage(db, cause)) throw cause;
      return batches.map((batch) => commitAlone(db, batch, withRecords));
    }
  }, ingestWire),

  openSession: write((db, { device, epoch, streams, nowMs }) => {
    const epochNo = epochNumber(db, device, epoch);
    const acks: Record<string, StreamAck> = {};
    let conflict = false;
    for (const { stream, firstHeld, next } of streams) {
      let position = readPosition(db, device, epochNo, stream);
      const highest = position.also.at(-1)?.[1] ?? position.upTo;
      if (highest >= next) conflict = true;
      if (firstHeld > 1) {
        for (const range of missing(position, [1, firstHeld - 1])) {
          addGap(db, { device, epochNo, stream, range, reason: "lost", nowMs });
          position = add(position, range);
        }
        writePosition(db, { device, epochNo, stream, position });
      }
      acks[stream] = { epoch, ...position };
    }
    return { acks, conflict };
  }),

  keepDeadLetter: write((db, letter) => keepDeadLetter(db, letter)),
} as const satisfies Commands<IngestStore>;

/** Errors of SQLite that are about a message; every other one is about the disk, and then nothing may be concluded. */
const MESSAGE_ERRORS = /^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG)/;

function isAboutMessage(db: Database, cause: unknown): boolean {
  const { code = "" } = cause as Error & { code?: string };
  return db.inTransaction && (!code.startsWith("SQLITE_") || MESSAGE_ERRORS.test(code));
}

type CommitGroup = (batches: readonly IncomingBatch[], withRecords: boolean) => CommittedBatch[];
const savepoints = new WeakMap<Database, CommitGroup>();

/** Commits messages in a savepoint of their own; it is made once per connection, making it costs as much as several statements. */
function inSavepoint(db: Database, batches: readonly IncomingBatch[], withRecords: boolean): CommittedBatch[] {
  const commit =
    savepoints.get(db) ??
    db.transaction((some: readonly IncomingBatch[], records: boolean) => {
      const group = new IngestGroup(db);
      const answers = some.map((one) => commitOne(db, group, one, records));
      group.flush();
      return answers;
    });
  savepoints.set(db, commit);
  return commit(batches, withRecords);
}

/** Commits one message: if it cannot be stored, it must not hold up the others for ever. */
function commitAlone(db: Database, incoming: IncomingBatch, withRecords: boolean): CommittedBatch {
  try {
    return inSavepoint(db, [incoming], withRecords)[0] as CommittedBatch;
  } catch (cause) {
    if (!isAboutMessage(db, cause)) throw cause;
    const { code = "", message } = cause as Error & { code?: string };
    const group = new IngestGroup(db);
    const answer = commitPoison(db, group, incoming, problem("INTERNAL", { reference: `${code} ${message}`.trim() }));
    group.flush();
    return answer;
  }
}

function commitOne(db: Database, group: IngestGroup, incoming: IncomingBatch, withRecords: boolean): CommittedBatch {
  const { device, site, stream } = incoming;
  const decoded = decodeBatch(stream, incoming.bytes);
  if (!decoded.ok) return commitPoison(db, group, incoming, decoded.error);
  const batch = decoded.value;
  const answer = { device, site, stream, hist: batch.hist, offsetMs: 0, records: [] };
  const epochNo = group.epochNumber(device, batch.epoch);
  const position = group.position(device, epochNo, stream);
  const count = batch.gap?.count ?? batch.records.length;
  const range: Range = [batch.fromSeq, batch.fromSeq + count - 1];
  const parts = missing(position, range);
  const ack = (at: Position) => ({ epoch: batch.epoch, ...at });
  // A gap says that records gave way, never what they were: where some arrived after all, it contradicts nothing. It may
  // also come again longer or shorter than before.
  const known = parts.reduce((left, [from, to]) => left - (to - from + 1), count);
  if (known > 0) group.settle(device, epochNo, stream);
  if (known > 0 && !batch.gap && !agreesWithStored(db, incoming, batch, epochNo)) {
    return { ...answer, outcome: "conflict", ack: ack(position) };
  }
  if (parts.length === 0) return { ...answer, outcome: "duplicate", ack: ack(position) };
  const after = parts.reduce(add, position);
  // A device that leaves ever more holes would make its position, and every acknowledgement, grow without bound.
  if (!fits(after)) return { ...answer, outcome: "deferred", ack: ack(position) };
  const at: StoredAt = { site, device, epochNo, hist: batch.hist ? 1 : 0, offsetMs: clockOffset(db, incoming, batch) };
  const records = parts.flatMap((part) => storePart(db, group, incoming, batch, at, part));
  group.keepPosition(device, epochNo, stream, after);
  return {
    ...answer,
    outcome: "committed",
    offsetMs: at.offsetMs,
    records: withRecords ? records : [],
    ack: ack(after),
  };
}

function commitPoison(db: Database, group: IngestGroup, incoming: IncomingBatch, cause: Problem): CommittedBatch {
  const { device, site, stream, receivedAtMs } = incoming;
  const answer = { device, site, stream, hist: false, offsetMs: 0, records: [], outcome: "poison" } as const;
  const { code, message } = cause;
  keepDeadLetter(db, { device, site, kind: stream, code, message, bytes: incoming.bytes, atMs: receivedAtMs });
  const claimed = claimedRange(stream, incoming.bytes);
  if (!claimed) return answer;
  const { epoch, fromSeq, toSeq } = claimed;
  const epochNo = group.epochNumber(device, epoch);
  const position = group.position(device, epochNo, stream);
  const parts = missing(position, [fromSeq, toSeq]);
  const after = parts.reduce(add, position);
  if (!fits(after)) return { ...answer, ack: { epoch, ...position } };
  for (const range of parts) {
    addGap(db, { device, epochNo, stream, range, reason: "deadLetter", nowMs: receivedAtMs });
  }
  group.keepPosition(device, epochNo, stream, after);
  return { ...answer, ack: { epoch, ...after } };
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
  group: IngestGroup,
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
  if (stream === "telemetry" || stream === "inference") {
    const whole = records.length === batch.records.length;
    const bytes = whole ? incoming.bytes : encodeBatch({ ...batch, fromSeq: from, records } as StreamBatch);
    const kept = records as (TelemetryRow | InferenceRecord)[];
    group.addMessage(stream, at, [from, to], kept, bytes, receivedAtMs);
    keepNewest(group, at, from, kept);
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

/** Offers the newest of each asset and kind among records that begin at `from`. */
function keepNewest(
  group: IngestGroup,
  at: StoredAt,
  from: number,
  records: readonly (TelemetryRow | InferenceRecord)[],
): void {
  const seen = new Set<string>();
  for (let index = records.length - 1; index >= 0; index--) {
    const record = records[index] as TelemetryRow | InferenceRecord;
    const kind = "model" in record ? predictionKind(record.model) : ROW_KIND;
    const key = `${record.asset}/${kind}`;
    if (seen.has(key)) continue;
    seen.add(key);
    group.keepNewest(at, kind, from + index, record);
  }
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
