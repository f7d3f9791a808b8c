import Database from "better-sqlite3";

/**
 * Writes a copy of a store that another process may be writing to: one read transaction, so the copy is the store as it was at one
 * moment, and the writer does not wait for it. Meanwhile the write-ahead log cannot be folded past that moment.
 */
export function snapshotStore(file: string, out: string): void {
  const db = new Database(file, { readonly: true });
  try {
    db.prepare("VACUUM INTO ?").run(out);
  } finally {
    db.close();
  }
}

/** Why a store's file is damaged; undefined where SQLite finds it whole. */
export function complaintOf(file: string): string | undefined {
  try {
    const db = new Database(file, { readonly: true });
    try {
      const found = db.pragma("integrity_check(1)", { simple: true }) as string;
      return found === "ok" ? undefined : found;
    } finally {
      db.close();
    }
  } catch (cause) {
    return (cause as Error).message;
  }
}
