import { join } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import { makeFolder } from "../durable.io.ts";

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
