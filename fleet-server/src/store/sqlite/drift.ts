import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type { Database } from "better-sqlite3";
import type { DriftStore, StoredDriftWindow } from "../drift.ts";
import { type Commands, read, statement, write } from "./command.ts";
import type { StoredAt } from "./ingest-latest.ts";

/** Tables of the drift room. */
export const driftMigrations = [
  `CREATE TABLE drift_windows (
     id INTEGER PRIMARY KEY,
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, seq INTEGER NOT NULL, site TEXT NOT NULL,
     asset TEXT NOT NULL, model TEXT NOT NULL, digest TEXT NOT NULL, reference TEXT NOT NULL,
     from_ms INTEGER NOT NULL, observed_at_ms INTEGER NOT NULL, committed_at_ms INTEGER NOT NULL,
     hist INTEGER NOT NULL, body TEXT NOT NULL,
     UNIQUE (device, asset, digest, from_ms)
   ) STRICT;
   CREATE INDEX drift_windows_by_seq ON drift_windows (device, epoch_no, seq);
   CREATE INDEX drift_windows_by_model ON drift_windows (model, id);
   CREATE INDEX drift_windows_by_commit ON drift_windows (committed_at_ms);
   CREATE TABLE drift_verdicts (
     cohort TEXT NOT NULL, model TEXT NOT NULL, reference TEXT NOT NULL, body TEXT NOT NULL,
     PRIMARY KEY (cohort, model, reference)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE drift_history (
     id INTEGER PRIMARY KEY, cohort TEXT NOT NULL, model TEXT NOT NULL, body TEXT NOT NULL
   ) STRICT;
   CREATE INDEX drift_history_by_cohort ON drift_history (cohort, model, id);`,
];

/** Keeps a window unless it is there: a device that was killed may close the same one again, with another seq. */
export function addDriftWindow(db: Database, at: StoredAt, seq: number, record: DriftRecord, nowMs: number): void {
  statement(
    db,
    `INSERT INTO drift_windows (device, epoch_no, seq, site, asset, model, digest, reference, from_ms, observed_at_ms,
       committed_at_ms, hist, body)
     VALUES (@device, @epochNo, @seq, @site, @asset, @model, @digest, @reference, @fromMs, @observedAtMs, @nowMs, @hist,
       @body)
     ON CONFLICT (device, asset, digest, from_ms) DO NOTHING`,
  ).run({
    device: at.device,
    epochNo: at.epochNo,
    site: at.site,
    hist: at.hist,
    seq,
    asset: record.asset,
    model: record.model,
    digest: record.digest,
    reference: record.reference,
    fromMs: record.fromMs,
    observedAtMs: record.observedAtMs,
    nowMs,
    body: JSON.stringify(record),
  });
}

const PARTS = {
  device: "device = @device",
  asset: "asset = @asset",
  model: "model = @model",
  reference: "reference = @reference",
  fromMs: "observed_at_ms >= @fromMs",
  toMs: "observed_at_ms < @toMs",
  afterId: "id > @afterId",
} as const;

export const drift = {
  windows: read((db, { sites, limit, ...wanted }) => {
    const where: string[] = (Object.keys(PARTS) as (keyof typeof PARTS)[])
      .filter((name) => wanted[name] !== undefined)
      .map((name) => PARTS[name]);
    if (sites) where.push("site IN (SELECT value FROM json_each(@sites))");
    const rows = statement(
      db,
      `SELECT id, device, site, committed_at_ms AS committedAtMs, hist, body FROM drift_windows
       ${where.length > 0 ? `WHERE ${where.join(" AND ")}` : ""} ORDER BY id LIMIT @limit`,
    ).all({ ...wanted, limit, ...(sites ? { sites: JSON.stringify(sites) } : {}) }) as (Omit<
      StoredDriftWindow,
      "hist" | "record"
    > & { hist: number; body: string })[];
    return rows.map(({ hist, body, ...row }) => ({ ...row, hist: hist === 1, record: JSON.parse(body) }));
  }),
  idBefore: read(
    (db, { committedAtMs }) =>
      statement(db, "SELECT coalesce(min(id) - 1, 0) FROM drift_windows WHERE committed_at_ms >= ?")
        .pluck()
        .get(committedAtMs) as number,
  ),
  verdicts: read((db, { cohort, model }) =>
    bodies(
      db
        .prepare(
          `SELECT body FROM drift_verdicts WHERE (@cohort IS NULL OR cohort = @cohort) AND (@model IS NULL OR model = @model)
           ORDER BY cohort, model, reference`,
        )
        .all({ cohort: cohort ?? null, model: model ?? null }),
    ),
  ),
  history: read((db, { cohort, model, limit }) =>
    bodies(
      db
        .prepare("SELECT body FROM drift_history WHERE cohort = ? AND model = ? ORDER BY id DESC LIMIT ?")
        .all(cohort, model, limit),
    ),
  ),
  saveVerdicts: write((db, { model, verdicts }) => {
    statement(db, "DELETE FROM drift_verdicts WHERE model = ?").run(model);
    for (const { verdict, changed } of verdicts) {
      const body = JSON.stringify(verdict);
      statement(db, "INSERT INTO drift_verdicts VALUES (?, ?, ?, ?)").run(
        verdict.cohort,
        model,
        verdict.reference,
        body,
      );
      if (changed) {
        statement(db, "INSERT INTO drift_history (cohort, model, body) VALUES (?, ?, ?)").run(
          verdict.cohort,
          verdict.model,
          body,
        );
      }
    }
  }),
} as const satisfies Commands<DriftStore>;

function bodies<T>(rows: unknown[]): T[] {
  return (rows as { body: string }[]).map(({ body }) => JSON.parse(body) as T);
}
