import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";

/** The state directory belongs to this process until `release`, or until the process ends in whatever way. */
export interface StateLock {
  release(): void;
}

/**
 * Takes the state directory for this process. SQLite's own file lock is used: the kernel drops it with the process, so
 * neither a stale file nor a reused process id can lie, and it holds across containers that share the volume.
 */
export function lockStateDirectory(stateDir: string): Result<StateLock> {
  try {
    makeFolder(stateDir);
    const db = new Database(join(stateDir, "agent.lock"), { timeout: 0 });
    try {
      db.pragma("journal_mode = MEMORY");
      db.exec("BEGIN EXCLUSIVE");
    } catch (cause) {
      db.close();
      throw cause;
    }
    return ok({ release: () => db.close() });
  } catch (cause) {
    const code = (cause as { code?: string }).code ?? String(cause);
    if (code.startsWith("SQLITE_BUSY")) return err("STATE_DIRECTORY_IN_USE", { stateDir });
    return err("STATE_DIRECTORY_UNUSABLE", { stateDir, reason: code });
  }
}

/** Like mkdir -p, but Node's own `recursive` spins for ever below /proc, where a parent never comes to exist. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    if (code !== "ENOENT" || dirname(path) === path) throw cause;
    makeFolder(dirname(path));
    mkdirSync(path, { mode: 0o700 });
  }
}
