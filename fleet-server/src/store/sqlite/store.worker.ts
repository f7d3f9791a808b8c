import { dirname, join } from "node:path";
import { parentPort } from "node:worker_threads";
import type { Problem } from "@bellwether/protocol/errors.ts";
import { roleData } from "@bellwether/protocol/process/roles.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { settleArrivals } from "./ingest.ts";
import { arrivalsOf } from "./ingest-arrivals.ts";
import { migrate } from "./migrations.ts";
import type { NamedCall, StoreCall, StoreReply, StoreThreadOptions } from "./wire.ts";

/** A predecessor that was just told to stop may still be letting go of the files. */
const LOCK_WAIT_MS = 1_000;
/** After a burst the write-ahead log is cut back to this. */
const WAL_BYTES_KEPT = 64 * 1024 * 1024;
/** Pages of the log after which it is folded into the file (32 MB): a page that many groups touch is then written there once. */
const CHECKPOINT_PAGES = 8_192;
/** What waits to be written is when nothing has come for this long. */
export const SETTLED_AFTER_MS = 20;

/** Runs one store thread: the only writer, or one of the readers. */
export function runStoreThread(): void {
  const port = parentPort;
  if (!port) throw new Error("a store thread needs its parent");
  const options = roleData<StoreThreadOptions>();
  const post = (reply: StoreReply) => port.postMessage(reply, "handedBack" in reply ? reply.handedBack : undefined);
  const opened = options.mode === "write" ? openWriter(options.file) : openReader(options.file);
  if (!opened.ok) {
    post({ refused: opened.error });
    return void port.close();
  }
  const { db, release } = opened.value;
  const queue: StoreCall[] = [];
  const run = options.mode === "write" ? commitGroup : readAll;
  let idle: NodeJS.Timeout | undefined;
  const flush = () => {
    if (queue.length === 0) return;
    run(db, queue.splice(0), post);
    if (arrivalsOf(db).isAtRest) return;
    if (idle === undefined) idle = setTimeout(() => settleWaiting(db), SETTLED_AFTER_MS);
    else idle.refresh();
  };
  port.on("message", (call: StoreCall | "close") => {
    if (call === "close") {
      flush();
      clearTimeout(idle);
      if (options.mode === "write") settleWaiting(db);
      db.close();
      release();
      return void port.close();
    }
    // Messages that wait already are delivered before setImmediate fires: they become one transaction.
    if (queue.push(call) === 1) setImmediate(flush);
  });
  post({ ready: true });
}

/** Writes what waits into its place. Where that fails it goes on waiting: it is durable, and tried again with the next commit. */
export function settleWaiting(db: Database.Database): void {
  try {
    db.transaction(() => settleArrivals(db))();
  } catch (cause) {
    if (!codeOf(cause).startsWith("SQLITE_")) throw cause;
  }
  arrivalsOf(db).rest();
}

/** An open store file; `release` lets other processes have it. */
export interface Opened {
  readonly db: Database.Database;
  release(): void;
}

/** Opens the store for its only writer: locked for other processes, synced at every commit, brought up to date. */
export function openWriter(file: string): Result<Opened> {
  const dir = dirname(file);
  let lock: Database.Database | undefined;
  let db: Database.Database | undefined;
  const give = (problem: Problem): Result<Opened> => {
    db?.close();
    lock?.close();
    return { ok: false, error: problem };
  };
  try {
    lock = new Database(join(dir, "fleet.lock"), { timeout: LOCK_WAIT_MS });
    lock.pragma("journal_mode = MEMORY");
    // SQLite's own file lock: the kernel drops it with the process, so no stale file can lie.
    lock.exec("BEGIN EXCLUSIVE");
    db = new Database(file);
    letShrink(db);
    db.pragma("journal_mode = WAL");
    // WAL's own default is NORMAL, which loses commits in a power cut.
    db.pragma("synchronous = FULL");
    db.pragma("foreign_keys = ON");
    db.pragma(`journal_size_limit = ${WAL_BYTES_KEPT}`);
    db.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    const migrated = migrate(db);
    if (!migrated.ok) return give(migrated.error);
    settleWaiting(db);
    const held = lock;
    return ok({ db, release: () => held.close() });
  } catch (cause) {
    const code = codeOf(cause);
    const problem = code.startsWith("SQLITE_BUSY")
      ? err("STORE_IN_USE", { dir })
      : err("STORE_UNUSABLE", { dir, reason: `${code}: ${(cause as Error).message}` });
    return give(problem.error);
  }
}

/** 2 is INCREMENTAL: pages that became free can be given back to the disk, a few at a time. */
const SHRINKS = 2;

/** Lets the file shrink; one that was made without the means is written anew, once, where the disk has room for it. */
function letShrink(db: Database.Database): void {
  if (db.pragma("auto_vacuum", { simple: true }) === SHRINKS) return;
  db.pragma(`auto_vacuum = ${SHRINKS}`);
  try {
    db.exec("VACUUM");
  } catch (cause) {
    // It serves as it is; only its free pages wait for new records instead of going back to the disk.
    if (codeOf(cause) !== "SQLITE_FULL") throw cause;
  }
}

function openReader(file: string): Result<Opened> {
  try {
    return ok({ db: new Database(file, { readonly: true }), release: () => undefined });
  } catch (cause) {
    return err("STORE_UNUSABLE", { dir: dirname(file), reason: `${codeOf(cause)}: ${(cause as Error).message}` });
  }
}

function codeOf(cause: unknown): string {
  return (cause as { code?: string }).code ?? (cause as Error).name;
}

function commandOf(call: Omit<NamedCall, "args">): Command<unknown, unknown> {
  const rooms: Readonly<Record<string, Readonly<Record<string, unknown>>>> = COMMANDS;
  const found = rooms[call.room]?.[call.command];
  if (!found) throw new Error(`no store command ${call.room}.${call.command}`);
  return found as Command<unknown, unknown>;
}

function runCommand(db: Database.Database, { id, args, ...named }: StoreCall): StoreReply {
  const command = commandOf(named);
  // Everything but the commit that makes groups wait sees the store as if none did.
  if (command.mode === "write" && command !== COMMANDS.ingest.commit) settleArrivals(db);
  const { run, wire } = command;
  if (!wire) return { id, value: run(db, args) };
  const answer = run(db, wire.unpackArgs(args));
  const value = wire.packAnswer(answer);
  return wire.handBack === undefined ? { id, value } : { id, value, handedBack: wire.handBack(answer) };
}

type Post = (reply: StoreReply) => void;

/** Answers every read by itself. */
export function readAll(db: Database.Database, calls: readonly StoreCall[], post: Post): void {
  for (const call of calls) post(attempt(call, () => runCommand(db, call)));
}

/** All waiting writes in one transaction, each in a savepoint: one that throws is undone alone. */
export function commitGroup(db: Database.Database, calls: readonly StoreCall[], post: Post): void {
  let replies: StoreReply[];
  try {
    replies = db.transaction(() =>
      calls.map((call) => {
        const reply = attempt(call, () => db.transaction(() => runCommand(db, call))());
        // A full disk or an I/O error makes SQLite end the whole transaction by itself: what came before in this group
        // is undone, and what came after would be committed one by one while its caller is told that it failed.
        if (!db.inTransaction) throw new Error("failure" in reply ? reply.failure : "the transaction is gone");
        return reply;
      }),
    )();
  } catch (cause) {
    // Nothing of the group is there, and nobody may believe it is.
    replies = calls.map((call) => ({ id: call.id, failure: (cause as Error).message }));
  }
  for (const reply of replies) post(reply);
}

function attempt(call: StoreCall, run: () => StoreReply): StoreReply {
  try {
    return run();
  } catch (cause) {
    return { id: call.id, failure: `${call.room}.${call.command}: ${(cause as Error).message}` };
  }
}
