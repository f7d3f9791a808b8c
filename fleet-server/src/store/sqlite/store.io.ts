import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import type { Problem } from "@bellwether/protocol/errors.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { type Store, StoreBusy } from "../store.ts";
import { roomsOver } from "./rooms.ts";
import type { NamedCall, StoreCall, StoreReply, StoreThreadOptions } from "./wire.ts";

export type StoreRole = "store-writer" | "store-reader";

const READERS = 2;
/** Calls a thread may have waiting; beyond it callers are told to come back, memory is not the buffer. */
const WAITING_MAX = 20_000;

/** A call the store could not carry out; nothing of it was kept. */
export class StoreFailure extends Error {}

/**
 * Opens `dir`/fleet.sqlite: one writer thread owns every write, readers have read-only connections. Refuses a folder
 * another server has, a file it cannot use, and one that a newer program has written. `onLost` hears when a thread ends
 * that nobody told to: nothing can be kept any more.
 */
export async function openStore(options: {
  dir: string;
  spawner: RoleSpawner<StoreRole>;
  onLost?: (cause: Error) => void;
}): Promise<Result<Store>> {
  try {
    mkdirSync(options.dir, { recursive: true, mode: 0o700 });
  } catch (cause) {
    return err("STORE_UNUSABLE", { dir: options.dir, reason: (cause as Error).message });
  }
  const file = join(options.dir, "fleet.sqlite");
  const open = (role: StoreRole, mode: StoreThreadOptions["mode"]) =>
    openThread(options.spawner.worker(role, { file, mode } satisfies StoreThreadOptions), options.onLost);
  const threads: Thread[] = [];
  // Readers first: the last connection to close folds the write-ahead log back into the file.
  const close = async () => {
    const [writer, ...readers] = threads;
    await Promise.all(readers.map((reader) => reader.close()));
    await writer?.close();
  };
  for (let index = 0; index <= READERS; index++) {
    const opened = await (index === 0 ? open("store-writer", "write") : open("store-reader", "read"));
    if (!opened.ok) {
      await close();
      return opened;
    }
    threads.push(opened.value);
  }
  let turn = 0;
  const threadFor = (mode: "read" | "write") => threads[mode === "write" ? 0 : 1 + (turn++ % READERS)] as Thread;
  const rooms = roomsOver(({ mode }, call, transfer) => threadFor(mode).call(call, transfer));
  return ok({ ...rooms, close });
}

interface Thread {
  call(named: NamedCall, transfer: readonly ArrayBuffer[]): Promise<unknown>;
  close(): Promise<void>;
}

function openThread(worker: Worker, onLost?: (cause: Error) => void): Promise<Result<Thread>> {
  const waiting = new Map<number, { done: (value: unknown) => void; fail: (cause: Error) => void }>();
  let nextId = 0;
  let gone: Error | undefined;
  let closing = false;
  const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  const thread: Thread = {
    call(named, transfer) {
      if (gone) return Promise.reject(gone);
      if (waiting.size >= WAITING_MAX) return Promise.reject(new StoreBusy("the store has too much to do"));
      return new Promise((done, fail) => {
        const call: StoreCall = { id: nextId++, ...named };
        waiting.set(call.id, { done, fail });
        worker.postMessage(call, [...transfer]);
      });
    },
    async close() {
      closing = true;
      worker.postMessage("close");
      await exited;
    },
  };
  return new Promise((opened, failed) => {
    worker.on("message", (reply: StoreReply) => {
      if ("ready" in reply) return opened(ok(thread));
      if ("refused" in reply) {
        closing = true;
        return opened({ ok: false, error: reply.refused as Problem });
      }
      const call = waiting.get(reply.id);
      waiting.delete(reply.id);
      if ("failure" in reply) call?.fail(new StoreFailure(reply.failure));
      else call?.done(reply.value);
    });
    const end = (cause: Error) => {
      if (!closing && !gone) onLost?.(cause);
      gone ??= cause;
      failed(cause);
      for (const call of waiting.values()) call.fail(cause);
      waiting.clear();
    };
    worker.once("error", (cause) => end(cause as Error));
    worker.once("exit", () => end(new StoreBusy("the store is closed")));
  });
}
