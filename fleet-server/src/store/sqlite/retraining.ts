import { err, ok } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import { isOpen, type Retraining, type RetrainingPolicy } from "../../retraining/job.ts";
import type { RetrainingStore } from "../retraining.ts";
import { type Commands, read, write } from "./command.ts";

/** Tables of the retraining room. */
export const retrainingMigrations = [
  `CREATE TABLE retraining_policies (
     model TEXT NOT NULL, cohort TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (model, cohort)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE retrainings (
     seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, model TEXT NOT NULL, cohort TEXT NOT NULL,
     open INTEGER NOT NULL, body TEXT NOT NULL
   ) STRICT;
   CREATE UNIQUE INDEX retrainings_one_open ON retrainings (model, cohort) WHERE open = 1;`,
];

function get(db: Database, id: string): Retraining | undefined {
  const body = db.prepare("SELECT body FROM retrainings WHERE id = ?").pluck().get(id) as string | undefined;
  return body === undefined ? undefined : (JSON.parse(body) as Retraining);
}

export const retraining = {
  putPolicy: write((db, { policy }) => {
    db.prepare("INSERT INTO retraining_policies VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body").run(
      policy.model,
      policy.cohort,
      JSON.stringify(policy),
    );
    return policy;
  }),
  removePolicy: write(
    (db, { model, cohort }) =>
      db.prepare("DELETE FROM retraining_policies WHERE model = ? AND cohort = ?").run(model, cohort).changes > 0,
  ),
  policies: read((db) =>
    (db.prepare("SELECT body FROM retraining_policies ORDER BY model, cohort").pluck().all() as string[]).map(
      (body) => JSON.parse(body) as RetrainingPolicy,
    ),
  ),
  add: write((db, { retraining: job }) => {
    const { id, model, cohort } = job;
    const other = db
      .prepare("SELECT id FROM retrainings WHERE model = ? AND cohort = ? AND open = 1")
      .pluck()
      .get(model, cohort) as string | undefined;
    if (other !== undefined) {
      return err("CONFLICT", {
        what: "The retraining",
        name: other,
        reason: "it is still open for this model and cohort",
      });
    }
    db.prepare("INSERT INTO retrainings (id, model, cohort, open, body) VALUES (?, ?, ?, 1, ?)").run(
      id,
      model,
      cohort,
      JSON.stringify(job),
    );
    return ok(job);
  }),
  move: write((db, { id, from, change, nowMs }) => {
    const found = get(db, id);
    if (!found) return err("NOT_FOUND", { what: "retraining", name: id });
    if (found.phase !== from) {
      return err("CONFLICT", { what: "The retraining", name: id, reason: `it is ${found.phase} by now` });
    }
    const moved: Retraining = { ...found, ...change, updatedAtMs: nowMs };
    db.prepare("UPDATE retrainings SET body = ?, open = ? WHERE id = ?").run(
      JSON.stringify(moved),
      isOpen(moved.phase) ? 1 : 0,
      id,
    );
    return ok(moved);
  }),
  get: read((db, { id }) => get(db, id)),
  list: read((db, { model, cohort, open, before, limit }) =>
    (
      db
        .prepare(
          `SELECT body FROM retrainings WHERE (@model IS NULL OR model = @model) AND (@cohort IS NULL OR cohort = @cohort)
             AND (@open IS NULL OR open = @open)
             AND (@before IS NULL OR seq < (SELECT seq FROM retrainings WHERE id = @before))
           ORDER BY seq DESC LIMIT @limit`,
        )
        .pluck()
        .all({
          model: model ?? null,
          cohort: cohort ?? null,
          open: open === undefined ? null : Number(open),
          before: before ?? null,
          limit,
        }) as string[]
    ).map((body) => JSON.parse(body) as Retraining),
  ),
} as const satisfies Commands<RetrainingStore>;
