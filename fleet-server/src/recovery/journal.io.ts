import { mkdir, open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Caller } from "../api/caller.ts";
import type { AuditedCall, AuditSink } from "../api/sinks.ts";
import { entriesOf, type JournalEntry } from "./journal.ts";

/**
 * Where a server keeps its journal by default: beside its data directory, never in it, so that what a backup brings back does
 * not bring back the past of the journal too. A disk of its own is better.
 */
export function journalBeside(dataDir: string, named?: string): string {
  return named ?? `${dataDir}-journal`;
}

const FILE = /^\d{4}-\d\d-\d\d\.ndjson$/;

/** Appends an entry to the file of its day, durably. */
export async function appendToJournal(dir: string, entry: JournalEntry): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const file = await open(join(dir, `${new Date(entry.atMs).toISOString().slice(0, 10)}.ndjson`), "a", 0o600);
  try {
    await file.writeFile(`${JSON.stringify(entry)}\n`);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Entries since a time, oldest first; none where there is no journal. */
export async function readJournal(dir: string, sinceMs: number): Promise<JournalEntry[]> {
  const files = await readdir(dir).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return [];
    throw cause;
  });
  const since = new Date(sinceMs).toISOString().slice(0, 10);
  const entries: JournalEntry[] = [];
  for (const file of files.filter((name) => FILE.test(name) && name.slice(0, 10) >= since).sort()) {
    entries.push(...entriesOf(await readFile(join(dir, file), "utf8")));
  }
  return entries.filter(({ atMs }) => atMs >= sinceMs);
}

/** An audit log that also enters every change that succeeded into the journal, before its answer is sent. */
export function journaled(
  audit: AuditSink,
  ports: {
    append(entry: JournalEntry): Promise<void>;
    nameOf(caller: Caller): string;
    report(problem: string, detail: unknown): void;
  },
): AuditSink {
  const begun = new Map<string, AuditedCall>();
  async function note({ atMs, caller, operation, target }: AuditedCall): Promise<void> {
    try {
      await ports.append({ atMs, by: ports.nameOf(caller), operation, target });
    } catch (cause) {
      // A revocation must not wait for a full disk; that the journal misses it must be seen.
      ports.report("journal", cause);
    }
  }
  return {
    async begin(call) {
      const intent = await audit.begin(call);
      begun.set(intent, call);
      return intent;
    },
    async end(intent, outcome) {
      const call = begun.get(intent);
      begun.delete(intent);
      if (call && outcome.code === "OK") await note(call);
      await audit.end(intent, outcome);
    },
    async refused(call, outcome) {
      if (outcome.code === "OK") await note(call);
      await audit.refused(call, outcome);
    },
  };
}
