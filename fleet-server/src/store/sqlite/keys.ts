import { err } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import { noteSecurity } from "./security.ts";

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

/** Refuses a key that any device has or had; the device that has it now is flagged, as it runs on two machines. */
export function keyFault(
  db: Database,
  { device, publicHex, nowMs, reference }: { device: string; publicHex: string; nowMs: number; reference: string },
) {
  const owner = db.prepare("SELECT device FROM device_keys WHERE public_hex = ?").pluck().get(publicHex) as
    | string
    | undefined;
  if (owner === undefined) return undefined;
  db.prepare("UPDATE devices SET cloned_at_ms = coalesce(cloned_at_ms, ?) WHERE device = ? AND public_hex = ?").run(
    nowMs,
    owner,
    publicHex,
  );
  noteSecurity(db, { device: owner, code: "KEY_IN_USE", text: `${device} offered its key`, reference }, nowMs);
  return err("KEY_IN_USE");
}
