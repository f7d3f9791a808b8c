import { storedColumns } from "@bellwether/protocol/batch.ts";
import type { Database } from "better-sqlite3";
import { MinuteRollup } from "../../series/rollup.ts";
import type { RollupSlice, SeriesStore } from "../series.ts";
import { statement } from "./command.ts";
import { BATCH_COLUMNS, type BatchRow, partsOfRun } from "./ingest-batches.ts";
import { addMinutes } from "./series-minutes.ts";

/** A slice ends with the batch that passes one of these: reading it takes a thread a few tens of milliseconds. */
const SLICE_BATCHES_MAX = 1_000;
const SLICE_BYTES_MAX = 384 * 1_024;

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
  addMinutes(db, minutes);
  const next = last ? { from: slice.to, to: slice.to, done: 0 } : { ...slice, done: slice.done + 1 };
  statement(db, "UPDATE rollup_state SET from_id = @from, to_id = @to, done = @done").run(next);
  return true;
}
