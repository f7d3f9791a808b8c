import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import { devicesMigrations } from "./devices.ts";
import { directorMigrations } from "./director.ts";
import { driftMigrations } from "./drift.ts";
import { governanceMigrations } from "./governance.ts";
import { ingestMigrations } from "./ingest.ts";
import { outcomesMigrations } from "./outcomes.ts";
import { registryMigrations } from "./registry.ts";
import { retrainingMigrations } from "./retraining.ts";
import { rolloutsMigrations } from "./rollouts.ts";
import { seriesMigrations } from "./series.ts";
import { trainingMigrations } from "./training.ts";

/** SQL, or what SQL cannot say. */
type Migration = string | ((db: Database) => void);

/** Every room's migrations in the order they were written. Append only: what has run on a disk is never edited. */
export const MIGRATIONS: Readonly<Record<string, readonly Migration[]>> = {
  governance: governanceMigrations,
  devices: devicesMigrations,
  director: directorMigrations,
  ingest: ingestMigrations,
  series: seriesMigrations,
  drift: driftMigrations,
  outcomes: outcomesMigrations,
  retraining: retrainingMigrations,
  rollouts: rolloutsMigrations,
  training: trainingMigrations,
  registry: registryMigrations,
};

/**
 * Brings a database up to date, each migration in a transaction of its own together with the note that it ran.
 * `STORE_NEWER` when a newer program has written it: going back would misread it.
 */
export function migrate(db: Database, migrations = MIGRATIONS): Result<void> {
  db.exec(
    "CREATE TABLE IF NOT EXISTS schema_versions (room TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID",
  );
  const versions = db.prepare("SELECT room, version FROM schema_versions").all() as { room: string; version: number }[];
  for (const { room, version } of versions) {
    const known = migrations[room]?.length ?? 0;
    if (version > known) return err("STORE_NEWER", { room, version, known });
  }
  const note = db.prepare(
    "INSERT INTO schema_versions VALUES (?, ?) ON CONFLICT (room) DO UPDATE SET version = excluded.version",
  );
  for (const [room, steps] of Object.entries(migrations)) {
    const done = versions.find((row) => row.room === room)?.version ?? 0;
    for (let version = done; version < steps.length; version++) {
      db.transaction(() => {
        const step = steps[version] as Migration;
        if (typeof step === "string") db.exec(step);
        else step(db);
        note.run(room, version + 1);
      })();
    }
  }
  return ok(undefined);
}
