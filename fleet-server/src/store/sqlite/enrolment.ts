import { err, ok } from "@bellwether/protocol/result.ts";
import type { DeviceRecord, DevicesStore, EnrolmentTokenRecord } from "../devices.ts";
import { type Commands, read, write } from "./command.ts";

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

/** Why a token does not let this device in, or undefined. The reason is for the log; callers all hear the same. */
function fault(token: EnrolmentTokenRecord | undefined, serial: string | null, nowMs: number): string | undefined {
  if (!token) return "unknown token";
  if (token.revoked) return "the token is revoked";
  if (token.expiresAtMs <= nowMs) return "the token has expired";
  if (token.serials && !(serial !== null && token.serials.includes(serial)))
    return "the serial is not on the token's list";
  return undefined;
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

  listEnrolmentTokens: read((db, { sites }) =>
    (
      db
        .prepare(
          `SELECT * FROM enrolment_tokens WHERE (@sites IS NULL OR site IN (SELECT value FROM json_each(@sites)))
           ORDER BY created_at_ms DESC LIMIT 1000`,
        )
        .all({ sites: sites ? JSON.stringify(sites) : null }) as TokenRow[]
    ).map(tokenOf),
  ),

  revokeEnrolmentToken: write((db, { id }) => {
    const row = db.prepare("UPDATE enrolment_tokens SET revoked = 1 WHERE id = ? RETURNING *").get(id);
    return row ? ok(tokenOf(row as TokenRow)) : err("NOT_FOUND", { what: "enrolment token", name: id });
  }),

  enrol: write((db, { hash, device, serial, publicHex, nowMs }) => {
    const row = db.prepare("SELECT * FROM enrolment_tokens WHERE hash = ?").get(hash) as TokenRow | undefined;
    const token = row && tokenOf(row);
    const reason = fault(token, serial, nowMs);
    if (!token || reason !== undefined) return err("ENROLMENT_REFUSED", { reason });
    const known = db
      .prepare("SELECT site, public_hex, phase, labels, facts, serial, enrolled_at_ms FROM devices WHERE device = ?")
      .get(device) as
      | {
          site: string;
          public_hex: string;
          phase: DeviceRecord["phase"];
          labels: string;
          facts: string;
          serial: string | null;
          enrolled_at_ms: number;
        }
      | undefined;
    if (known && (known.public_hex !== publicHex || known.site !== token.site || known.phase === "revoked")) {
      return err("DEVICE_NAME_TAKEN", { device });
    }
    if (!known && token.usesLeft <= 0) return err("ENROLMENT_REFUSED", { reason: "the token is used up" });
    if (!known) {
      db.prepare("UPDATE enrolment_tokens SET uses_left = uses_left - 1 WHERE id = ?").run(token.id);
      db.prepare(
        `INSERT INTO devices (device, site, serial, public_hex, phase, labels, facts, enrolled_at_ms, session, director_version, reported_rev)
         VALUES (?, ?, ?, ?, ?, ?, '{}', ?, 0, 0, 0)`,
      ).run(
        device,
        token.site,
        serial,
        publicHex,
        token.preapproved ? "active" : "pending",
        JSON.stringify(token.labels),
        nowMs,
      );
    }
    return ok({
      device,
      site: token.site,
      serial: known?.serial ?? serial,
      publicHex,
      phase: known?.phase ?? (token.preapproved ? "active" : "pending"),
      labels: known ? JSON.parse(known.labels) : token.labels,
      facts: known ? JSON.parse(known.facts) : {},
      enrolledAtMs: known?.enrolled_at_ms ?? nowMs,
      lastSeenAtMs: null,
      heartbeatMs: null,
      session: 0,
      agentVersion: null,
      state: null,
    });
  }),
} as const satisfies Commands<Enrolment>;
