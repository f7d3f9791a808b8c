import type { Database } from "better-sqlite3";
import type { DesiredState, DirectorStore } from "../director.ts";
import { type Commands, read, statement, write } from "./command.ts";

export const directorMigrations = [
  `CREATE TABLE desired (
     device TEXT PRIMARY KEY, version INTEGER NOT NULL, models TEXT NOT NULL, remove TEXT NOT NULL,
     issued_at_ms INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;`,
];

function get(db: Database, device: string): DesiredState | undefined {
  const row = statement(db, "SELECT * FROM desired WHERE device = ?").get(device) as
    | { version: number; models: string; remove: string; issued_at_ms: number }
    | undefined;
  if (!row) return undefined;
  const { version, models, remove, issued_at_ms } = row;
  return { device, version, models: JSON.parse(models), remove: JSON.parse(remove), issuedAtMs: issued_at_ms };
}

/** The newest document a device says it has accepted: every later one must have a higher number. */
function seenBy(db: Database, device: string): number {
  return (statement(db, "SELECT director_version FROM devices WHERE device = ?").pluck().get(device) as number) ?? 0;
}

function change(db: Database, { device, set, remove, nowMs }: Parameters<DirectorStore["change"]>[0]): DesiredState {
  const before = get(db, device) ?? { version: 0, models: [], remove: [] };
  const version = Math.max(before.version, seenBy(db, device)) + 1;
  const changed = set?.model ?? remove;
  const models = before.models.filter((model) => model.model !== changed);
  const removed = before.remove.filter((model) => model !== changed);
  const next: DesiredState = {
    device,
    version,
    models: set ? [...models, { ...set, assignedIn: version }] : models,
    remove: remove !== undefined ? [...removed, remove] : removed,
    issuedAtMs: nowMs,
  };
  statement(
    db,
    `INSERT INTO desired VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version,
       models = excluded.models, remove = excluded.remove, issued_at_ms = excluded.issued_at_ms`,
  ).run(device, next.version, JSON.stringify(next.models), JSON.stringify(next.remove), nowMs);
  return next;
}

export const director = {
  get: read((db, { device }) => get(db, device)),

  oldest: read((db) => {
    const row = db
      .prepare(
        `SELECT version, issued_at_ms FROM desired JOIN devices USING (device) WHERE phase = 'active'
         ORDER BY issued_at_ms LIMIT 1`,
      )
      .get() as { version: number; issued_at_ms: number } | undefined;
    return row && { version: row.version, issuedAtMs: row.issued_at_ms };
  }),

  change: write(change),

  raise: write((db, { by }) => {
    db.prepare("UPDATE desired SET version = version + ?").run(by);
  }),

  overtake: write((db, { device, nowMs }) => {
    const desired = get(db, device);
    if (!desired || desired.version >= seenBy(db, device)) return false;
    change(db, { device, nowMs });
    return true;
  }),
} as const satisfies Commands<DirectorStore>;
