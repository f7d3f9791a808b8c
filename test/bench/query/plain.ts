/**
 * The same question to a table of a row for each minute, as one would make it by hand: SQLite's own sums, grouped into the same
 * steps, in this process, no server and no JSON. Prints the 95th percentile of the times in ms.
 */
import Database from "better-sqlite3";
import { MINUTE_MS } from "../../../fleet-server/src/series/figures.ts";
import { ASKED, FROM_MS, MINUTES, p95, STEP_MS, valuesOf, WARM_UP } from "./year.ts";

const db = new Database(":memory:");
db.exec(
  `CREATE TABLE minutes (series INTEGER, at_ms INTEGER, count INTEGER, min REAL, max REAL, sum REAL, last REAL,
     PRIMARY KEY (series, at_ms)) STRICT, WITHOUT ROWID`,
);
const insert = db.prepare("INSERT INTO minutes VALUES (1, ?, 2, ?, ?, ?, ?)");
db.transaction(() => {
  for (let minute = 0; minute < MINUTES; minute++) {
    const [one, other] = valuesOf(minute);
    insert.run(FROM_MS + minute * MINUTE_MS, Math.min(one, other), Math.max(one, other), one + other, other);
  }
})();
// SQLite takes a bare column from the row that has the max().
const ask = db
  .prepare(
    `SELECT at_ms / ${STEP_MS} AS step, sum(count), min(min), sum(sum) / sum(count), max(max), last, max(at_ms)
     FROM minutes WHERE series = 1 GROUP BY step`,
  )
  .raw();
const tookMs: number[] = [];
for (let asked = 0; asked < ASKED; asked++) {
  const startMs = performance.now();
  ask.all();
  tookMs.push(performance.now() - startMs);
}
process.stdout.write(`${JSON.stringify({ figure: p95(tookMs.slice(WARM_UP)) })}\n`);
