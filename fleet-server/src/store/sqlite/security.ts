import type { Database } from "better-sqlite3";
import { append } from "./governance.ts";

/** Entries of one device that reach the audit log in an hour; after that one more says that the rest is left out. */
const ENTRIES_PER_HOUR = 20;
const HOUR_MS = 3_600_000;
const TEXT_CHARACTERS_MAX = 500;

/** One thing about a device that whoever looks after security wants to know. */
export interface SecurityNote {
  readonly device: string;
  readonly code: string;
  readonly text: string;
  /** Where it can be found again: a request, or a record of the device's event stream. */
  readonly reference: string;
}

/**
 * Enters a note into the audit chain, in the transaction it belongs to. Bounded per device: whoever holds a device's key
 * could fill the log otherwise.
 */
export function noteSecurity(db: Database, { device, code, text, reference }: SecurityNote, nowMs: number): void {
  const hour = Math.floor(nowMs / HOUR_MS);
  const entries = db
    .prepare(
      `INSERT INTO security_quota VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET
         entries = iif(hour = excluded.hour, entries + 1, 1), hour = excluded.hour RETURNING entries`,
    )
    .pluck()
    .get(device, hour) as number;
  if (entries > ENTRIES_PER_HOUR + 1) return;
  const last = entries > ENTRIES_PER_HOUR;
  append(
    db,
    {
      atMs: nowMs,
      requestId: reference,
      caller: `device:${device}`,
      operation: "deviceSecurityEvent",
      target: last ? "more of this device in this hour is left out" : text.slice(0, TEXT_CHARACTERS_MAX),
      bodyDigest: "",
    },
    { http: 0, code: last ? "SECURITY_EVENTS_LEFT_OUT" : code },
  );
}
