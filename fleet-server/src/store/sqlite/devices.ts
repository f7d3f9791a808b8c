import type { BirthMessage, ReportedModel } from "@bellwether/protocol/messages/device.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import type { CohortRecord, DeviceRecord, DevicesStore, RefusalRecord, SubscriberRecord } from "../devices.ts";
import { type Commands, read, readList, statement, write } from "./command.ts";
import { devicePage, deviceRows } from "./device-page.ts";
import { type DeviceRow, deviceOf } from "./device-row.ts";
import { enrolment } from "./enrolment.ts";
import { lifeCycle } from "./life-cycle.ts";
import { replacement } from "./replacement.ts";

export const devicesMigrations = [
  `CREATE TABLE devices (
     device TEXT PRIMARY KEY, site TEXT NOT NULL, serial TEXT, public_hex TEXT NOT NULL, phase TEXT NOT NULL,
     labels TEXT NOT NULL, facts TEXT NOT NULL, enrolled_at_ms INTEGER NOT NULL, last_seen_at_ms INTEGER,
     heartbeat_ms INTEGER, session INTEGER NOT NULL, agent_version TEXT, state TEXT, director_version INTEGER NOT NULL,
     reported_rev INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE enrolment_tokens (
     id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, site TEXT NOT NULL, labels TEXT NOT NULL, serials TEXT,
     preapproved INTEGER NOT NULL, uses_left INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL,
     created_at_ms INTEGER NOT NULL, created_by TEXT NOT NULL, revoked INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE births (
     device TEXT NOT NULL, asset TEXT NOT NULL, session INTEGER NOT NULL, body TEXT NOT NULL,
     PRIMARY KEY (device, asset)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE reported (
     device TEXT NOT NULL, model TEXT NOT NULL, phase TEXT NOT NULL, body TEXT NOT NULL, updated_at_ms INTEGER NOT NULL,
     PRIMARY KEY (device, model)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE refusals (
     device TEXT NOT NULL, at_ms INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
     PRIMARY KEY (device, at_ms, code)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE cohorts (
     cohort TEXT PRIMARY KEY, selector TEXT NOT NULL, created_at_ms INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE subscribers (
     account TEXT PRIMARY KEY, hash TEXT NOT NULL, sites TEXT NOT NULL, created_at_ms INTEGER NOT NULL,
     revoked INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;`,
  "ALTER TABLE subscribers ADD COLUMN classes TEXT",
  `CREATE TABLE refusals_of_documents (
     device TEXT NOT NULL, at_ms INTEGER NOT NULL, code TEXT NOT NULL, model TEXT NOT NULL, message TEXT NOT NULL,
     director_version INTEGER,
     PRIMARY KEY (device, at_ms, code, model)
   ) STRICT, WITHOUT ROWID;
   INSERT INTO refusals_of_documents (device, at_ms, code, model, message)
     SELECT device, at_ms, code, '', message FROM refusals;
   DROP TABLE refusals;
   ALTER TABLE refusals_of_documents RENAME TO refusals;`,
  `ALTER TABLE devices ADD COLUMN cloned_at_ms INTEGER;
   ALTER TABLE devices ADD COLUMN replaced_by TEXT;
   CREATE INDEX devices_by_serial ON devices (site, serial) WHERE serial IS NOT NULL;
   CREATE TABLE device_keys (
     public_hex TEXT PRIMARY KEY, device TEXT NOT NULL, since_ms INTEGER NOT NULL, ended_at_ms INTEGER, successor TEXT
   ) STRICT, WITHOUT ROWID;
   INSERT OR IGNORE INTO device_keys SELECT public_hex, device, enrolled_at_ms, NULL, NULL FROM devices;
   CREATE TABLE security_quota (
     device TEXT PRIMARY KEY, hour INTEGER NOT NULL, entries INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;`,
  `CREATE TABLE baselines (
     device TEXT NOT NULL, model TEXT NOT NULL, asset TEXT NOT NULL, body TEXT NOT NULL, updated_at_ms INTEGER NOT NULL,
     carried_from TEXT,
     PRIMARY KEY (device, model, asset)
   ) STRICT, WITHOUT ROWID;`,
  "ALTER TABLE devices ADD COLUMN clock_ahead_ms INTEGER",
];

function changed(db: Database, device: string, set: string, value: unknown): Result<DeviceRecord> {
  const row = db.prepare(`UPDATE devices SET ${set} = ? WHERE device = ? RETURNING *`).get(value, device);
  return row ? ok(deviceOf(row as DeviceRow)) : err("NOT_FOUND", { what: "device", name: device });
}

/** A session number may only rise: what an older life of a device said is history. True when this one counts. */
function advanceSession(db: Database, device: string, session: number): boolean {
  return (
    statement(db, "UPDATE devices SET session = ? WHERE device = ? AND session <= ?").run(session, device, session)
      .changes === 1
  );
}

interface SubscriberRow {
  readonly account: string;
  readonly sites: string;
  readonly classes: string | null;
  readonly created_at_ms: number;
  readonly revoked: number;
}

function subscriberOf(row: SubscriberRow): SubscriberRecord {
  return {
    account: row.account,
    sites: JSON.parse(row.sites),
    classes: row.classes === null ? null : JSON.parse(row.classes),
    createdAtMs: row.created_at_ms,
    revoked: row.revoked === 1,
  };
}

/** Refusals of one device that are kept; older ones give way. */
const REFUSALS_MAX = 100;

export const devices = {
  ...enrolment,
  ...lifeCycle,
  ...replacement,
  get: read((db, { device }) => {
    const row = statement(db, "SELECT * FROM devices WHERE device = ?").get(device) as DeviceRow | undefined;
    return row && deviceOf(row);
  }),

  list: readList((db, args) => deviceRows(db, args).map(deviceOf)),
  page: read(devicePage),

  setLabels: write((db, { device, labels }) => changed(db, device, "labels", JSON.stringify(labels))),

  seen: write((db, { at }) => {
    const note = statement(
      db,
      "UPDATE devices SET last_seen_at_ms = max(coalesce(last_seen_at_ms, 0), ?) WHERE device = ?",
    );
    for (const [device, atMs] of at) note.run(atMs, device);
  }),

  state: write((db, { device, message, nowMs }) => {
    if (!advanceSession(db, device, message.session)) return false;
    const { streams: _streams, ...state } = message;
    // A last will carries no time of now: it was written when the device connected.
    const aheadMs = message.online && message.atMs !== undefined ? message.atMs - nowMs : null;
    statement(
      db,
      `UPDATE devices SET state = ?, heartbeat_ms = coalesce(?, heartbeat_ms), clock_ahead_ms = coalesce(?, clock_ahead_ms)
       WHERE device = ?`,
    ).run(JSON.stringify(state), message.heartbeatMs ?? null, aheadMs, device);
    return true;
  }),

  birth: write((db, { device, message }) => {
    if (!advanceSession(db, device, message.session)) return false;
    const others = db
      .prepare("SELECT count(*) FROM births WHERE device = ? AND session = ? AND asset <> ?")
      .pluck()
      .get(device, message.session, message.asset) as number;
    // One more than it says it has: what it says must stay bounded by itself.
    if (others >= message.of) return false;
    db.prepare(
      "INSERT INTO births VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET session = excluded.session, body = excluded.body",
    ).run(device, message.asset, message.session, JSON.stringify(message));
    db.prepare("UPDATE devices SET facts = ?, agent_version = ? WHERE device = ?").run(
      JSON.stringify(message.facts),
      message.agentVersion,
      device,
    );
    // When the whole set has arrived, assets of earlier sessions are gone from the device.
    const { n } = db
      .prepare("SELECT count(*) AS n FROM births WHERE device = ? AND session = ?")
      .get(device, message.session) as { n: number };
    if (n >= message.of) db.prepare("DELETE FROM births WHERE device = ? AND session < ?").run(device, message.session);
    return true;
  }),

  reported: write((db, { device, message, nowMs }) => {
    const current = db.prepare("SELECT reported_rev FROM devices WHERE device = ?").pluck().get(device) as number;
    if (!advanceSession(db, device, message.session)) return current;
    db.prepare("UPDATE devices SET reported_rev = ?, director_version = max(director_version, ?) WHERE device = ?").run(
      message.rev,
      message.directorVersion,
      device,
    );
    const keep = db.prepare(
      `INSERT INTO reported VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET phase = excluded.phase, body = excluded.body, updated_at_ms = excluded.updated_at_ms`,
    );
    for (const model of message.models) keep.run(device, model.model, model.phase, JSON.stringify(model), nowMs);
    const names = JSON.stringify(message.models.map((model) => model.model));
    db.prepare("DELETE FROM reported WHERE device = ? AND model NOT IN (SELECT value FROM json_each(?))").run(
      device,
      names,
    );
    const refuse = db.prepare("INSERT INTO refusals VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
    for (const { atMs, code, model, message: text, directorVersion } of message.refusals) {
      refuse.run(device, atMs, code, model ?? "", text, directorVersion ?? null);
    }
    db.prepare(
      `DELETE FROM refusals WHERE device = ? AND (at_ms, code, model) NOT IN (
         SELECT at_ms, code, model FROM refusals WHERE device = ? ORDER BY at_ms DESC, code, model LIMIT ?)`,
    ).run(device, device, REFUSALS_MAX);
    return message.rev;
  }),

  births: read((db, { device }) =>
    (db.prepare("SELECT body FROM births WHERE device = ? ORDER BY asset").pluck().all(device) as string[]).map(
      (body) => JSON.parse(body) as BirthMessage,
    ),
  ),

  reportedModels: read((db, { device }) => ({
    models: (
      db.prepare("SELECT body FROM reported WHERE device = ? ORDER BY model").pluck().all(device) as string[]
    ).map((body) => JSON.parse(body) as ReportedModel),
    refusals: db
      .prepare("SELECT code, message, at_ms AS atMs FROM refusals WHERE device = ? ORDER BY at_ms DESC")
      .all(device) as RefusalRecord[],
    directorVersion:
      (db.prepare("SELECT director_version FROM devices WHERE device = ?").pluck().get(device) as number) ?? 0,
  })),

  putCohort: write(
    (db, { cohort: { cohort, selector, createdAtMs } }) =>
      db
        .prepare(
          `INSERT INTO cohorts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET selector = excluded.selector
           RETURNING cohort, selector, created_at_ms AS createdAtMs`,
        )
        .get(cohort, selector, createdAtMs) as CohortRecord,
  ),
  deleteCohort: write((db, { cohort }) => db.prepare("DELETE FROM cohorts WHERE cohort = ?").run(cohort).changes === 1),
  listCohorts: read(
    (db) =>
      db
        .prepare("SELECT cohort, selector, created_at_ms AS createdAtMs FROM cohorts ORDER BY cohort")
        .all() as CohortRecord[],
  ),

  addSubscriber: write((db, { hash, subscriber }) => {
    const added = db
      .prepare(
        `INSERT INTO subscribers (account, hash, sites, classes, created_at_ms, revoked) VALUES (?, ?, ?, ?, ?, 0)
         ON CONFLICT DO NOTHING`,
      )
      .run(
        subscriber.account,
        hash,
        JSON.stringify(subscriber.sites),
        subscriber.classes && JSON.stringify(subscriber.classes),
        subscriber.createdAtMs,
      );
    if (added.changes === 1) return ok(subscriber);
    return err("CONFLICT", {
      what: "The subscriber",
      name: subscriber.account,
      reason: "an account of this name exists",
    });
  }),
  findSubscriber: read((db, { account, hash }) => {
    const row = db
      .prepare("SELECT * FROM subscribers WHERE account = ? AND hash = ? AND revoked = 0")
      .get(account, hash);
    return row ? subscriberOf(row as SubscriberRow) : undefined;
  }),
  listSubscribers: read((db) =>
    (db.prepare("SELECT * FROM subscribers ORDER BY account").all() as SubscriberRow[]).map(subscriberOf),
  ),
  revokeSubscriber: write((db, { account }) => {
    const row = db.prepare("UPDATE subscribers SET revoked = 1 WHERE account = ? RETURNING *").get(account);
    return row ? ok(subscriberOf(row as SubscriberRow)) : err("NOT_FOUND", { what: "subscriber", name: account });
  }),
} as const satisfies Commands<DevicesStore>;
