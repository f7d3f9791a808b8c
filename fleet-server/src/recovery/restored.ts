import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import type { JournalEntry, Revocation } from "./journal.ts";

const Entry = Type.Object({
  atMs: integer(),
  by: Type.String(),
  operation: Type.String(),
  target: Type.String(),
});

/** What a restore found and did; kept in the data directory, shown by the API. */
export const RestoreReport = Type.Object({
  backupAtMs: integer({ description: "Everything committed before came back." }),
  restoredAtMs: integer(),
  raisedBy: integer({
    description: "How far the numbers of online metadata and of devices' documents were moved on.",
  }),
  revocations: Type.Array(Type.Object({ ...Entry.properties, applied: Type.String() }), {
    description: "Revocations since the backup, from the journal, and whether each could be applied again.",
  }),
  lostChanges: Type.Array(Entry, {
    description: "Other changes since the backup, which somebody has to make again; the newest 1000.",
  }),
  lostChangesTotal: integer(),
});
export type RestoreReport = Static<typeof RestoreReport>;

/** Changes that are listed one by one. */
const LISTED_MAX = 1_000;

/** What cannot be had back, by the journal. */
export function lostOf(
  entries: readonly JournalEntry[],
  isRevocation: (entry: JournalEntry) => Revocation | undefined,
) {
  const lost = entries.filter((entry) => isRevocation(entry) === undefined);
  return { lostChanges: lost.slice(-LISTED_MAX), lostChangesTotal: lost.length };
}

/** The least step; far more than a server signs while a backup is taken. */
const RAISED_LEAST = 1_000;

/**
 * How far numbers are moved on: by one for each second since the backup, so that also a second restore of the same backup is above
 * what the first one signed. Metadata are signed every few minutes, documents by people and rollouts.
 */
export function raisedBy(backupAtMs: number, nowMs: number): number {
  return Math.max(0, Math.ceil((nowMs - backupAtMs) / 1_000)) + RAISED_LEAST;
}
