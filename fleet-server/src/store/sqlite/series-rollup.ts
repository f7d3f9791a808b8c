import { storedColumns } from "@bellwether/protocol/batch.ts";
import type { Database } from "better-sqlite3";
import { BLOCK_SLOTS, decodeBlock, emptyColumns, encodeBlock, figuresAt, setRow } from "../../series/block.ts";
import { type Figures, HOUR_MS, MINUTE_MS, merge } from "../../series/figures.ts";
import { type MinuteFigures, minutesOf, type SeriesKey } from "../../series/minute-table.ts";
import { MinuteRollup } from "../../series/rollup.ts";
import type { RollupSlice, SeriesStore } from "../series.ts";
import { statement } from "./command.ts";
import { BATCH_COLUMNS, type BatchRow, partsOfRun } from "./ingest-batches.ts";

/** A slice ends with the batch that passes one of these: reading it takes a thread a few tens of milliseconds. */
const SLICE_BATCHES_MAX = 200;
const SLICE_BYTES_MAX = 128 * 1_024;

interface StoredBatch extends BatchRow {
  readonly id: number;
  readonly site: string;
}

/** How far the figures are. */
export function rollupState(db: Database): RollupSlice {
  return statement(db, 'SELECT from_id AS "from", to_id AS "to", done FROM rollup_state').get() as RollupSlice;
}

/** The next batches, added up. A slice that was begun is read as it was cut then. */
export function pendingSlice(db: Database): Awaited<ReturnType<SeriesStore["pending"]>> {
  const state = rollupState(db);
  const upTo = state.done > 0 ? state.to : Number.MAX_SAFE_INTEGER;
  const rollup = new MinuteRollup();
  let bytesRead = 0;
  let to = state.from;
  const batches = statement(
    db,
    `SELECT id, site, ${BATCH_COLUMNS} FROM telemetry_batches WHERE id > ? AND id <= ? ORDER BY id LIMIT ${SLICE_BATCHES_MAX}`,
  ).iterate(state.from, upTo) as IterableIterator<StoredBatch>;
  for (const batch of batches) {
    const of = { site: batch.site, offsetMs: batch.offset_ms, hist: batch.hist === 1 };
    for (const { bytes } of partsOfRun(batch)) rollup.addColumns(of, storedColumns(bytes));
    to = batch.id;
    bytesRead += batch.unpacked_bytes ?? batch.bytes.length;
    if (bytesRead >= SLICE_BYTES_MAX) break;
  }
  return to === state.from ? undefined : { slice: { ...state, to }, minutes: rollup.minutes() };
}

/** Adds one piece of a slice to the figures and notes it, once. */
export function keepPiece(db: Database, { slice, minutes, last }: Parameters<SeriesStore["keep"]>[0]): boolean {
  const state = rollupState(db);
  const begun = state.done === 0 || state.to === slice.to;
  if (state.from !== slice.from || state.done !== slice.done || !begun) return false;
  addMinutes(db, minutesOf(minutes));
  const next = last ? { from: slice.to, to: slice.to, done: 0 } : { ...slice, done: slice.done + 1 };
  statement(db, "UPDATE rollup_state SET from_id = @from, to_id = @to, done = @done").run(next);
  return true;
}

/** Adds minutes to those that are there. */
export function addMinutes(db: Database, minutes: readonly MinuteFigures[]): void {
  const ids = new Map<SeriesKey, number>();
  // A slice has some thousand minutes: what can be done once for all of them is.
  const add = statement(db, `INSERT ${PUT_MINUTE} ON CONFLICT DO NOTHING`);
  const find = statement(db, FIND_MINUTE);
  const replace = statement(db, `REPLACE ${PUT_MINUTE}`);
  for (const later of minutes) {
    const id = ids.get(later.series) ?? seriesId(db, later.series);
    ids.set(later.series, id);
    // Most minutes are new.
    if (add.run(...rowOf(id, later.minute, later)).changes === 1) continue;
    const figures = figuresOfRow(find.get(id, later.minute) as MinuteRow);
    merge(figures, later);
    replace.run(...rowOf(id, later.minute, figures));
  }
}

function rowOf(id: number, minute: number, figures: Figures): number[] {
  const { count, hist, min, max, sum, sumError, last, lastAtMs } = figures;
  return [id, minute, count, hist, min, max, sum, sumError, last, lastAtMs];
}

function seriesId(db: Database, key: SeriesKey): number {
  const find = statement(db, "SELECT id FROM series_keys WHERE site = @site AND asset = @asset AND channel = @channel");
  const found = find.get(key) as { id: number } | undefined;
  if (found) return found.id;
  const insert = statement(db, "INSERT INTO series_keys (site, asset, channel) VALUES (@site, @asset, @channel)");
  return Number(insert.run(key).lastInsertRowid);
}

/** A row of the minutes as it is stored. */
export interface MinuteRow {
  readonly minute: number;
  readonly count: number;
  readonly hist: number;
  readonly min: number;
  readonly max: number;
  readonly sum: number;
  readonly sum_error: number;
  readonly last: number;
  readonly last_at_ms: number;
}
export const MINUTE_COLUMNS = "minute, count, hist, min, max, sum, sum_error, last, last_at_ms";

/** What a row of the minutes says. */
export function figuresOfRow({ sum_error: sumError, last_at_ms: lastAtMs, ...row }: MinuteRow): Figures {
  const { count, hist, min, max, sum, last } = row;
  return { count, hist, min, max, sum, sumError, last, lastAtMs };
}

const FIND_MINUTE = `SELECT ${MINUTE_COLUMNS} FROM rollup_minutes WHERE series = ? AND minute = ?`;
const PUT_MINUTE = `INTO rollup_minutes (series, ${MINUTE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;

/** Days of channels that one call packs at most, and channels it looks at: some milliseconds of the writer. */
const PACKED_DAYS_MAX = 4;
const SERIES_LOOKED_AT = 500;

/** Packs minutes of days that ended before a time. */
export function packMinutes(
  db: Database,
  { beforeMs, fromSeries }: Parameters<SeriesStore["pack"]>[0],
): Awaited<ReturnType<SeriesStore["pack"]>> {
  const before = Math.floor(beforeMs / MINUTE_MS / BLOCK_SLOTS) * BLOCK_SLOTS;
  const first = statement(
    db,
    "SELECT series, minute FROM rollup_minutes WHERE series >= ? ORDER BY series, minute LIMIT 1",
  );
  let series = fromSeries;
  let packed = 0;
  for (let looked = 0; looked < SERIES_LOOKED_AT; ) {
    const found = first.get(series) as { series: number; minute: number } | undefined;
    if (!found) return {};
    if (found.minute >= before) {
      series = found.series + 1;
      looked += 1;
      continue;
    }
    series = found.series;
    if (packed === PACKED_DAYS_MAX) break;
    packDay(db, series, Math.floor(found.minute / BLOCK_SLOTS));
    packed += 1;
  }
  return { next: series };
}

function packDay(db: Database, series: number, day: number): void {
  const range = [series, day * BLOCK_SLOTS, (day + 1) * BLOCK_SLOTS - 1] as const;
  const where = "WHERE series = ? AND minute BETWEEN ? AND ?";
  const rows = statement(db, `SELECT ${MINUTE_COLUMNS} FROM rollup_minutes ${where} ORDER BY minute`).all(
    ...range,
  ) as MinuteRow[];
  for (const bucketMs of [MINUTE_MS, HOUR_MS]) {
    const blockMs = bucketMs * BLOCK_SLOTS;
    // A day's minutes are one block, and its hours lie in one.
    const block = Math.floor(((rows[0] as MinuteRow).minute * MINUTE_MS) / blockMs);
    addToBlock(db, { series, bucketMs, block }, rows);
  }
  statement(db, `DELETE FROM rollup_minutes ${where}`).run(...range);
}

function addToBlock(
  db: Database,
  at: { readonly series: number; readonly bucketMs: number; readonly block: number },
  rows: readonly MinuteRow[],
): void {
  const startMs = at.block * BLOCK_SLOTS * at.bucketMs;
  const buckets = new Map<number, Figures>();
  const stored = statement(
    db,
    "SELECT bytes FROM rollup_blocks WHERE series = @series AND bucket_ms = @bucketMs AND block = @block",
  ).get(at) as { bytes: Buffer } | undefined;
  if (stored) {
    const columns = decodeBlock(stored.bytes);
    for (let row = 0; row < columns.length; row++) {
      const slot = columns.slot[row] as number;
      buckets.set(slot, figuresAt(columns, row, startMs + slot * at.bucketMs));
    }
  }
  for (const row of rows) {
    const slot = Math.floor((row.minute * MINUTE_MS - startMs) / at.bucketMs);
    const bucket = buckets.get(slot);
    if (bucket) merge(bucket, figuresOfRow(row));
    else buckets.set(slot, figuresOfRow(row));
  }
  const columns = emptyColumns(buckets.size);
  const ordered = [...buckets].sort(([one], [other]) => one - other);
  for (const [row, [slot, figures]] of ordered.entries()) {
    setRow(columns, row, slot, startMs + slot * at.bucketMs, figures);
  }
  statement(db, "INSERT OR REPLACE INTO rollup_blocks VALUES (@series, @bucketMs, @block, @bytes)").run({
    ...at,
    bytes: encodeBlock(columns),
  });
}
