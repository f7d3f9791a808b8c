import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import type { DeviceRecord, DevicesStore, EnrolmentTokenRecord } from "../devices.ts";
import { type Commands, read, write } from "./command.ts";
import { type DeviceRow, deviceOf } from "./device-row.ts";
import { beginKey, keyFault } from "./keys.ts";
import { noteSecurity } from "./security.ts";

type Enrolment = Pick<DevicesStore, "addEnrolmentToken" | "listEnrolmentTokens" | "revokeEnrolmentToken" | "enrol">;

interface TokenRow {
  readonly id: string;
  readonly site: string;
  readonly labels: string;
  readonly serials: string | null;
  readonly preapproved: number;
  readonly uses_left: number;
  readonly expires_at_ms: number;
  readonly created_at_ms: number;
  readonly created_by: string;
  readonly revoked: number;
}

function tokenOf(row: TokenRow): EnrolmentTokenRecord {
  return {
    id: row.id,
    site: row.site,
    labels: JSON.parse(row.labels),
    serials: row.serials === null ? null : JSON.parse(row.serials),
    preapproved: row.preapproved === 1,
    usesLeft: row.uses_left,
    expiresAtMs: row.expires_at_ms,
    createdAtMs: row.created_at_ms,
    createdBy: row.created_by,
    revoked: row.revoked === 1,
  };
}

type Asked = Parameters<DevicesStore["enrol"]>[0];

/** Why a token does not let this device in, or undefined. Who does not hold a token's secret learns nothing of any. */
function fault(token: EnrolmentTokenRecord | undefined, { device, serial, nowMs }: Asked) {
  if (!token) return err("ENROLMENT_REFUSED");
  if (token.revoked) return err("ENROLMENT_TOKEN_REVOKED", { token: token.id });
  if (token.expiresAtMs <= nowMs) return err("ENROLMENT_TOKEN_EXPIRED", { token: token.id });
  if (token.serials && !(serial !== null && token.serials.includes(serial)))
    return err("ENROLMENT_SERIAL_UNLISTED", { device, token: token.id });
  return undefined;
}

/** Takes one use of the token, in the transaction that lets the device in. */
function spend(db: Database, { id }: EnrolmentTokenRecord): Result<void> {
  const { changes } = db
    .prepare("UPDATE enrolment_tokens SET uses_left = uses_left - 1 WHERE id = ? AND uses_left > 0")
    .run(id);
  return changes === 1 ? ok(undefined) : err("ENROLMENT_TOKEN_USED_UP", { token: id });
}

/** A device of this name is known: its answer was lost, or it was wiped, or somebody wants its name. */
function again(db: Database, token: EnrolmentTokenRecord, known: DeviceRow, asked: Asked): Result<DeviceRecord> {
  const { device, serial, publicHex, nowMs, reference } = asked;
  if (known.site !== token.site) return err("DEVICE_NAME_TAKEN", { device });
  if (known.phase === "rejected") return err("DEVICE_REJECTED", { device });
  if (known.phase === "revoked") return err("DEVICE_REVOKED", { device });
  if (known.phase === "wiped") return anew(db, token, known, asked);
  if (known.public_hex !== publicHex) {
    noteSecurity(db, { device, code: "DEVICE_NAME_TAKEN", text: "another key asked for its name", reference }, nowMs);
    return err("DEVICE_NAME_TAKEN", { device });
  }
  // The same name and key from a machine with another serial number: an image that was copied whole.
  if (known.serial !== serial) return keyFault(db, asked) ?? err("SERIAL_DIFFERS", { device });
  return ok(deviceOf(known));
}

/** A wiped device comes back: the same device with a new key, whose sessions begin anew. */
function anew(db: Database, token: EnrolmentTokenRecord, known: DeviceRow, asked: Asked): Result<DeviceRecord> {
  const { device, serial, publicHex, nowMs } = asked;
  if (known.serial !== serial) return err("SERIAL_DIFFERS", { device });
  const used = keyFault(db, asked) ?? spend(db, token);
  if (!used.ok) return used;
  beginKey(db, device, publicHex, nowMs);
  db.prepare("UPDATE births SET session = 0 WHERE device = ?").run(device);
  const row = db
    .prepare(
      `UPDATE devices SET public_hex = ?, phase = ?, enrolled_at_ms = ?, session = 0, reported_rev = 0, state = NULL,
         cloned_at_ms = NULL WHERE device = ? RETURNING *`,
    )
    .get(publicHex, token.preapproved ? "active" : "pending", nowMs, device);
  return ok(deviceOf(row as DeviceRow));
}

/** A device that nobody knew. */
function first(db: Database, token: EnrolmentTokenRecord, asked: Asked): Result<DeviceRecord> {
  const { device, serial, publicHex, nowMs } = asked;
  const holder = db
    .prepare("SELECT device FROM devices WHERE site = ? AND serial = ? AND phase IN ('pending', 'active', 'wiped')")
    .pluck()
    .get(token.site, serial) as string | undefined;
  const used =
    keyFault(db, asked) ?? (holder === undefined ? spend(db, token) : err("SERIAL_TAKEN", { serial, device: holder }));
  if (!used.ok) return used;
  beginKey(db, device, publicHex, nowMs);
  const row = db
    .prepare(
      `INSERT INTO devices (device, site, serial, public_hex, phase, labels, facts, enrolled_at_ms, session,
         director_version, reported_rev) VALUES (?, ?, ?, ?, ?, ?, '{}', ?, 0, 0, 0) RETURNING *`,
    )
    .get(
      device,
      token.site,
      serial,
      publicHex,
      token.preapproved ? "active" : "pending",
      JSON.stringify(token.labels),
      nowMs,
    );
  return ok(deviceOf(row as DeviceRow));
}

/** Enrolment tokens and what they let in. */
export const enrolment = {
  addEnrolmentToken: write((db, { hash, token }) => {
    db.prepare("INSERT INTO enrolment_tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)").run(
      token.id,
      hash,
      token.site,
      JSON.stringify(token.labels),
      token.serials ? JSON.stringify(token.serials) : null,
      token.preapproved ? 1 : 0,
      token.usesLeft,
      token.expiresAtMs,
      token.createdAtMs,
      token.createdBy,
    );
    return ok(token);
  }),

  listEnrolmentTokens: read((db, { sites, after = { createdAtMs: Number.MAX_SAFE_INTEGER, id: "" }, limit }) =>
    (
      db
        .prepare(
          `SELECT * FROM enrolment_tokens WHERE (created_at_ms, id) < (@createdAtMs, @id)
             AND (@sites IS NULL OR site IN (SELECT value FROM json_each(@sites)))
           ORDER BY created_at_ms DESC, id DESC LIMIT @limit`,
        )
        .all({ ...after, sites: sites ? JSON.stringify(sites) : null, limit }) as TokenRow[]
    ).map(tokenOf),
  ),

  revokeEnrolmentToken: write((db, { id, sites }) => {
    const row = db
      .prepare(
        `UPDATE enrolment_tokens SET revoked = 1 WHERE id = @id
         AND (@sites IS NULL OR site IN (SELECT value FROM json_each(@sites))) RETURNING *`,
      )
      .get({ id, sites: sites ? JSON.stringify(sites) : null });
    return row ? ok(tokenOf(row as TokenRow)) : err("NOT_FOUND", { what: "enrolment token", name: id });
  }),

  enrol: write((db, asked) => {
    const row = db.prepare("SELECT * FROM enrolment_tokens WHERE hash = ?").get(asked.hash) as TokenRow | undefined;
    const token = row && tokenOf(row);
    const refused = fault(token, asked);
    if (refused || !token) return refused ?? err("ENROLMENT_REFUSED");
    const known = db.prepare("SELECT * FROM devices WHERE device = ?").get(asked.device) as DeviceRow | undefined;
    return known ? again(db, token, known, asked) : first(db, token, asked);
  }),
} as const satisfies Commands<Enrolment>;
