import type { Database } from "better-sqlite3";
import { BLOCK_SLOTS } from "../../series/block.ts";
import { HOUR_MS, MINUTE_MS } from "../../series/figures.ts";
import type { Retained, RetentionStore } from "../retention.ts";
import { type Commands, read, statement, write } from "./command.ts";

/** How a class lies in its table. */
interface Class {
  readonly table: string;
  readonly key: readonly string[];
  /** What of it may go: a condition over @beforeMs and @committedBeforeMs. */
  readonly expired: string;
  /** What else goes with one of them, by its key. */
  readonly also?: string;
}

// Ids are given by SQLite as one more than the highest there is: the highest stays, so that no id is given twice and no reader that
// goes on after an id misses what is new.
const notNewest = (table: string) => `id < (SELECT max(id) FROM ${table})`;
const stayed = "committed_at_ms < @committedBeforeMs";
const messages = `${stayed} AND min(last_at_ms + offset_ms, committed_at_ms) < @beforeMs`;
const blocks = (bucketMs: number) => `bucket_ms = ${bucketMs} AND (block + 1) * ${BLOCK_SLOTS * bucketMs} <= @beforeMs`;

const CLASSES: Readonly<Record<Retained, Class>> = {
  // A batch goes only once it is in the figures.
  telemetry: {
    table: "telemetry_batches",
    key: ["id"],
    expired: `id < (SELECT from_id FROM rollup_state) AND ${messages}`,
  },
  predictions: {
    table: "prediction_batches",
    key: ["id"],
    expired: `${notNewest("prediction_batches")} AND ${messages}`,
    also: `DELETE FROM prediction_sums WHERE device = @device AND batch = @id`,
  },
  events: {
    table: "events",
    key: ["id"],
    expired: `${notNewest("events")} AND ${stayed} AND min(corrected_at_ms, committed_at_ms) < @beforeMs`,
  },
  drift: {
    table: "drift_windows",
    key: ["id"],
    expired: `${notNewest("drift_windows")} AND ${stayed} AND min(observed_at_ms, committed_at_ms) < @beforeMs`,
  },
  samples: {
    table: "stream_records",
    key: ["device", "epoch_no", "stream", "seq"],
    expired: `${stayed} AND committed_at_ms < @beforeMs`,
  },
  deadLetters: { table: "dead_letters", key: ["id"], expired: `${notNewest("dead_letters")} AND at_ms < @beforeMs` },
  minutes: { table: "rollup_blocks", key: ["series", "bucket_ms", "block"], expired: blocks(MINUTE_MS) },
  hours: { table: "rollup_blocks", key: ["series", "bucket_ms", "block"], expired: blocks(HOUR_MS) },
};

/** Records one slice looks at, and deletes: some milliseconds of the writer. */
const LOOKED_AT = 500;
const DELETED_MAX = 100;

/** Pages one slice gives back, and how many free ones are left for what comes next: at least these, or this share of the file. */
const GIVEN_BACK_PAGES = 256;
const FREE_PAGES_KEPT = 256;
const FREE_SHARE_KEPT = 0.05;

export const retention = {
  sweep: write((db, { retained, beforeMs, committedBeforeMs, after }) => {
    const { table, key, expired, also } = CLASSES[retained];
    const columns = key.join(", ");
    const place = after && `WHERE (${columns}) > (${key.map((_, index) => `@after${index}`).join(", ")})`;
    const bound = Object.fromEntries((after ?? []).map((value, index) => [`after${index}`, value]));
    const device = also === undefined ? "" : ", device";
    const found = statement(
      db,
      `SELECT ${columns}${device}, (${expired}) AS expired FROM ${table} ${place ?? ""} ORDER BY ${columns} LIMIT ${LOOKED_AT}`,
    ).all({ ...bound, beforeMs, committedBeforeMs }) as Record<string, string | number>[];
    const remove = statement(db, `DELETE FROM ${table} WHERE ${key.map((name) => `${name} = @${name}`).join(" AND ")}`);
    let deleted = 0;
    let last: Record<string, string | number> | undefined;
    for (const row of found) {
      if (deleted === DELETED_MAX) break;
      last = row;
      if (row["expired"] !== 1) continue;
      if (also !== undefined) statement(db, also).run(row);
      deleted += remove.run(row).changes;
    }
    const through = last === undefined || (last === found.at(-1) && found.length < LOOKED_AT);
    return through || last === undefined ? { deleted } : { deleted, next: key.map((name) => last[name] as string) };
  }),

  giveBack: write((db) => {
    const before = freePages(db);
    const enough = Math.max(FREE_PAGES_KEPT, FREE_SHARE_KEPT * pragma(db, "page_count"));
    if (before <= enough) return false;
    db.pragma(`incremental_vacuum(${Math.min(GIVEN_BACK_PAGES, Math.ceil(before - enough))})`);
    const after = freePages(db);
    // A file that was made without the means to shrink stays as it is.
    return after < before && after > enough;
  }),

  space: read((db) => {
    const pageBytes = pragma(db, "page_size");
    return { bytes: pragma(db, "page_count") * pageBytes, freeBytes: freePages(db) * pageBytes };
  }),
} as const satisfies Commands<RetentionStore>;

function pragma(db: Database, name: string): number {
  return db.pragma(name, { simple: true }) as number;
}

function freePages(db: Database): number {
  return pragma(db, "freelist_count");
}
