import { err, ok } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import type { HistoryRecord, TrainingRun, TrainingRunChange, TrainingStore } from "../training.ts";
import { type Commands, read, write } from "./command.ts";

export const trainingMigrations = [
  `CREATE TABLE histories (
     seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, label TEXT UNIQUE, snapshot TEXT NOT NULL UNIQUE,
     bytes INTEGER NOT NULL, request TEXT NOT NULL, report TEXT NOT NULL, created_at_ms INTEGER NOT NULL,
     created_by TEXT NOT NULL
   ) STRICT;
   CREATE TABLE training_runs (
     seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, history TEXT NOT NULL REFERENCES histories (id),
     model TEXT NOT NULL, phase TEXT NOT NULL, request TEXT NOT NULL, progress TEXT, summary TEXT, result TEXT,
     error TEXT, created_at_ms INTEGER NOT NULL, created_by TEXT NOT NULL, started_at_ms INTEGER, ended_at_ms INTEGER
   ) STRICT;
   CREATE INDEX training_runs_by_phase ON training_runs (phase, seq);`,
];

interface HistoryRow {
  readonly id: string;
  readonly label: string | null;
  readonly snapshot: string;
  readonly bytes: number;
  readonly request: string;
  readonly report: string;
  readonly created_at_ms: number;
  readonly created_by: string;
}

function historyOf(row: HistoryRow): HistoryRecord {
  return {
    id: row.id,
    label: row.label,
    snapshot: row.snapshot,
    bytes: row.bytes,
    request: JSON.parse(row.request),
    report: JSON.parse(row.report),
    createdAtMs: row.created_at_ms,
    createdBy: row.created_by,
  };
}

interface RunRow {
  readonly id: string;
  readonly history: string;
  readonly phase: TrainingRun["phase"];
  readonly request: string;
  readonly progress: string | null;
  readonly summary: string | null;
  readonly result: string | null;
  readonly error: string | null;
  readonly created_at_ms: number;
  readonly created_by: string;
  readonly started_at_ms: number | null;
  readonly ended_at_ms: number | null;
}

const jsonOrNull = (text: string | null) => (text === null ? null : JSON.parse(text));

function runOf(row: RunRow): TrainingRun {
  return {
    id: row.id,
    history: row.history,
    request: JSON.parse(row.request),
    phase: row.phase,
    progress: jsonOrNull(row.progress),
    summary: jsonOrNull(row.summary),
    result: jsonOrNull(row.result),
    error: jsonOrNull(row.error),
    createdAtMs: row.created_at_ms,
    createdBy: row.created_by,
    startedAtMs: row.started_at_ms,
    endedAtMs: row.ended_at_ms,
  };
}

function findHistory(db: Database, name: string): HistoryRecord | undefined {
  const row = db
    .prepare("SELECT * FROM histories WHERE id = @name OR label = @name OR snapshot = @name")
    .get({ name }) as HistoryRow | undefined;
  return row && historyOf(row);
}

function getRun(db: Database, id: string): TrainingRun | undefined {
  const row = db.prepare("SELECT * FROM training_runs WHERE id = ?").get(id) as RunRow | undefined;
  return row && runOf(row);
}

/** Members of a change by their columns; what is an object is kept as JSON. */
const COLUMNS: Readonly<Record<keyof TrainingRunChange, string>> = {
  phase: "phase",
  progress: "progress",
  summary: "summary",
  result: "result",
  error: "error",
  startedAtMs: "started_at_ms",
  endedAtMs: "ended_at_ms",
};
const OPEN = "phase IN ('queued', 'running')";

function changeRun(db: Database, id: string, change: TrainingRunChange): TrainingRun | undefined {
  for (const [member, value] of Object.entries(change)) {
    const column = COLUMNS[member as keyof TrainingRunChange];
    const kept = typeof value === "object" && value !== null ? JSON.stringify(value) : value;
    // The phase last of all would close the row to the others: each statement asks for an open run.
    if (column !== "phase") db.prepare(`UPDATE training_runs SET ${column} = ? WHERE id = ? AND ${OPEN}`).run(kept, id);
  }
  if (change.phase !== undefined) {
    db.prepare(`UPDATE training_runs SET phase = ? WHERE id = ? AND ${OPEN}`).run(change.phase, id);
  }
  return getRun(db, id);
}

/** Rows of a list go by the order in which they were added; the position of a page is the last one's id. */
export const trainingCommands = {
  addHistory: write((db, record) => {
    const same = findHistory(db, record.snapshot);
    if (same) {
      if (record.label === null || record.label === same.label) return ok(same);
      return err("CONFLICT", {
        what: "The history",
        name: same.id,
        reason: "it was imported before, under another label",
      });
    }
    if (record.label !== null && findHistory(db, record.label)) {
      return err("CONFLICT", { what: "The history", name: record.label, reason: "another one has this label" });
    }
    db.prepare(
      `INSERT INTO histories (id, label, snapshot, bytes, request, report, created_at_ms, created_by)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      record.id,
      record.label,
      record.snapshot,
      record.bytes,
      JSON.stringify(record.request),
      JSON.stringify(record.report),
      record.createdAtMs,
      record.createdBy,
    );
    return ok(record);
  }),
  findHistory: read((db, { name }) => findHistory(db, name)),
  listHistories: read(
    (db, { limit, before: { createdAtMs, id } = { createdAtMs: Number.MAX_SAFE_INTEGER, id: "" } }) => {
      // By what every row keeps, not by another row's place: that one may be removed between two pages.
      const rows = db
        .prepare(
          "SELECT * FROM histories WHERE (created_at_ms, id) < (?, ?) ORDER BY created_at_ms DESC, id DESC LIMIT ?",
        )
        .all(createdAtMs, id, limit) as HistoryRow[];
      return rows.map(historyOf);
    },
  ),
  removeHistory: write((db, { id }) => {
    if (!findHistory(db, id)) return err("NOT_FOUND", { what: "history", name: id });
    const used = db.prepare("SELECT id FROM training_runs WHERE history = ?").get(id) as { id: string } | undefined;
    if (used) {
      const reason = `the training run ${used.id} learnt from it, and its model must stay traceable`;
      return err("CONFLICT", { what: "The history", name: id, reason });
    }
    db.prepare("DELETE FROM histories WHERE id = ?").run(id);
    return ok(undefined);
  }),
  filesInUse: read((db) => {
    const rows = db.prepare("SELECT snapshot, request FROM histories").all() as HistoryRow[];
    return rows.flatMap((row) => {
      const request = JSON.parse(row.request) as HistoryRecord["request"];
      if ("fleet" in request) return [row.snapshot];
      return [row.snapshot, request.samples.digest, ...(request.failures ? [request.failures.digest] : [])];
    });
  }),
  addRun: write((db, { run, waitingMax }) => {
    const { waiting } = db.prepare("SELECT count(*) AS waiting FROM training_runs WHERE phase = 'queued'").get() as {
      waiting: number;
    };
    if (waiting >= waitingMax) return err("TRAINING_QUEUE_FULL", { actual: waiting });
    db.prepare(
      `INSERT INTO training_runs (id, history, model, phase, request, created_at_ms, created_by)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      run.id,
      run.history,
      run.request.model,
      run.phase,
      JSON.stringify(run.request),
      run.createdAtMs,
      run.createdBy,
    );
    return ok(run);
  }),
  changeRun: write((db, { id, change }) => changeRun(db, id, change)),
  getRun: read((db, { id }) => getRun(db, id)),
  listRuns: read((db, { limit, before: position, phase, model }) => {
    const rows = db
      .prepare(
        `SELECT * FROM training_runs WHERE (@phase IS NULL OR phase = @phase) AND (@model IS NULL OR model = @model)
         AND (@before IS NULL OR seq < (SELECT seq FROM training_runs WHERE id = @before)) ORDER BY seq DESC LIMIT @limit`,
      )
      .all({ limit, before: position ?? null, phase: phase ?? null, model: model ?? null }) as RunRow[];
    return rows.map(runOf);
  }),
  nextQueued: read((db) => {
    const row = db.prepare("SELECT * FROM training_runs WHERE phase = 'queued' ORDER BY seq LIMIT 1").get() as
      | RunRow
      | undefined;
    return row && runOf(row);
  }),
  interruptRunning: write((db, { problem, nowMs }) => {
    const rows = db.prepare("SELECT id FROM training_runs WHERE phase = 'running'").all() as { id: string }[];
    for (const { id } of rows) changeRun(db, id, { error: problem, endedAtMs: nowMs, phase: "failed" });
    return rows.map(({ id }) => id);
  }),
} satisfies Commands<TrainingStore>;
