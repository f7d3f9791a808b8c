import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import { type NewOutcome, OUTCOME_AHEAD_MS, type Outcome } from "../../outcomes/outcomes.ts";
import type { OutcomesStore } from "../outcomes.ts";
import { type Commands, read, statement, write } from "./command.ts";

/** Tables of the outcomes room: append only, a retraction is a row of its own. */
export const outcomesMigrations = [
  `CREATE TABLE outcomes (
     id INTEGER PRIMARY KEY, site TEXT NOT NULL, asset TEXT NOT NULL, kind TEXT NOT NULL, at_ms INTEGER NOT NULL,
     note TEXT, by TEXT NOT NULL, recorded_at_ms INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX outcomes_by_asset ON outcomes (asset, at_ms);
   CREATE TABLE outcome_retractions (
     outcome INTEGER PRIMARY KEY REFERENCES outcomes (id), by TEXT NOT NULL, at_ms INTEGER NOT NULL
   ) STRICT;`,
];

interface Row {
  readonly id: number;
  readonly site: string;
  readonly asset: string;
  readonly kind: Outcome["kind"];
  readonly at_ms: number;
  readonly note: string | null;
  readonly by: string;
  readonly recorded_at_ms: number;
  readonly retracted_by: string | null;
  readonly retracted_at_ms: number | null;
}

const SELECT = `SELECT outcomes.*, r.by AS retracted_by, r.at_ms AS retracted_at_ms
  FROM outcomes LEFT JOIN outcome_retractions r ON r.outcome = outcomes.id`;

function outcomeOf(row: Row): Outcome {
  const { id, site, asset, kind, note, by, retracted_by, retracted_at_ms } = row;
  return {
    id,
    site,
    asset,
    kind,
    atMs: row.at_ms,
    ...(note === null ? {} : { note }),
    by,
    recordedAtMs: row.recorded_at_ms,
    retracted: retracted_by === null ? null : { by: retracted_by, atMs: retracted_at_ms! },
  };
}

/** Thrown to undo a list of which one item is refused. */
class Refused extends Error {
  readonly result: Result<never>;

  constructor(result: Result<never>) {
    super("refused");
    this.result = result;
  }
}

function addOne(db: Database, given: NewOutcome, item: number, by: string, nowMs: number): Outcome {
  const { asset, kind, atMs, note } = given;
  if (atMs > nowMs + OUTCOME_AHEAD_MS) {
    throw new Refused(err("OUTCOME_IN_FUTURE", { asset, at: new Date(atMs).toISOString(), item }));
  }
  const sites = statement(db, "SELECT DISTINCT site FROM latest WHERE asset = ?").pluck().all(asset) as string[];
  const wanted = given.site === undefined ? sites : sites.filter((site) => site === given.site);
  const [site] = wanted;
  if (site === undefined) throw new Refused(err("OUTCOME_ASSET_UNKNOWN", { asset, item }));
  if (wanted.length > 1) throw new Refused(err("OUTCOME_SITE_MISSING", { asset, sites: wanted.join(", "), item }));
  const same = db
    .prepare(`${SELECT} WHERE site = ? AND asset = ? AND kind = ? AND outcomes.at_ms = ? AND r.outcome IS NULL`)
    .get(site, asset, kind, atMs) as Row | undefined;
  if (same) return outcomeOf(same);
  const { lastInsertRowid } = db
    .prepare("INSERT INTO outcomes (site, asset, kind, at_ms, note, by, recorded_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)")
    .run(site, asset, kind, atMs, note ?? null, by, nowMs);
  return outcomeOf(db.prepare(`${SELECT} WHERE outcomes.id = ?`).get(lastInsertRowid) as Row);
}

const PARTS = {
  asset: "asset = @asset",
  fromMs: "outcomes.at_ms >= @fromMs",
  toMs: "outcomes.at_ms < @toMs",
  afterId: "outcomes.id > @afterId",
} as const;

export const outcomes = {
  add: write((db, { outcomes: list, by, nowMs }) => {
    try {
      return db.transaction(() => ok(list.map((given, i) => addOne(db, given, i + 1, by, nowMs))))();
    } catch (cause) {
      if (cause instanceof Refused) return cause.result;
      throw cause;
    }
  }),
  retract: write((db, { id, by, nowMs }) => {
    const found = db.prepare(`${SELECT} WHERE outcomes.id = ?`).get(id) as Row | undefined;
    if (!found) return err("NOT_FOUND", { what: "outcome", name: String(id) });
    if (found.retracted_by === null) {
      db.prepare("INSERT INTO outcome_retractions VALUES (?, ?, ?)").run(id, by, nowMs);
    }
    return ok(outcomeOf(db.prepare(`${SELECT} WHERE outcomes.id = ?`).get(id) as Row));
  }),
  list: read((db, { sites, devices, limit, ...wanted }) => {
    const where: string[] = (Object.keys(PARTS) as (keyof typeof PARTS)[])
      .filter((name) => wanted[name] !== undefined)
      .map((name) => PARTS[name]);
    if (sites) where.push("site IN (SELECT value FROM json_each(@sites))");
    if (devices) {
      where.push(
        "(site, asset) IN (SELECT site, asset FROM latest WHERE device IN (SELECT value FROM json_each(@devices)))",
      );
    }
    const rows = db
      .prepare(`${SELECT} ${where.length > 0 ? `WHERE ${where.join(" AND ")}` : ""} ORDER BY outcomes.id LIMIT @limit`)
      .all({
        ...wanted,
        limit,
        ...(sites ? { sites: JSON.stringify(sites) } : {}),
        ...(devices ? { devices: JSON.stringify(devices) } : {}),
      }) as Row[];
    return rows.map(outcomeOf);
  }),
} as const satisfies Commands<OutcomesStore>;
