import { err, ok } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import type { ModelRecord, RegistryStore, VersionPhase, VersionRecord } from "../registry.ts";
import { type Commands, read, write } from "./command.ts";

export const registryMigrations = [
  `CREATE TABLE model_versions (
     model TEXT NOT NULL,
     version INTEGER NOT NULL,
     phase TEXT NOT NULL,
     manifest_digest TEXT NOT NULL,
     manifest_length INTEGER NOT NULL,
     manifest TEXT NOT NULL,
     problem TEXT,
     report TEXT,
     release_counter INTEGER,
     created_at_ms INTEGER NOT NULL,
     created_by TEXT NOT NULL,
     updated_at_ms INTEGER NOT NULL,
     PRIMARY KEY (model, version)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX model_versions_by_digest ON model_versions (manifest_digest);
   CREATE TABLE model_aliases (
     model TEXT NOT NULL,
     alias TEXT NOT NULL,
     version INTEGER NOT NULL,
     updated_at_ms INTEGER NOT NULL,
     PRIMARY KEY (model, alias)
   ) STRICT, WITHOUT ROWID;`,
];

interface VersionRow {
  readonly model: string;
  readonly version: number;
  readonly phase: VersionPhase;
  readonly manifest_digest: string;
  readonly manifest_length: number;
  readonly manifest: string;
  readonly problem: string | null;
  readonly report: string | null;
  readonly release_counter: number | null;
  readonly created_at_ms: number;
  readonly created_by: string;
  readonly updated_at_ms: number;
}

function recordOf(row: VersionRow): VersionRecord {
  return {
    model: row.model,
    version: row.version,
    phase: row.phase,
    manifestDigest: row.manifest_digest,
    manifestLength: row.manifest_length,
    manifest: JSON.parse(row.manifest),
    problem: row.problem === null ? null : JSON.parse(row.problem),
    report: row.report === null ? null : JSON.parse(row.report),
    releaseCounter: row.release_counter,
    createdAtMs: row.created_at_ms,
    createdBy: row.created_by,
    updatedAtMs: row.updated_at_ms,
  };
}

const NUMBER = /^[1-9]\d{0,9}$/;

function findVersion(db: Database, model: string, reference: string): VersionRecord | undefined {
  const row = NUMBER.test(reference)
    ? db.prepare("SELECT * FROM model_versions WHERE model = ? AND version = ?").get(model, Number(reference))
    : db
        .prepare(
          "SELECT v.* FROM model_aliases a JOIN model_versions v USING (model, version) WHERE model = ? AND alias = ?",
        )
        .get(model, reference);
  return row === undefined ? undefined : recordOf(row as VersionRow);
}

const MODELS = `SELECT v.model, count(*) AS versions, max(v.version) AS newest,
    max(CASE WHEN v.phase = 'released' THEN v.version END) AS released,
    (SELECT json_group_object(alias, version) FROM model_aliases a WHERE a.model = v.model) AS aliases
  FROM model_versions v`;

type ModelRow = Omit<ModelRecord, "aliases"> & { readonly aliases: string };

function modelOf(row: ModelRow): ModelRecord {
  return { ...row, aliases: JSON.parse(row.aliases) };
}

function findModel(db: Database, model: string): ModelRecord | undefined {
  const row = db.prepare(`${MODELS} WHERE v.model = ? GROUP BY v.model`).get(model) as ModelRow | undefined;
  return row && modelOf(row);
}

export const registry = {
  nextVersion: read((db, { model }) => {
    const row = db
      .prepare("SELECT max(version) AS last FROM model_versions WHERE model = ? AND phase <> 'invalid'")
      .get(model) as { last: number | null };
    return (row.last ?? 0) + 1;
  }),
  add: write((db, { version }) => {
    const { model, manifest } = version;
    const there = findVersion(db, model, String(version.version));
    if (there !== undefined && there.phase !== "invalid") {
      return err("VERSION_EXISTS", { model, version: version.version });
    }
    db.prepare(
      `INSERT OR REPLACE INTO model_versions
         (model, version, phase, manifest_digest, manifest_length, manifest, created_at_ms, created_by, updated_at_ms)
       VALUES (@model, @version, 'validating', @manifestDigest, @manifestLength, @manifest, @createdAtMs, @createdBy, @createdAtMs)`,
    ).run({ ...version, manifest: JSON.stringify(manifest) });
    return ok(findVersion(db, model, String(version.version)) as VersionRecord);
  }),
  find: read((db, { model, reference }) => findVersion(db, model, reference)),
  findDigest: read((db, { model, digest }) => {
    const row = db.prepare("SELECT * FROM model_versions WHERE manifest_digest = ? AND model = ?").get(digest, model);
    return row === undefined ? undefined : recordOf(row as VersionRow);
  }),
  move: write((db, { model, version, from, to, problem, report, releaseCounter, nowMs }) => {
    const there = findVersion(db, model, String(version));
    const name = `${model} ${version}`;
    if (there === undefined) return err("NOT_FOUND", { what: "model version", name });
    if (!from.includes(there.phase)) {
      return err("CONFLICT", { what: "The model version", name, reason: `it is ${there.phase}` });
    }
    db.prepare(
      `UPDATE model_versions SET phase = @to, updated_at_ms = @nowMs, problem = @problem,
         report = coalesce(@report, report), release_counter = coalesce(@releaseCounter, release_counter)
       WHERE model = @model AND version = @version`,
    ).run({
      model,
      version,
      to,
      nowMs,
      problem: problem === undefined ? null : JSON.stringify(problem),
      report: report === undefined ? null : JSON.stringify(report),
      releaseCounter: releaseCounter ?? null,
    });
    return ok(findVersion(db, model, String(version)) as VersionRecord);
  }),
  models: read((db, { after = "", limit }) =>
    (
      db
        .prepare(`${MODELS} WHERE v.model > ? GROUP BY v.model ORDER BY v.model LIMIT ?`)
        .all(after, limit) as ModelRow[]
    ).map(modelOf),
  ),
  model: read((db, { model }) => findModel(db, model)),
  versions: read((db, { model, before = Number.MAX_SAFE_INTEGER, limit }) =>
    (
      db
        .prepare("SELECT * FROM model_versions WHERE model = ? AND version < ? ORDER BY version DESC LIMIT ?")
        .all(model, before, limit) as VersionRow[]
    ).map(recordOf),
  ),
  inPhase: read((db, { phase }) =>
    (db.prepare("SELECT * FROM model_versions WHERE phase = ? ORDER BY created_at_ms").all(phase) as VersionRow[]).map(
      recordOf,
    ),
  ),
  setAlias: write((db, { model, alias, version, nowMs }) => {
    if (findVersion(db, model, String(version)) === undefined) {
      return err("NOT_FOUND", { what: "model version", name: `${model} ${version}` });
    }
    db.prepare("INSERT OR REPLACE INTO model_aliases VALUES (?, ?, ?, ?)").run(model, alias, version, nowMs);
    return ok(findModel(db, model) as ModelRecord);
  }),
  deleteAlias: write(
    (db, { model, alias }) =>
      db.prepare("DELETE FROM model_aliases WHERE model = ? AND alias = ?").run(model, alias).changes === 1,
  ),
  blobs: read((db) => {
    const rows = db.prepare("SELECT manifest_digest, manifest FROM model_versions").all() as VersionRow[];
    return rows.flatMap((row) => {
      const { files } = JSON.parse(row.manifest) as VersionRecord["manifest"];
      return [row.manifest_digest, ...Object.values(files).map(({ digest }) => digest)];
    });
  }),
} satisfies Commands<RegistryStore>;
