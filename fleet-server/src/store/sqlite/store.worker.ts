import { parentPort } from "node:worker_threads";
import { roleData } from "@bellwether/protocol/process/roles.io.ts";
import Database from "better-sqlite3";
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { migrate } from "./migrations.ts";
import type { StoreCall, StoreReply, StoreThreadOptions } from "./wire.ts";

/** Runs one store thread: the only writer, or one of the readers. */
export function runStoreThread(): void {
  const port = parentPort;
  if (!port) throw new Error("a store thread needs its parent");
  const { file, mode } = roleData<StoreThreadOptions>();
  const db = new Database(file, mode === "read" ? { readonly: true } : {});
  const post = (reply: StoreReply) => port.postMessage(reply);
  if (mode === "write") {
    db.pragma("journal_mode = WAL");
    // WAL's own default is NORMAL, which loses commits in a power cut.
    db.pragma("synchronous = FULL");
    db.pragma("foreign_keys = ON");
    const migrated = migrate(db);
    if (!migrated.ok) {
      post({ refused: migrated.error });
      return void port.close();
    }
  }
  const queue: StoreCall[] = [];
  const flush =
    mode === "write" ? () => commitGroup(db, queue.splice(0), post) : () => readAll(db, queue.splice(0), post);
  port.on("message", (call: StoreCall | "close") => {
    if (call === "close") {
      if (queue.length > 0) flush();
      db.close();
      return void port.close();
    }
    // Messages that wait already are delivered before setImmediate fires: they become one transaction.
    if (queue.push(call) === 1) setImmediate(() => queue.length > 0 && flush());
  });
  post({ ready: true });
}

function commandOf(call: StoreCall): Command<unknown, unknown> {
  const rooms: Readonly<Record<string, Readonly<Record<string, unknown>>>> = COMMANDS;
  const found = rooms[call.room]?.[call.command];
  if (!found) throw new Error(`no store command ${call.room}.${call.command}`);
  return found as Command<unknown, unknown>;
}

function readAll(db: Database.Database, calls: readonly StoreCall[], post: (reply: StoreReply) => void): void {
  for (const call of calls) post(attempt(call, () => commandOf(call).run(db, call.args)));
}

/** All waiting writes in one transaction, each in a savepoint: one that throws is undone alone. */
function commitGroup(db: Database.Database, calls: readonly StoreCall[], post: (reply: StoreReply) => void): void {
  let replies: StoreReply[];
  try {
    replies = db.transaction(() =>
      calls.map((call) => attempt(call, () => db.transaction(() => commandOf(call).run(db, call.args))())),
    )();
  } catch (cause) {
    // The commit itself failed (disk full, I/O error): nothing of the group is there, and nobody may believe it is.
    replies = calls.map((call) => ({ id: call.id, failure: (cause as Error).message }));
  }
  for (const reply of replies) post(reply);
}

function attempt(call: StoreCall, run: () => unknown): StoreReply {
  try {
    return { id: call.id, value: run() };
  } catch (cause) {
    return { id: call.id, failure: `${call.room}.${call.command}: ${(cause as Error).message}` };
  }
}
