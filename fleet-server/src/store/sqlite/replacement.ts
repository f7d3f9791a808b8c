import { err, ok } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import type { DevicesStore } from "../devices.ts";
import { type Commands, read, statement, write } from "./command.ts";
import { type DeviceRow, deviceOf } from "./device-row.ts";
import { endKey } from "./keys.ts";
import { noteSecurity } from "./security.ts";

type Replacement = Pick<DevicesStore, "replace" | "keepBaseline" | "carriedBaselines">;

/** Baselines of one device: a thousand assets under a few models. */
const BASELINES_MAX = 4_096;

function rowOf(db: Database, device: string): DeviceRow | undefined {
  return statement(db, "SELECT * FROM devices WHERE device = ?").get(device) as DeviceRow | undefined;
}

/** What a device has gathered goes to the one that takes its place; what that one has of its own makes room. */
function carry(db: Database, old: string, by: string): void {
  db.prepare("UPDATE OR IGNORE births SET device = ?, session = 0 WHERE device = ?").run(by, old);
  db.prepare("DELETE FROM births WHERE device = ?").run(old);
  db.prepare(
    `DELETE FROM baselines WHERE device = @by AND EXISTS (
       SELECT 1 FROM baselines AS carried WHERE carried.device = @old AND carried.model = baselines.model
         AND carried.asset = baselines.asset)`,
  ).run({ old, by });
  db.prepare("UPDATE baselines SET device = @by, carried_from = @old WHERE device = @old").run({ old, by });
}

/** One device in another's place. */
export const replacement = {
  replace: write((db, { device: old, by, nowMs, reference }) => {
    const [before, after] = [rowOf(db, old), rowOf(db, by)];
    if (!before || !after) return err("NOT_FOUND", { what: "device", name: before ? by : old });
    if (before.replaced_by === by) return ok(deviceOf(after));
    const conflict = (name: string, reason: string) => err("CONFLICT", { what: "The device", name, reason });
    if (old === by) return conflict(by, "it cannot replace itself");
    if (before.replaced_by !== null) return conflict(old, `${before.replaced_by} has its place already`);
    if (before.phase === "rejected") return conflict(old, "it was rejected and never had a place");
    if (before.site !== after.site) return conflict(by, `it is of site ${after.site}, not ${before.site}`);
    if (after.phase !== "active") return conflict(by, `it is ${after.phase}`);
    endKey(db, before.public_hex, nowMs);
    db.prepare("UPDATE devices SET phase = 'revoked', replaced_by = ?, labels = '{}' WHERE device = ?").run(by, old);
    carry(db, old, by);
    const labels = JSON.stringify({ ...JSON.parse(after.labels), ...JSON.parse(before.labels) });
    const row = db.prepare("UPDATE devices SET labels = ? WHERE device = ? RETURNING *").get(labels, by) as DeviceRow;
    for (const [device, text] of [
      [old, `${by} took its place`],
      [by, `it took the place of ${old}`],
    ] as const) {
      noteSecurity(db, { device, code: "DEVICE_REPLACED", text, reference }, nowMs);
    }
    return ok(deviceOf(row));
  }),

  keepBaseline: write((db, { device, model, asset, body, adopted, nowMs }) => {
    const kept = statement(
      db,
      "SELECT count(*) AS n FROM baselines WHERE device = ? AND NOT (model = ? AND asset = ?)",
    );
    const { n } = kept.get(device, model, asset) as { n: number };
    if (n >= BASELINES_MAX) {
      return err("CONFLICT", { what: "The device", name: device, reason: `it has ${n} baselines already` });
    }
    statement(
      db,
      `INSERT INTO baselines VALUES (@device, @model, @asset, @body, @nowMs, NULL) ON CONFLICT DO UPDATE SET
         body = excluded.body, updated_at_ms = excluded.updated_at_ms, carried_from = NULL
       WHERE carried_from IS NULL OR carried_from = @adopted`,
    ).run({ device, model, asset, body, adopted, nowMs });
    return ok(undefined);
  }),

  carriedBaselines: read(
    (db, { device }) =>
      statement(
        db,
        `SELECT model, asset, carried_from AS "from", body FROM baselines
         WHERE device = ? AND carried_from IS NOT NULL ORDER BY model, asset`,
      ).all(device) as Awaited<ReturnType<Replacement["carriedBaselines"]>>,
  ),
} as const satisfies Commands<Replacement>;
