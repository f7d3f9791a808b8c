import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import type { Incompatible } from "../../rollouts/compatibility.ts";
import type { ExecutionPhase, Refusal } from "../../rollouts/executions.ts";
import type { GateDecision, PredictionSums } from "../../rollouts/gates.ts";
import type {
  EvidenceQuery,
  ExecutionView,
  GateRecord,
  IncompatibleRecord,
  RolloutRecord,
  RolloutsStore,
} from "../rollouts.ts";
import { type Commands, read, statement, write } from "./command.ts";
import { latencyQuantile } from "./prediction-sums.ts";

export const rolloutsMigrations = [
  `CREATE TABLE rollouts (
     id TEXT PRIMARY KEY,
     model TEXT NOT NULL,
     phase TEXT NOT NULL,
     plan TEXT NOT NULL,
     state TEXT NOT NULL,
     created_at_ms INTEGER NOT NULL,
     created_by TEXT NOT NULL,
     updated_at_ms INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX rollouts_by_time ON rollouts (created_at_ms);
   CREATE TABLE rollout_executions (
     rollout TEXT NOT NULL REFERENCES rollouts (id),
     device TEXT NOT NULL,
     wave INTEGER NOT NULL,
     phase TEXT NOT NULL,
     assigned_at_ms INTEGER,
     director_version INTEGER,
     previous_version INTEGER,
     previous_digest TEXT,
     error_code TEXT,
     updated_at_ms INTEGER NOT NULL,
     PRIMARY KEY (rollout, device)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX rollout_executions_by_device ON rollout_executions (device);
   CREATE TABLE rollout_gates (
     id INTEGER PRIMARY KEY,
     rollout TEXT NOT NULL REFERENCES rollouts (id),
     wave INTEGER NOT NULL,
     gate TEXT NOT NULL,
     verdict TEXT NOT NULL,
     statistic REAL,
     n INTEGER NOT NULL,
     control_n INTEGER NOT NULL,
     threshold REAL NOT NULL,
     reason TEXT NOT NULL,
     at_ms INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX rollout_gates_by_rollout ON rollout_gates (rollout, id);`,
  `CREATE TABLE rollout_incompatible (
     rollout TEXT NOT NULL REFERENCES rollouts (id),
     device TEXT NOT NULL,
     code TEXT NOT NULL,
     reason TEXT NOT NULL,
     at_ms INTEGER NOT NULL,
     PRIMARY KEY (rollout, device)
   ) STRICT, WITHOUT ROWID;`,
  `ALTER TABLE rollout_gates ADD COLUMN first_at_ms INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE rollout_gates ADD COLUMN times INTEGER NOT NULL DEFAULT 1;
   UPDATE rollout_gates SET first_at_ms = at_ms;`,
];

interface RolloutRow {
  readonly id: string;
  readonly plan: string;
  readonly state: string;
  readonly created_at_ms: number;
  readonly created_by: string;
  readonly updated_at_ms: number;
}

function recordOf(row: RolloutRow): RolloutRecord {
  return {
    id: row.id,
    plan: JSON.parse(row.plan),
    state: JSON.parse(row.state),
    createdAtMs: row.created_at_ms,
    createdBy: row.created_by,
    updatedAtMs: row.updated_at_ms,
  };
}

const ADD_EXECUTION = `INSERT INTO rollout_executions (rollout, device, wave, phase, updated_at_ms)
  VALUES (?, ?, ?, 'queued', ?) ON CONFLICT DO NOTHING`;

/** Over one asset's predictions: counts, and the sums from which shift and correlation follow exactly. */
const SUMS = `p.device, p.asset, sum(p.n) AS n, sum(p.errors) AS errors, sum(p.alerts) AS alerts, sum(p.pairs) AS pairs,
  sum(p.sum_value) AS sumValue, sum(p.sum_predecessor) AS sumPredecessor,
  sum(p.sum_value_squared) AS sumValueSquared, sum(p.sum_predecessor_squared) AS sumPredecessorSquared,
  sum(p.sum_product) AS sumProduct`;

const OF_ROLLOUT = `FROM rollout_executions e JOIN prediction_sums p ON p.device = e.device
  WHERE e.rollout = @rollout AND p.model = @model AND p.hist = 0`;
const WITHIN = "AND p.committed_at_ms >= @sinceMs AND p.committed_at_ms < @untilMs";

function evidenceOf(db: Database, query: EvidenceQuery) {
  const sums = (where: string) =>
    db.prepare(`SELECT ${SUMS} ${OF_ROLLOUT} ${where} GROUP BY p.device, p.asset`).all(query) as PredictionSums[];
  const inWave = `AND e.wave = @wave AND e.assigned_at_ms IS NOT NULL AND p.digest = @digest ${WITHIN}`;
  const latencies = db.prepare(`SELECT p.latencies_us ${OF_ROLLOUT} ${inWave} AND p.latencies_us IS NOT NULL`);
  return {
    wave: sums(inWave),
    control: sums(`AND e.wave > @wave AND e.assigned_at_ms IS NULL AND p.digest <> @digest ${WITHIN}`),
    // As long a time before as the wave has run: the fleet's own past is the second control.
    before: sums(
      `AND e.wave = @wave AND p.digest <> @digest
       AND p.committed_at_ms >= 2 * @sinceMs - @untilMs AND p.committed_at_ms < @sinceMs`,
    ),
    p95LatencyUs: latencyQuantile(latencies.pluck().all(query) as Buffer[], 0.95),
  };
}

function leaveOut(db: Database, id: string, incompatible: readonly Incompatible[], nowMs: number): void {
  const add = db.prepare(
    `INSERT INTO rollout_incompatible VALUES (@id, @device, @code, @reason, @nowMs)
     ON CONFLICT DO UPDATE SET code = excluded.code, reason = excluded.reason, at_ms = excluded.at_ms`,
  );
  for (const { device, code, reason } of incompatible) add.run({ id, device, code, reason, nowMs });
}

/**
 * The newest refusal of what the execution asked for: of the document that did or of a later one, as far as such were
 * issued at all (anybody may send a device a document with a number of their own).
 */
const REFUSAL = `(SELECT json_object('code', f.code, 'message', f.message) FROM refusals f
  WHERE f.device = e.device AND f.model IN ('', o.model)
    AND f.director_version BETWEEN e.director_version AND (SELECT version FROM desired WHERE device = e.device)
  ORDER BY f.at_ms DESC LIMIT 1)`;

interface ExecutionRow {
  readonly device: string;
  readonly wave: number;
  readonly phase: ExecutionPhase;
  readonly assigned_at_ms: number | null;
  readonly director_version: number | null;
  readonly previous_version: number | null;
  readonly previous_digest: string | null;
  readonly error_code: string | null;
  readonly reported: string | null;
  readonly refusal: string | null;
  readonly last_seen_at_ms: number | null;
}

function executionOf(row: ExecutionRow): ExecutionView {
  return {
    device: row.device,
    wave: row.wave,
    phase: row.phase,
    assignedAtMs: row.assigned_at_ms,
    directorVersion: row.director_version,
    previous:
      row.previous_version === null ? null : { version: row.previous_version, digest: row.previous_digest as string },
    errorCode: row.error_code,
    reported: row.reported === null ? undefined : (JSON.parse(row.reported) as ReportedModel),
    refusal: row.refusal === null ? undefined : (JSON.parse(row.refusal) as Refusal),
    lastSeenAtMs: row.last_seen_at_ms,
  };
}

export const rollouts = {
  create: write((db, { rollout, executions, incompatible }) => {
    if (db.prepare("SELECT 1 FROM rollouts WHERE id = ?").get(rollout.id)) {
      return err("CONFLICT", { what: "The rollout", name: rollout.id, reason: "it exists already" });
    }
    db.prepare(
      `INSERT INTO rollouts (id, model, phase, plan, state, created_at_ms, created_by, updated_at_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      rollout.id,
      rollout.plan.model,
      rollout.state.phase,
      JSON.stringify(rollout.plan),
      JSON.stringify(rollout.state),
      rollout.createdAtMs,
      rollout.createdBy,
      rollout.updatedAtMs,
    );
    const add = db.prepare(ADD_EXECUTION);
    for (const { device, wave } of executions) add.run(rollout.id, device, wave, rollout.createdAtMs);
    leaveOut(db, rollout.id, incompatible, rollout.createdAtMs);
    return ok(rollout);
  }),

  get: read((db, { id }) => {
    const row = db.prepare("SELECT * FROM rollouts WHERE id = ?").get(id) as RolloutRow | undefined;
    return row && recordOf(row);
  }),

  list: read((db, { limit, before, phase, sites }) =>
    (
      db
        .prepare(
          `SELECT * FROM rollouts WHERE (created_at_ms, id) < (?, ?) AND phase = coalesce(?, phase)
             AND (? IS NULL OR (json_type(plan, '$.sites') IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM json_each(plan, '$.sites') WHERE value NOT IN (SELECT value FROM json_each(?)))))
           ORDER BY created_at_ms DESC, id DESC LIMIT ?`,
        )
        .all(
          before?.createdAtMs ?? Number.MAX_SAFE_INTEGER,
          before?.id ?? "",
          phase ?? null,
          ...(sites ? [JSON.stringify(sites), JSON.stringify(sites)] : [null, null]),
          limit,
        ) as RolloutRow[]
    ).map(recordOf),
  ),

  open: read((db) =>
    (
      db
        .prepare(
          `SELECT * FROM rollouts WHERE phase IN ('creating', 'running', 'paused', 'stopping', 'reverting')
           OR (phase = 'finished' AND plan ->> 'selection' = 'CONTINUOUS') ORDER BY created_at_ms`,
        )
        .all() as RolloutRow[]
    ).map(recordOf),
  ),

  save: write((db, { id, state, readAtMs, nowMs }) => {
    const { changes } = db
      .prepare("UPDATE rollouts SET phase = ?, state = ?, updated_at_ms = ? WHERE id = ? AND updated_at_ms = ?")
      // Strictly increasing, or two saves within one millisecond could not tell each other apart.
      .run(state.phase, JSON.stringify(state), Math.max(nowMs, readAtMs + 1), id, readAtMs);
    return changes === 1;
  }),

  executions: read((db, { id }) =>
    (
      db
        .prepare(
          `SELECT e.*, r.body AS reported, d.last_seen_at_ms, ${REFUSAL} AS refusal FROM rollout_executions e
           JOIN rollouts o ON o.id = e.rollout
           LEFT JOIN devices d ON d.device = e.device
           LEFT JOIN reported r ON r.device = e.device AND r.model = o.model
           WHERE e.rollout = ? ORDER BY e.wave, e.device`,
        )
        .all(id) as ExecutionRow[]
    ).map(executionOf),
  ),

  incompatible: read(
    (db, { id }) =>
      db
        .prepare(
          "SELECT device, code, reason, at_ms AS atMs FROM rollout_incompatible WHERE rollout = ? ORDER BY device",
        )
        .all(id) as IncompatibleRecord[],
  ),

  addExecutions: write((db, { id, executions, incompatible, nowMs }) => {
    const add = db.prepare(ADD_EXECUTION);
    const fits = db.prepare("DELETE FROM rollout_incompatible WHERE rollout = ? AND device = ?");
    for (const { device } of executions) fits.run(id, device);
    leaveOut(db, id, incompatible, nowMs);
    return executions.reduce((added, { device, wave }) => added + add.run(id, device, wave, nowMs).changes, 0);
  }),

  saveExecutions: write((db, { id, changes, nowMs }) => {
    const save = db.prepare(
      "UPDATE rollout_executions SET phase = ?, error_code = ?, updated_at_ms = ? WHERE rollout = ? AND device = ?",
    );
    for (const change of changes) save.run(change.phase, change.errorCode, nowMs, id, change.device);
  }),

  assigned: write((db, { id, device, phase, directorVersion, previous, nowMs }) => {
    statement(
      db,
      `UPDATE rollout_executions SET phase = @phase, director_version = @directorVersion, updated_at_ms = @nowMs,
         error_code = CASE WHEN @phase = 'reverting' THEN error_code END,
         assigned_at_ms = CASE WHEN @phase = 'reverting' THEN assigned_at_ms ELSE @nowMs END,
         previous_version = coalesce(previous_version, @previousVersion),
         previous_digest = coalesce(previous_digest, @previousDigest)
       WHERE rollout = @id AND device = @device`,
    ).run({
      id,
      device,
      phase,
      directorVersion,
      nowMs,
      previousVersion: previous?.version ?? null,
      previousDigest: previous?.digest ?? null,
    });
    statement(
      db,
      `UPDATE rollout_executions SET phase = 'superseded', updated_at_ms = @nowMs
       WHERE device = @device AND rollout <> @id AND phase IN ('queued', 'inProgress', 'stale', 'reverting')
         AND rollout IN (SELECT old.id FROM rollouts old JOIN rollouts new ON new.id = @id
                         WHERE old.model = new.model AND old.created_at_ms <= new.created_at_ms)`,
    ).run({ id, device, nowMs });
  }),

  recordGates: write((db, { id, wave, decisions, sinceMs, nowMs }) => {
    const latest = db.prepare(
      `SELECT id, verdict, first_at_ms FROM rollout_gates WHERE rollout = ? AND wave = ? AND gate = ?
       ORDER BY id DESC LIMIT 1`,
    );
    const add = db.prepare(
      `INSERT INTO rollout_gates (rollout, wave, gate, verdict, statistic, n, control_n, threshold, reason, at_ms,
         first_at_ms)
       VALUES (@id, @wave, @gate, @verdict, @statistic, @n, @controlN, @threshold, @reason, @nowMs, @nowMs)`,
    );
    const replace = db.prepare(
      `UPDATE rollout_gates SET statistic = @statistic, n = @n, control_n = @controlN, reason = @reason, at_ms = @nowMs,
         times = times + 1
       WHERE id = @row`,
    );
    // A verdict that only repeats itself is counted; each change of verdict, and each round of judging, has rows of its own.
    for (const decision of decisions) {
      const before = latest.get(id, wave, decision.gate) as
        | { id: number; verdict: GateDecision["verdict"]; first_at_ms: number }
        | undefined;
      if (before?.verdict === decision.verdict && before.first_at_ms > sinceMs)
        replace.run({ row: before.id, nowMs, ...decision });
      else add.run({ id, wave, nowMs, ...decision });
    }
  }),

  gates: read(
    (db, { id, before = Number.MAX_SAFE_INTEGER, limit }) =>
      db
        .prepare(
          `SELECT id, wave, gate, verdict, statistic, n, control_n AS controlN, threshold, reason,
             first_at_ms AS firstAtMs, at_ms AS atMs, times
           FROM rollout_gates WHERE rollout = ? AND id < ? ORDER BY id DESC LIMIT ?`,
        )
        .all(id, before, limit) as GateRecord[],
  ),

  evidence: read((db, query) => evidenceOf(db, query)),

  silent: read(
    (db, { id, wave, digest, sinceMs }) =>
      db
        .prepare(
          `SELECT e.device FROM rollout_executions e WHERE e.rollout = ? AND e.wave = ? AND e.phase = 'succeeded'
         AND NOT EXISTS (SELECT 1 FROM prediction_sums p
                         WHERE p.device = e.device AND p.model = (SELECT model FROM rollouts WHERE id = e.rollout)
                         AND p.digest = ? AND p.hist = 0 AND p.n > p.errors AND p.committed_at_ms >= ?) ORDER BY e.device`,
        )
        .pluck()
        .all(id, wave, digest, sinceMs) as string[],
  ),
} as const satisfies Commands<RolloutsStore>;
