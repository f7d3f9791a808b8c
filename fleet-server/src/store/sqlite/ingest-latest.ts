import {
  ALERT_CLEARED,
  ALERT_RAISED,
  type EventRecord,
  type InferenceRecord,
  type TelemetryRow,
} from "@bellwether/protocol/messages/stream.ts";
import type { Database } from "better-sqlite3";
import { statement } from "./command.ts";

/** Where a stored record stands. */
export interface StoredAt {
  readonly site: string;
  readonly device: string;
  readonly epochNo: number;
  readonly hist: 0 | 1;
  /** What to add to the device's own times. */
  readonly offsetMs: number;
}

const ROW = "row";
const PREDICTION = "prediction:";

// Of one device the higher seq is the newer, whatever its clock said. Of two devices that both speak of an asset, live
// words count at once and backfill only where its time is later.
const NEWER = `(excluded.device = latest.device AND (excluded.epoch_no, excluded.seq) > (latest.epoch_no, latest.seq))
   OR (excluded.device <> latest.device AND (excluded.hist = 0 OR excluded.corrected_at_ms > latest.corrected_at_ms))`;

function keep(db: Database, at: StoredAt, kind: string, seq: number, record: TelemetryRow | InferenceRecord): void {
  statement(
    db,
    `INSERT INTO latest VALUES (@site, @asset, @kind, @device, @epochNo, @seq, @correctedAtMs, @offsetMs, @hist, @body)
     ON CONFLICT DO UPDATE SET device = excluded.device, epoch_no = excluded.epoch_no, seq = excluded.seq,
       corrected_at_ms = excluded.corrected_at_ms, offset_ms = excluded.offset_ms, hist = excluded.hist, body = excluded.body WHERE ${NEWER}`,
  ).run({
    site: at.site,
    device: at.device,
    epochNo: at.epochNo,
    hist: at.hist,
    offsetMs: at.offsetMs,
    asset: record.asset,
    kind,
    seq,
    correctedAtMs: record.observedAtMs + at.offsetMs,
    body: JSON.stringify(record),
  });
}

/** Keeps the newest row of every asset among these, which begin at `from`. */
export function keepLatestRows(db: Database, at: StoredAt, from: number, rows: readonly TelemetryRow[]): void {
  const newest = new Map(rows.map((row, index) => [row.asset, index]));
  for (const index of newest.values()) keep(db, at, ROW, from + index, rows[index] as TelemetryRow);
}

/** Keeps the newest prediction of every asset and model among these, which begin at `from`. */
export function keepLatestPredictions(
  db: Database,
  at: StoredAt,
  from: number,
  records: readonly InferenceRecord[],
): void {
  const newest = new Map(records.map((record, index) => [`${record.asset}/${record.model}`, index]));
  for (const index of newest.values()) {
    const record = records[index] as InferenceRecord;
    keep(db, at, PREDICTION + record.model, from + index, record);
  }
}

/** The name of an asset's alarm: the model that raises it. */
export function alarmOf(record: EventRecord): string {
  return record.model ?? "alert";
}

/** Keeps whether the alert of an event stands. The newest word of its device counts, live or not. */
export function keepAlarm(db: Database, at: StoredAt, seq: number, record: EventRecord): void {
  if (record.kind !== "alert" || record.asset === undefined) return;
  if (record.code !== ALERT_RAISED && record.code !== ALERT_CLEARED) return;
  statement(
    db,
    `INSERT INTO alarms VALUES (@site, @asset, @alarm, @device, @epochNo, @seq, @standing, @offsetMs, @hist, @body)
     ON CONFLICT DO UPDATE SET device = excluded.device, epoch_no = excluded.epoch_no, seq = excluded.seq,
       standing = excluded.standing, offset_ms = excluded.offset_ms, hist = excluded.hist, body = excluded.body
     WHERE excluded.device <> alarms.device
       OR (excluded.epoch_no, excluded.seq) > (alarms.epoch_no, alarms.seq)`,
  ).run({
    site: at.site,
    device: at.device,
    epochNo: at.epochNo,
    hist: at.hist,
    offsetMs: at.offsetMs,
    asset: record.asset,
    alarm: alarmOf(record),
    seq,
    standing: record.code === ALERT_RAISED ? 1 : 0,
    body: JSON.stringify(record),
  });
}
