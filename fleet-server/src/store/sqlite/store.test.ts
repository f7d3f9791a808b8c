import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../../../../test/kit/folder.ts";
import { temporaryStore } from "../../../../test/kit/store.ts";
import { ingestMigrations } from "./ingest.ts";
import { openStore, type StoreRole } from "./store.io.ts";
import { commitGroup, openWriter } from "./store.worker.ts";
import type { StoreReply } from "./wire.ts";

const spawner = roleSpawner<StoreRole>(new URL("../../main.ts", import.meta.url));
const rollout = (id: string, createdAtMs = 0) =>
  ({
    rollout: {
      id,
      plan: { model: "m", selection: "SNAPSHOT" },
      state: { phase: "running", waveIndex: 0, waves: [] },
      createdAtMs,
      createdBy: "nobody",
      updatedAtMs: createdAtMs,
    },
    executions: [{ device: "d", wave: 0 }],
    incompatible: [],
  }) as unknown as Parameters<Awaited<ReturnType<typeof temporaryStore>>["rollouts"]["create"]>[0];

describe("the store", () => {
  it("reads what it wrote, also after it was closed and opened again", async () => {
    const dir = temporaryFolder();
    const first = await temporaryStore(dir);
    await first.rollouts.create(rollout("r1"));
    expect((await first.rollouts.get({ id: "r1" }))?.id).toBe("r1");
    await first.close();
    expect((await (await temporaryStore(dir)).rollouts.get({ id: "r1" }))?.state.phase).toBe("running");
  });

  it("undoes a write that fails alone, and keeps its neighbours of the same group", async () => {
    const store = await temporaryStore();
    const twice = { ...rollout("r2"), executions: [{ device: null as unknown as string, wave: 0 }] };
    const results = await Promise.allSettled([
      store.rollouts.create(rollout("r1")),
      store.rollouts.create(twice),
      store.rollouts.create(rollout("r3")),
    ]);
    expect(results.map((result) => result.status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect((await store.rollouts.list({ limit: 10 })).map((row) => row.id).sort()).toEqual(["r1", "r3"]);
  });

  it("fails what waits or comes when it is closed", async () => {
    const store = await temporaryStore();
    await store.close();
    await expect(store.rollouts.get({ id: "r1" })).rejects.toThrow("closed");
  });

  it("belongs to one server at a time, and says why it cannot be opened", async () => {
    const dir = temporaryFolder();
    await temporaryStore(dir);
    const codeOf = async (folder: string) => {
      const opened = await openStore({ dir: folder, spawner });
      return opened.ok ? undefined : opened.error.code;
    };
    expect(await codeOf(dir)).toBe("STORE_IN_USE");
    const damaged = temporaryFolder();
    writeFileSync(join(damaged, "fleet.sqlite"), "not a database at all, but long enough to have a header".repeat(20));
    expect(await codeOf(damaged)).toBe("STORE_UNUSABLE");
    expect(await codeOf(join(damaged, "fleet.sqlite"))).toBe("STORE_UNUSABLE");
  });

  it("syncs every commit to the disk", () => {
    const { db, release } = unwrap(openWriter(join(temporaryFolder(), "fleet.sqlite")));
    const pragma = (name: string) => db.pragma(name, { simple: true });
    // 2 is FULL: WAL's default, NORMAL, loses commits in a power cut.
    expect([pragma("synchronous"), pragma("journal_mode")]).toEqual([2, "wal"]);
    db.close();
    release();
  });

  it("tells nobody that something was kept when the disk fills up in the middle of a group", () => {
    const db = new Database(":memory:");
    for (const migration of ingestMigrations) db.exec(migration);
    const free = 3;
    db.pragma(`max_page_count = ${(db.pragma("page_count", { simple: true }) as number) + free}`);
    const call = (id: number, bytes: number) => ({
      id,
      room: "ingest",
      command: "keepDeadLetter",
      args: {
        device: "d",
        site: "s",
        kind: "state",
        code: "X",
        message: "x",
        bytes: Buffer.alloc(bytes, id),
        atMs: 1,
      },
    });
    const replies: StoreReply[] = [];
    commitGroup(db, [call(1, 10), call(2, 100_000), call(3, 10)], (reply) => replies.push(reply));
    expect(replies.map((reply) => "failure" in reply)).toEqual([true, true, true]);
    expect(db.prepare("SELECT count(*) FROM dead_letters").pluck().get()).toBe(0);
    commitGroup(db, [call(4, 10)], (reply) => replies.push(reply));
    expect(replies.at(-1)).toMatchObject({ id: 4, value: undefined });
    db.close();
  });

  it("refuses a store that a newer program has written", async () => {
    const dir = temporaryFolder();
    await (await temporaryStore(dir)).close();
    const db = new Database(join(dir, "fleet.sqlite"));
    db.prepare("UPDATE schema_versions SET version = 99 WHERE room = 'rollouts'").run();
    db.close();
    const opened = await openStore({ dir, spawner });
    expect(opened.ok ? undefined : opened.error.code).toBe("STORE_NEWER");
  });
});
