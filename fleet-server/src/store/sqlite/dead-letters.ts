import { createHash } from "node:crypto";
import type { Database } from "better-sqlite3";
import { statement } from "./command.ts";

/** Dead letters kept of one device, and how many of them with their bytes: one broken device fills no disk. */
export const DEAD_LETTERS_KEPT = 1_000;
export const DEAD_LETTER_BODIES_KEPT = 100;
const MESSAGE_CHARACTERS_MAX = 1_000;

export interface Letter {
  readonly device: string;
  readonly site: string;
  readonly kind: string;
  readonly code: string;
  readonly message: string;
  readonly bytes: Uint8Array;
  readonly atMs: number;
}

/** Keeps a message once, however often it is sent; a device's oldest give way. */
export function keepDeadLetter(db: Database, letter: Letter): void {
  const { device, site, kind, code, message, bytes, atMs } = letter;
  const digest = createHash("sha256").update(bytes).digest();
  const kept = statement(
    db,
    `INSERT INTO dead_letters (device, site, stream, code, message, digest, byte_count, bytes, at_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
  ).run(device, site, kind, code, message.slice(0, MESSAGE_CHARACTERS_MAX), digest, bytes.byteLength, bytes, atMs);
  if (kept.changes === 0) return;
  // One came in, so one at most crosses each bound.
  const nth = "(SELECT id FROM dead_letters WHERE device = ? ORDER BY id DESC LIMIT 1 OFFSET ?)";
  statement(db, `UPDATE dead_letters SET bytes = NULL WHERE id = ${nth}`).run(device, DEAD_LETTER_BODIES_KEPT);
  statement(db, `DELETE FROM dead_letters WHERE id = ${nth}`).run(device, DEAD_LETTERS_KEPT);
}
