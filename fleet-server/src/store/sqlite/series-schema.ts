import type { Database } from "better-sqlite3";
import { ENTRY, setEntry } from "../../series/entries.ts";
import type { Figures } from "../../series/figures.ts";
import { bytesOf, GROUP_SERIES_MAX } from "./series-minutes.ts";

/**
 * Figures of channels. What was committed lately lies as a row for each minute of some channels of one asset (a group); whole days of
 * it are packed into blocks of minutes and of hours for each channel, and what comes later lies beside them as rows again, until it is
 * packed too. `rollup_state` says how far the committed batches are in the figures, and moves with them in one transaction.
 */
export const seriesMigrations = [
  `CREATE TABLE series_keys (
     id INTEGER PRIMARY KEY, site TEXT NOT NULL, asset TEXT NOT NULL, channel TEXT NOT NULL,
     UNIQUE (site, asset, channel)
   ) STRICT;
   CREATE TABLE rollup_minutes (
     series INTEGER NOT NULL, minute INTEGER NOT NULL, count INTEGER NOT NULL, hist INTEGER NOT NULL,
     min REAL NOT NULL, max REAL NOT NULL, sum REAL NOT NULL, sum_error REAL NOT NULL,
     last REAL NOT NULL, last_at_ms INTEGER NOT NULL,
     PRIMARY KEY (series, minute)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE rollup_blocks (
     series INTEGER NOT NULL, bucket_ms INTEGER NOT NULL, block INTEGER NOT NULL, bytes BLOB NOT NULL,
     PRIMARY KEY (series, bucket_ms, block)
   ) STRICT;
   CREATE TABLE rollup_state (
     one INTEGER PRIMARY KEY CHECK (one = 1), from_id INTEGER NOT NULL, to_id INTEGER NOT NULL, done INTEGER NOT NULL
   ) STRICT;
   INSERT INTO rollup_state VALUES (1, 0, 0, 0);`,
  groupMinutes,
];

/** A row for each minute of each channel becomes a row for each minute of a group of them. */
function groupMinutes(db: Database): void {
  db.exec(
    `ALTER TABLE series_keys ADD COLUMN group_id INTEGER NOT NULL DEFAULT 0;
     CREATE INDEX series_groups ON series_keys (site, asset, group_id, channel);
     UPDATE series_keys SET group_id = first FROM (
       SELECT id AS one, min(id) OVER (PARTITION BY site, asset, part) AS first FROM (
         SELECT id, site, asset, (row_number() OVER (PARTITION BY site, asset ORDER BY id) - 1) / ${GROUP_SERIES_MAX} AS part
         FROM series_keys
       )
     ) WHERE id = one;
     ALTER TABLE rollup_minutes RENAME TO minutes_before;
     CREATE TABLE rollup_minutes (
       group_id INTEGER NOT NULL, minute INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (group_id, minute)
     ) STRICT, WITHOUT ROWID;`,
  );
  const insert = db.prepare("INSERT INTO rollup_minutes VALUES (?, ?, ?)");
  const before = db.prepare(
    `SELECT series, minute, count, hist, min, max, sum, sum_error AS sumError, last, last_at_ms AS lastAtMs
     FROM minutes_before JOIN series_keys ON id = series WHERE group_id = ? ORDER BY minute, series`,
  );
  type Row = Figures & { readonly series: number; readonly minute: number };
  for (const group of db.prepare("SELECT DISTINCT group_id FROM series_keys").pluck().all() as number[]) {
    for (const [minute, rows] of Map.groupBy(before.all(group) as Row[], (row) => row.minute)) {
      const entries = new Float64Array(rows.length * ENTRY);
      for (const [index, row] of rows.entries()) setEntry(entries, index * ENTRY, row.series, row);
      insert.run(group, minute, bytesOf(entries));
    }
  }
  db.exec("DROP TABLE minutes_before");
}
