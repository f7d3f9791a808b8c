import type { AssetView } from "@bellwether/protocol/batch-view.ts";
import { ALERT_CLEARED, ALERT_RAISED, type EventRecord } from "@bellwether/protocol/messages/stream.ts";
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

// Of one device the higher seq is the newer, whatever its clock said. Of two devices that both speak of an asset, live
// words count at once and backfill only where its time is later.
const NEWER = `(excluded.device = latest.device AND (excluded.epoch_no, excluded.seq) > (latest.epoch_no, latest.seq))
   OR (excluded.device <> latest.device AND (excluded.hist = 0 OR excluded.corrected_at_ms > latest.corrected_at_ms))`;

/** A record that may be the newest of its kind that an asset has. */
export interface NewestRecord {
  readonly at: StoredAt;
  readonly kind: string;
  readonly asset: string;
  readonly seq: number;
  readonly view: Pick<AssetView, "last">;
}

/** Whether the first of two records of one device is the newer. */
export function isNewer(one: NewestRecord, other: NewestRecord): boolean {
  const { at } = one;
  return at.epochNo > other.at.epochNo || (at.epochNo === other.at.epochNo && one.seq > other.seq);
}

/** Stores a record as the newest of its kind, unless a newer one is there. */
export function keepLatest(db: Database, { at, kind, asset, seq, view }: NewestRecord): void {
  const record = view.last();
  statement(
    db,
    `INSERT INTO latest VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET device = excluded.device, epoch_no = excluded.epoch_no, seq = excluded.seq,
       corrected_at_ms = excluded.corrected_at_ms, offset_ms = excluded.offset_ms, hist = excluded.hist, body = excluded.body WHERE ${NEWER}`,
  ).run(
    at.site,
    asset,
    kind,
    at.device,
    at.epochNo,
    seq,
    record.observedAtMs + at.offsetMs,
    at.offsetMs,
    at.hist,
    JSON.stringify(record),
  );
}

/** The newest rows of telemetry, and the newest predictions of a model, as kinds of `latest`. */
export const ROW_KIND = "row";
export const predictionKind = (model: string): string => `prediction:${model}`;

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
