/**
 * Figures of channels. What was committed lately lies as a row per minute; whole days of it are packed into blocks of
 * minutes and of hours, and what comes later lies beside them as rows again, until it is packed too. `rollup_state` says how
 * far the committed batches are in the figures, and moves with them in one transaction.
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
];
