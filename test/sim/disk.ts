import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";

type Db = Database.Database;

/** How the process that uses a disk ended: power that fails takes what was not synced, a killed process leaves it. */
export type End = "killed" | "powerCut";

/** What the next transactions meet. */
export type Fault = "none" | "refused" | "reportedFailed";

const FULL = 2;

/**
 * One machine's disk: SQLite's own engine on files in memory. A commit that SQLite synced stays whatever happens; a file
 * whose connection does not sync (`synchronous` below FULL) is back to where it was opened when the power fails.
 */
export class SimDisk {
  readonly dir: string;
  fault: Fault = "none";
  #full = false;
  readonly #open = new Map<string, { readonly db: Db; readonly before: Buffer | undefined; synced: boolean }>();

  constructor(dir: string) {
    this.dir = dir;
    mkdirSync(dir, { recursive: true });
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  /** Opens SQLite on a file of this disk; its transactions meet the disk's faults. */
  open = (file: string): Db => {
    const before = readIfThere(file);
    const db = new Database(file, { timeout: 0 });
    this.watch(file, db, before);
    return db;
  };

  /** Takes a connection that somebody else opened under this disk's faults. */
  watch(file: string, db: Db, before: Buffer | undefined): void {
    const entry = { db, before, synced: true };
    this.#open.set(file, entry);
    const close = db.close.bind(db);
    db.close = () => {
      entry.synced = isSynced(db);
      return close();
    };
    const transaction = db.transaction.bind(db);
    const faulty =
      (run: (...args: unknown[]) => unknown) =>
      (...args: unknown[]) => {
        if (this.fault === "refused") throw diskError("SQLITE_IOERR_WRITE");
        const answer = run(...args);
        if (this.fault === "reportedFailed" && !db.inTransaction) {
          this.fault = "none";
          throw diskError("SQLITE_IOERR_FSYNC");
        }
        return answer;
      };
    db.transaction = ((work: (...args: unknown[]) => unknown) => {
      const made = transaction(work);
      return Object.assign(faulty(made), { immediate: faulty(made.immediate) });
    }) as Db["transaction"];
    if (this.#full) limit(db, true);
  }

  /** On a full disk no file grows any more. */
  set full(full: boolean) {
    this.#full = full;
    for (const { db } of this.#open.values()) if (db.open) limit(db, full);
  }

  /** The process that had files open is gone: nothing that was not committed is there. */
  left(end: End): void {
    for (const [file, entry] of this.#open) {
      if (entry.db.open) entry.db.close();
      if (end === "killed" || entry.synced) continue;
      remove(file);
      if (entry.before !== undefined) writeFileSync(file, entry.before);
    }
    this.#open.clear();
  }

  /** What the machine's user sees: bytes of a database and its log. */
  bytesOf(name: string): number {
    const sizeOf = (file: string) => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    return sizeOf(this.path(name)) + sizeOf(this.path(`${name}-wal`));
  }

  remove(): void {
    for (const { db } of this.#open.values()) if (db.open) db.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A folder in memory where there is such a thing; nothing in it needs to survive this process. */
export function memoryFolder(): string {
  try {
    return mkdtempSync("/dev/shm/bellwether-sim-");
  } catch {
    return mkdtempSync(join(tmpdir(), "bellwether-sim-"));
  }
}

export function readIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw cause;
  }
}

/** Whether each commit is synced. A file that is no database at all has no commits to lose. */
function isSynced(db: Db): boolean {
  try {
    return Number(db.pragma("synchronous", { simple: true })) >= FULL;
  } catch {
    return true;
  }
}

function limit(db: Db, full: boolean): void {
  const pages = full ? Number(db.pragma("page_count", { simple: true })) : 1_073_741_823;
  db.pragma(`max_page_count = ${pages}`);
}

function diskError(code: string): Error {
  return Object.assign(new Error("disk I/O error"), { code });
}

function remove(file: string): void {
  for (const part of ["", "-wal", "-shm", "-journal"]) rmSync(`${file}${part}`, { force: true });
}
