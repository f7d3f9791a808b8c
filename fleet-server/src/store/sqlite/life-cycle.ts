import { err, ok } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import type { DevicesStore } from "../devices.ts";
import { type Commands, write } from "./command.ts";
import { type DeviceRow, deviceOf } from "./device-row.ts";

/** Notes that a key is a device's, now and for ever: no other device may have it, nor may it come back. */
export function beginKey(db: Database, device: string, publicHex: string, nowMs: number): void {
  db.prepare("INSERT INTO device_keys (public_hex, device, since_ms) VALUES (?, ?, ?)").run(publicHex, device, nowMs);
}

/** Notes that a key has ended; `successor` is the key that follows it. */
export function endKey(db: Database, publicHex: string, nowMs: number, successor: string | null = null): void {
  db.prepare("UPDATE device_keys SET ended_at_ms = ?, successor = ? WHERE public_hex = ? AND ended_at_ms IS NULL").run(
    nowMs,
    successor,
    publicHex,
  );
}

/** What becomes of a device after it was let in. */
export const lifeCycle = {
  setPhase: write((db, { device, phase, from, nowMs }) => {
    const row = db.prepare("SELECT * FROM devices WHERE device = ?").get(device) as DeviceRow | undefined;
    if (!row) return err("NOT_FOUND", { what: "device", name: device });
    if (row.phase === phase) return ok(deviceOf(row));
    if (from && !from.includes(row.phase)) {
      return err("CONFLICT", { what: "The device", name: device, reason: `it is ${row.phase}` });
    }
    if (phase !== "pending" && phase !== "active") endKey(db, row.public_hex, nowMs);
    const changed = db.prepare("UPDATE devices SET phase = ? WHERE device = ? RETURNING *").get(phase, device);
    return ok(deviceOf(changed as DeviceRow));
  }),
} as const satisfies Commands<Pick<DevicesStore, "setPhase">>;
