import { join } from "node:path";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../../../../test/kit/folder.ts";
import { temporaryStore } from "../../../../test/kit/store.ts";
import { openStore, type StoreRole } from "./store.io.ts";

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

  it("refuses a store that a newer program has written", async () => {
    const dir = temporaryFolder();
    await (await temporaryStore(dir)).close();
    const db = new Database(join(dir, "fleet.sqlite"));
    db.prepare("UPDATE schema_versions SET version = 99 WHERE room = 'rollouts'").run();
    db.close();
    const spawner = roleSpawner<StoreRole>(new URL("../../main.ts", import.meta.url));
    const opened = await openStore({ dir, spawner });
    expect(opened.ok ? undefined : opened.error.code).toBe("STORE_NEWER");
  });
});
