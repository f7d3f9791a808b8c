import Database from "better-sqlite3";
import type { Commands } from "../../fleet-server/src/store/sqlite/command.ts";

/** The commands of one room against SQLite in memory, without any worker: each runs at once, a write in a transaction. */
export function memoryRoom<I extends object>(commands: Commands<I>, migrations: readonly string[]): I {
  const db = new Database(":memory:");
  for (const sql of migrations) db.exec(sql);
  const entries = Object.entries<{ mode: string; run(db: Database.Database, args: unknown): unknown }>(
    commands as Record<string, { mode: string; run(db: Database.Database, args: unknown): unknown }>,
  ).map(([name, command]) => {
    const run = db.transaction((args: unknown) => command.run(db, args));
    return [name, async (args: unknown) => run(structuredClone(args))] as const;
  });
  return Object.fromEntries(entries) as I;
}
