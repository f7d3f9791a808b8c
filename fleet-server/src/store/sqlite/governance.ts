import { type AuditEntry, type AuditFacts, nextEntry } from "@bellwether/protocol/audit.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import type { Role } from "../../api/caller.ts";
import type { GovernanceStore, KeyPhase, TokenRecord } from "../governance.ts";
import { type Commands, read, statement, write } from "./command.ts";

export const governanceMigrations = [
  `CREATE TABLE tokens (
     id TEXT PRIMARY KEY,
     hash TEXT NOT NULL UNIQUE,
     name TEXT NOT NULL,
     roles TEXT NOT NULL,
     sites TEXT,
     created_at_ms INTEGER NOT NULL,
     created_by TEXT NOT NULL,
     expires_at_ms INTEGER,
     last_used_at_ms INTEGER,
     revoked_at_ms INTEGER
   ) STRICT, WITHOUT ROWID;
   CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at_ms IS NULL;
   CREATE TABLE audit_entries (
     seq INTEGER PRIMARY KEY,
     at_ms INTEGER NOT NULL,
     request_id TEXT NOT NULL,
     caller TEXT NOT NULL,
     operation TEXT NOT NULL,
     target TEXT NOT NULL,
     body_digest TEXT NOT NULL,
     http INTEGER NOT NULL,
     code TEXT NOT NULL,
     previous TEXT NOT NULL,
     digest TEXT NOT NULL
   ) STRICT;
   CREATE TRIGGER audit_entries_stay BEFORE UPDATE ON audit_entries BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
   CREATE TRIGGER audit_entries_remain BEFORE DELETE ON audit_entries BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
   CREATE TABLE audit_intents (
     intent TEXT PRIMARY KEY,
     at_ms INTEGER NOT NULL,
     facts TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE idempotency_keys (
     caller TEXT NOT NULL,
     key TEXT NOT NULL,
     target TEXT NOT NULL,
     body_digest TEXT NOT NULL,
     run TEXT NOT NULL,
     created_at_ms INTEGER NOT NULL,
     status INTEGER,
     content_type TEXT,
     sealed BLOB,
     PRIMARY KEY (caller, key)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at_ms);`,
];

interface TokenRow {
  readonly id: string;
  readonly name: string;
  readonly roles: string;
  readonly sites: string | null;
  readonly created_at_ms: number;
  readonly created_by: string;
  readonly expires_at_ms: number | null;
  readonly last_used_at_ms: number | null;
  readonly revoked_at_ms: number | null;
}

function tokenOf(row: TokenRow): TokenRecord {
  return {
    id: row.id,
    name: row.name,
    roles: JSON.parse(row.roles) as Role[],
    ...(row.sites === null ? {} : { sites: JSON.parse(row.sites) as string[] }),
    createdAtMs: row.created_at_ms,
    createdBy: row.created_by,
    ...(row.expires_at_ms === null ? {} : { expiresAtMs: row.expires_at_ms }),
    ...(row.last_used_at_ms === null ? {} : { lastUsedAtMs: row.last_used_at_ms }),
    ...(row.revoked_at_ms === null ? {} : { revokedAtMs: row.revoked_at_ms }),
  };
}

const ENTRY = `seq, at_ms AS atMs, request_id AS requestId, caller, operation, target, body_digest AS bodyDigest, http, code,
  previous, digest`;

/** Enters a call into the chain. */
export function append(db: Database, facts: AuditFacts, outcome: { http: number; code: string }): AuditEntry {
  const last = db.prepare("SELECT seq, digest FROM audit_entries ORDER BY seq DESC LIMIT 1").get() as
    | { seq: number; digest: string }
    | undefined;
  const entry = nextEntry(last, facts, outcome);
  db.prepare(
    `INSERT INTO audit_entries (seq, at_ms, request_id, caller, operation, target, body_digest, http, code, previous, digest)
     VALUES (@seq, @atMs, @requestId, @caller, @operation, @target, @bodyDigest, @http, @code, @previous, @digest)`,
  ).run(entry);
  return entry;
}

function takeIntent(db: Database, intent: string): AuditFacts {
  const row = db.prepare("DELETE FROM audit_intents WHERE intent = ? RETURNING facts").get(intent) as
    | { facts: string }
    | undefined;
  if (!row) throw new Error(`the call ${intent} was ended without being begun`);
  return JSON.parse(row.facts) as AuditFacts;
}

interface KeyRow {
  readonly target: string;
  readonly body_digest: string;
  readonly run: string;
  readonly status: number | null;
  readonly content_type: string | null;
  readonly sealed: Uint8Array | null;
}

export const governanceCommands = {
  addToken: write((db, { hash, token }) => {
    const taken = db.prepare("SELECT 1 FROM tokens WHERE name = ? AND revoked_at_ms IS NULL").get(token.name);
    if (taken) return err("CONFLICT", { what: "The token", name: token.name, reason: "another one has this name" });
    db.prepare(
      `INSERT INTO tokens (id, hash, name, roles, sites, created_at_ms, created_by, expires_at_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      token.id,
      hash,
      token.name,
      JSON.stringify(token.roles),
      token.sites === undefined ? null : JSON.stringify(token.sites),
      token.createdAtMs,
      token.createdBy,
      token.expiresAtMs ?? null,
    );
    return ok(token);
  }),
  findToken: read((db, { hash }) => {
    const row = statement(db, "SELECT * FROM tokens WHERE hash = ?").get(hash) as TokenRow | undefined;
    return row && tokenOf(row);
  }),
  getToken: read((db, { id }) => {
    const row = db.prepare("SELECT * FROM tokens WHERE id = ?").get(id) as TokenRow | undefined;
    return row && tokenOf(row);
  }),
  listTokens: read((db, { afterId = "", limit }) =>
    (db.prepare("SELECT * FROM tokens WHERE id > ? ORDER BY id LIMIT ?").all(afterId, limit) as TokenRow[]).map(
      tokenOf,
    ),
  ),
  revokeToken: write((db, { id, nowMs }) => {
    const row = db.prepare("SELECT * FROM tokens WHERE id = ?").get(id) as TokenRow | undefined;
    if (!row) return err("NOT_FOUND", { what: "token", name: id });
    if (row.revoked_at_ms !== null) return ok(tokenOf(row));
    const isMaster = (token: TokenRow) => token.sites === null && tokenOf(token).roles.includes("admin");
    const good = db
      .prepare("SELECT * FROM tokens WHERE revoked_at_ms IS NULL AND (expires_at_ms IS NULL OR expires_at_ms > ?)")
      .all(nowMs) as TokenRow[];
    if (isMaster(row) && !good.some((other) => other.id !== id && isMaster(other)))
      return err("CONFLICT", { what: "The token", name: row.name, reason: "it is the last admin token" });
    db.prepare("UPDATE tokens SET revoked_at_ms = ? WHERE id = ?").run(nowMs, id);
    return ok(tokenOf({ ...row, revoked_at_ms: nowMs }));
  }),
  touchToken: write((db, { id, nowMs }) => {
    db.prepare("UPDATE tokens SET last_used_at_ms = ? WHERE id = ?").run(nowMs, id);
  }),

  beginCall: write((db, { intent, facts }) => {
    db.prepare("INSERT INTO audit_intents (intent, at_ms, facts) VALUES (?, ?, ?)").run(
      intent,
      facts.atMs,
      JSON.stringify(facts),
    );
  }),
  endCall: write((db, { intent, http, code, bodyDigest }) => {
    const facts = takeIntent(db, intent);
    return append(db, { ...facts, bodyDigest: bodyDigest ?? facts.bodyDigest }, { http, code });
  }),
  addEntry: write((db, { facts, http, code }) => append(db, facts, { http, code })),
  endInterrupted: write((db, { code }) => {
    const rows = db.prepare("SELECT intent FROM audit_intents ORDER BY at_ms, intent").all() as { intent: string }[];
    for (const { intent } of rows) append(db, takeIntent(db, intent), { http: 0, code });
    return rows.length;
  }),
  listEntries: read((db, args) => {
    const where = ["seq > @afterSeq"];
    if (args.operation !== undefined) where.push("operation = @operation");
    if (args.caller !== undefined) where.push("caller = @caller");
    if (args.sinceMs !== undefined) where.push("at_ms >= @sinceMs");
    if (args.untilMs !== undefined) where.push("at_ms < @untilMs");
    return db
      .prepare(`SELECT ${ENTRY} FROM audit_entries WHERE ${where.join(" AND ")} ORDER BY seq LIMIT @limit`)
      .all(args) as AuditEntry[];
  }),
  lastEntry: read(
    (db) => db.prepare(`SELECT ${ENTRY} FROM audit_entries ORDER BY seq DESC LIMIT 1`).get() as AuditEntry | undefined,
  ),

  claimKey: write((db, { caller, key, target, bodyDigest, run, nowMs, keepMs }): KeyPhase => {
    db.prepare("DELETE FROM idempotency_keys WHERE created_at_ms <= ?").run(nowMs - keepMs);
    const row = db.prepare("SELECT * FROM idempotency_keys WHERE caller = ? AND key = ?").get(caller, key) as
      | KeyRow
      | undefined;
    if (!row) {
      db.prepare(
        `INSERT INTO idempotency_keys (caller, key, target, body_digest, run, created_at_ms) VALUES (?, ?, ?, ?, ?, ?)`,
      ).run(caller, key, target, bodyDigest, run, nowMs);
      return { kind: "first" };
    }
    if (row.target !== target || row.body_digest !== bodyDigest) return { kind: "reused" };
    if (row.sealed === null || row.status === null || row.content_type === null)
      return { kind: row.run === run ? "running" : "interrupted" };
    return { kind: "kept", status: row.status, contentType: row.content_type, sealed: row.sealed };
  }),
  keepAnswer: write((db, { caller, key, status, contentType, sealed }) => {
    db.prepare("UPDATE idempotency_keys SET status = ?, content_type = ?, sealed = ? WHERE caller = ? AND key = ?").run(
      status,
      contentType,
      sealed,
      caller,
      key,
    );
  }),
  releaseKey: write((db, { caller, key }) => {
    db.prepare("DELETE FROM idempotency_keys WHERE caller = ? AND key = ?").run(caller, key);
  }),
} satisfies Commands<GovernanceStore>;
