import type { DevicePhase } from "@bellwether/protocol/messages/device.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import type { DeviceRecord, DevicesStore } from "../devices.ts";
import { type Commands, write } from "./command.ts";
import { type DeviceRow, deviceOf } from "./device-row.ts";
import { beginKey, endKey, keyFault } from "./keys.ts";
import { noteSecurity } from "./security.ts";

type LifeCycle = Pick<DevicesStore, "setPhase" | "wipe" | "rotateKey" | "noteSecurity" | "flagCloned">;

function rowOf(db: Database, device: string): DeviceRow | undefined {
  return db.prepare("SELECT * FROM devices WHERE device = ?").get(device) as DeviceRow | undefined;
}

function setPhase(
  db: Database,
  { device, phase, from, nowMs }: Parameters<LifeCycle["setPhase"]>[0],
): Result<DeviceRecord> {
  const row = rowOf(db, device);
  if (!row) return err("NOT_FOUND", { what: "device", name: device });
  if (row.phase === phase) return ok(deviceOf(row));
  if (from && !from.includes(row.phase)) {
    return err("CONFLICT", { what: "The device", name: device, reason: `it is ${row.phase}` });
  }
  if (phase !== "pending" && phase !== "active") endKey(db, row.public_hex, nowMs);
  const changed = db.prepare("UPDATE devices SET phase = ? WHERE device = ? RETURNING *").get(phase, device);
  return ok(deviceOf(changed as DeviceRow));
}

const WIPEABLE: readonly DevicePhase[] = ["pending", "active"];

/** What becomes of a device after it was let in. */
export const lifeCycle = {
  setPhase: write(setPhase),

  wipe: write((db, { device, nowMs, reference }) => {
    const before = rowOf(db, device)?.phase;
    const wiped = setPhase(db, { device, phase: "wiped", from: WIPEABLE, nowMs });
    if (wiped.ok && before !== "wiped") {
      noteSecurity(db, { device, code: "DEVICE_WIPED", text: "the device was wiped at the device", reference }, nowMs);
    }
    return wiped;
  }),

  rotateKey: write((db, { device, publicHex, newPublicHex, nowMs, reference }) => {
    const row = rowOf(db, device);
    if (row?.phase !== "active" || row.public_hex !== publicHex) return err("DEVICE_LOGIN_REFUSED");
    const used = keyFault(db, { device, publicHex: newPublicHex, nowMs, reference });
    if (used) return used;
    beginKey(db, device, newPublicHex, nowMs);
    endKey(db, publicHex, nowMs, newPublicHex);
    const changed = db
      .prepare("UPDATE devices SET public_hex = ?, cloned_at_ms = NULL WHERE device = ? RETURNING *")
      .get(newPublicHex, device);
    noteSecurity(db, { device, code: "KEY_ROTATED", text: `its key is ${newPublicHex} now`, reference }, nowMs);
    return ok(deviceOf(changed as DeviceRow));
  }),

  noteSecurity: write((db, { device, code, text, nowMs, reference }) => {
    noteSecurity(db, { device, code, text, reference }, nowMs);
  }),

  flagCloned: write((db, { device, text, nowMs, reference }) => {
    const { changes } = db
      .prepare("UPDATE devices SET cloned_at_ms = ? WHERE device = ? AND cloned_at_ms IS NULL")
      .run(nowMs, device);
    if (changes === 1) noteSecurity(db, { device, code: "KEY_CLONED", text, reference }, nowMs);
  }),
} as const satisfies Commands<LifeCycle>;
