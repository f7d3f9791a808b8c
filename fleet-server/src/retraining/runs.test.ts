import { readFileSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, ok, type Result, unwrap } from "@bellwether/protocol/result.ts";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { cli } from "../../../test/kit/cli.ts";
import { writeEngines } from "../../../test/kit/engines.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { memoryRoom } from "../../../test/kit/room.ts";
import { listeningApi } from "../../../test/kit/server.ts";
import { temporaryStore } from "../../../test/kit/store.ts";
import { historyRoutes } from "../api/histories.ts";
import { trainingRoutes } from "../api/training.ts";
import type { GovernanceStore } from "../store/governance.ts";
import { governanceCommands, governanceMigrations } from "../store/sqlite/governance.ts";
import type { Store } from "../store/store.ts";
import type { TrainedVersion } from "../store/training.ts";
import { createHistories } from "./histories.io.ts";
import type { BuiltPackage } from "./package.ts";
import { createTrainingRuns } from "./runs.io.ts";

type Json = Record<string, unknown>;

/** A server with the training room alone: real store, real threads, real HTTP; the registry only counts. */
async function trainingServer(options: { dir?: string; bytesMax?: number } = {}) {
  const dir = options.dir ?? temporaryFolder("training-");
  const store = await temporaryStore(dir);
  const spawner = roleSpawner<"train" | "history-import">(new URL("../main.ts", import.meta.url));
  const histories = createHistories({
    store: store.training,
    spawner,
    dir,
    bytesMax: options.bytesMax ?? 2 ** 30,
    now: Date.now,
  });
  const registered: BuiltPackage[] = [];
  const registry = {
    answer: undefined as Result<TrainedVersion> | undefined,
    gate: Promise.resolve(),
  };
  let ids = 0;
  const runs = createTrainingRuns({
    store: store.training,
    spawner,
    dir: histories.dir,
    async register(built) {
      registered.push(built);
      await registry.gate;
      const { model } = built.manifest;
      return registry.answer ?? ok({ model, version: registered.length, manifestDigest: `sha256:${"a".repeat(64)}` });
    },
    newId: () => `t-${++ids}`,
    now: Date.now,
    report: () => {},
  });
  await runs.open();
  const governance = memoryRoom<GovernanceStore>(governanceCommands, governanceMigrations);
  const server = await listeningApi(governance, [
    ...historyRoutes({ store, histories }),
    ...trainingRoutes({ store, runs }),
  ]);
  const close = async () => {
    await runs.close();
    await server.close();
  };
  onTestFinished(close);
  const env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin };
  const call = async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${server.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${server.admin}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { http: answer.status, body: (text === "" ? {} : JSON.parse(text)) as Json };
  };
  const json = async (...args: string[]) => {
    const run = await cli([...args, "-o", "json"], env);
    expect(run.stderr).toBe("");
    return JSON.parse(run.stdout);
  };
  return { dir, store, histories, runs, registered, registry, env, call, json, close };
}
type Server = Awaited<ReturnType<typeof trainingServer>>;

const SMALL = ["--rul-cap", "125", "--parameters", "trees=20"];

async function importEngines({ json }: Server, count = 8): Promise<string> {
  const { id } = await json("history", "import", writeEngines(count, 1, 1).train);
  return id;
}

async function ended({ runs }: Server, id: string) {
  return await vi.waitFor(
    async () => {
      const run = await runs.get(id);
      expect(["succeeded", "failed", "cancelled"]).toContain(run?.phase);
      return run!;
    },
    { timeout: 20_000, interval: 20 },
  );
}

describe("history import, over REST and command line", () => {
  test("keeps the rows under their digest; the same files again are the same history", async () => {
    const server = await trainingServer();
    const { train } = writeEngines(3, 1, 1);
    const made = await server.json("history", "import", train, "--label", "engines");
    expect(made).toMatchObject({ label: "engines", report: { assets: 3, failures: 3, timeKind: "steps" } });
    expect(made.id).toBe(`h-${made.snapshot.slice(7, 19)}`);
    expect(await server.json("history", "import", train, "--label", "engines")).toEqual(made);
    expect(await server.json("history", "list")).toEqual([made]);
    for (const name of ["engines", made.id, made.snapshot]) {
      expect(await server.json("history", "show", name)).toEqual(made);
    }
    expect(await readdir(join(server.histories.dir, "snapshots"))).toEqual([made.snapshot.slice(7)]);
    const table = await cli(["history", "show", "engines"], server.env);
    expect(table.stdout).toMatch(/sensor|s2 +1 +/);
    expect(table.stderr).toContain("never change");
    const clash = await cli(["history", "import", writeEngines(2, 1, 2).train, "--label", "engines"], server.env);
    expect([clash.exitCode, clash.stderr]).toEqual([1, expect.stringContaining("CONFLICT")]);
  });

  test("a refused file leaves no history and no snapshot, and names file and line", async () => {
    const server = await trainingServer();
    const file = join(temporaryFolder(), "bad.csv");
    writeFileSync(file, "asset,time,a\np,2026-01-01T00:00:00Z,1\np,soon,2\n");
    const run = await cli(["history", "import", file], server.env);
    expect([run.exitCode, run.stdout]).toEqual([1, ""]);
    expect(run.stderr).toContain("HISTORY_TIME_WRONG");
    expect(run.stderr).toContain("line 3 of bad.csv");
    expect(await server.json("history", "list")).toEqual([]);
    expect(await readdir(join(server.histories.dir, "snapshots"))).toEqual([]);
  });

  test("what the command line refuses, with code and exit 1", async () => {
    const server = await trainingServer();
    const refused: [string[], string][] = [
      [["history", "import", "/nonexistent.csv"], "FILE_UNREADABLE"],
      [["history", "import", "/tmp"], "FILE_UNREADABLE"],
      [["history", "show", "h-none"], "NOT_FOUND"],
      [["training", "start", "m", "--history", "h-none", "--rul-cap", "9"], "NOT_FOUND"],
      [["training", "start", "m", "--history", "h-none"], "ARGUMENT_INVALID"],
      [["training", "show", "t-9"], "NOT_FOUND"],
      [["training", "cancel", "t-9"], "NOT_FOUND"],
    ];
    for (const [args, code] of refused) {
      const run = await cli(args, server.env);
      expect([args, run.exitCode, run.stderr.split(":")[0]]).toEqual([args, 1, code]);
    }
  });

  test("uploads over the bound are refused and leave nothing", async () => {
    const server = await trainingServer({ bytesMax: 1_000 });
    const run = await cli(["history", "import", writeEngines(1, 1, 1).train], server.env);
    expect([run.exitCode, run.stderr]).toEqual([1, expect.stringContaining("HISTORY_SPACE_EXHAUSTED")]);
    expect(await readdir(join(server.histories.dir, "uploads"))).toEqual([]);
  });

  test("a request for a file nobody uploaded, and members it does not know", async () => {
    const server = await trainingServer();
    const digest = `sha256:${"0".repeat(64)}`;
    expect(await server.call("POST", "/v1/histories", { samples: { digest } })).toMatchObject({
      http: 404,
      body: { code: "HISTORY_FILE_UNKNOWN" },
    });
    expect(await server.call("POST", "/v1/histories", { samples: { digest }, timezone: "UTC" })).toMatchObject({
      http: 400,
      body: { code: "INVALID_SHAPE" },
    });
  });

  test("can be removed until something was learnt from it", async () => {
    const server = await trainingServer();
    const id = await importEngines(server, 3);
    await server.json("training", "start", "m", "--history", id, ...SMALL, "--watch");
    const refused = await cli(["history", "remove", id], server.env);
    expect(refused.stderr).toContain("t-1 learnt from it");
    const { id: other } = await server.json("history", "import", writeEngines(2, 1, 9).train);
    expect((await cli(["history", "remove", other], server.env)).exitCode).toBe(0);
    expect((await server.json("history", "list")).map((one: Json) => one["id"])).toEqual([id]);
  });
});

describe("training runs", () => {
  test("one goes from history to a registered package, with its figures and lineage", async () => {
    const server = await trainingServer();
    const id = await importEngines(server);
    const history = await server.json("history", "show", id);
    const run = await server.json(
      "training",
      "start",
      "engine-rul",
      "--history",
      id,
      ...SMALL,
      "--seed",
      "7",
      "--watch",
    );
    expect(run).toMatchObject({
      id: "t-1",
      phase: "succeeded",
      error: null,
      result: { model: "engine-rul", version: 1 },
      summary: { refit: true, assets: 8, trees: 20 },
    });
    expect(run.summary.evaluation.rmse).toBeLessThan(run.summary.evaluation.rmseMean);
    expect(server.registered[0]!.manifest.lineage).toEqual({
      trainer: "bellwether-gbdt/1",
      snapshot: history.snapshot,
      seed: 7,
      run: "t-1",
    });
    const shown = await cli(["training", "show", "t-1"], server.env);
    expect(shown.stdout).toMatch(/rmse of mean +\d/);
    expect((await cli(["training", "list"], server.env)).stdout).toContain("engine-rul");
  });

  test("assets held out by request are never learnt from", async () => {
    const server = await trainingServer();
    const id = await importEngines(server);
    const run = await server.json(
      ...["training", "start", "m", "--history", id, ...SMALL, "--holdout", "engine-3", "--holdout", "engine-5"],
      "--watch",
    );
    expect(run.summary).toMatchObject({ refit: false, assets: 6, holdoutAssets: ["engine-3", "engine-5"] });
    const unknown = await cli(
      ["training", "start", "m", "--history", id, ...SMALL, "--holdout", "engine-99", "--watch"],
      server.env,
    );
    expect([unknown.exitCode, unknown.stderr]).toEqual([1, expect.stringContaining("no asset engine-99")]);
  });

  test("a failing registry fails the run with its code", async () => {
    const server = await trainingServer();
    server.registry.answer = err("CONFLICT", { what: "The model", name: "m", reason: "no" });
    const id = await importEngines(server, 3);
    await server.json("training", "start", "m", "--history", id, ...SMALL);
    expect(await ended(server, "t-1")).toMatchObject({ phase: "failed", error: { code: "CONFLICT" }, result: null });
  });

  test("they run one at a time and in order; waiting and running ones can be cancelled, ended ones not", async () => {
    const server = await trainingServer();
    const id = await importEngines(server, 20);
    const long = ["--rul-cap", "125", "--parameters", "trees=5000"];
    await server.json("training", "start", "a", "--history", id, ...long);
    await server.json("training", "start", "b", "--history", id, ...SMALL);
    await server.json("training", "start", "c", "--history", id, ...SMALL);
    await vi.waitFor(async () => expect((await server.runs.get("t-1"))?.progress?.tree).toBeGreaterThan(0), {
      timeout: 10_000,
    });
    expect((await server.runs.get("t-2"))?.phase).toBe("queued");
    expect(await server.json("training", "cancel", "t-2")).toMatchObject({ phase: "cancelled" });
    expect(await server.json("training", "cancel", "t-1")).toMatchObject({ phase: "cancelled", result: null });
    expect(await ended(server, "t-3")).toMatchObject({ phase: "succeeded" });
    expect(server.registered.map(({ manifest }) => manifest.model)).toEqual(["c"]);
    const again = await cli(["training", "cancel", "t-3"], server.env);
    expect(again.stderr).toContain("it has ended (succeeded)");
  });

  test("server-sent events follow a run to its end", async () => {
    const server = await trainingServer();
    const id = await importEngines(server, 4);
    await server.json("training", "start", "m", "--history", id, ...SMALL);
    const answer = await fetch(`${server.env.BELLWETHER_URL}/v1/training-runs/t-1/events`, {
      headers: { authorization: `Bearer ${server.env.BELLWETHER_TOKEN}` },
    });
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    const events = (await answer.text()).trim().split("\n\n");
    const phases = events.map((event) => JSON.parse(event.split("\ndata: ")[1]!).phase);
    expect(phases.at(-1)).toBe("succeeded");
    expect(phases.filter((phase) => phase === "running").length).toBeGreaterThan(1);
  });

  test("what waited when the server stopped goes on; what was under way ends as interrupted", async () => {
    const dir = temporaryFolder("restart-");
    const first = await trainingServer({ dir });
    const id = await importEngines(first, 20);
    const long = ["--rul-cap", "125", "--parameters", "trees=5000"];
    await first.json("training", "start", "a", "--history", id, ...long);
    await first.json("training", "start", "b", "--history", id, ...SMALL);
    await vi.waitFor(async () => expect((await first.runs.get("t-1"))?.phase).toBe("running"), { timeout: 10_000 });
    await first.close();
    await first.store.close();
    const second = await trainingServer({ dir });
    expect(await ended(second, "t-2")).toMatchObject({ phase: "succeeded" });
    expect(await second.runs.get("t-1")).toMatchObject({ phase: "failed", error: { code: "TRAINING_INTERRUPTED" } });
  });

  test("a snapshot changed on the disk is not learnt from", async () => {
    const server = await trainingServer();
    const id = await importEngines(server, 3);
    const { snapshot } = await server.json("history", "show", id);
    const file = join(server.histories.dir, "snapshots", snapshot.slice(7));
    const bytes = readFileSync(file);
    bytes[bytes.length - 100]! ^= 1;
    writeFileSync(file, bytes);
    await server.json("training", "start", "m", "--history", id, ...SMALL);
    const run = await ended(server, "t-1");
    expect(run.error?.message).toContain(snapshot);
    expect(server.registered).toEqual([]);
  });

  test("the queue is bounded", async () => {
    const server = await trainingServer();
    const id = await importEngines(server, 20);
    const store: Store = server.store;
    await server.json("training", "start", "a", "--history", id, "--rul-cap", "125", "--parameters", "trees=5000");
    await vi.waitFor(async () => expect((await server.runs.get("t-1"))?.phase).toBe("running"), { timeout: 10_000 });
    const request = { history: id, model: "m", target: { kind: "rul" as const, cap: 9 } };
    for (let i = 0; i < 100; i += 1) unwrap(await server.runs.start(request, "test"));
    expect(await server.runs.start(request, "test")).toMatchObject({ error: { code: "TRAINING_QUEUE_FULL" } });
    const page = await server.call("GET", "/v1/training-runs?phase=queued&limit=60");
    expect(page.body["items"]).toHaveLength(60);
    const rest = await server.call("GET", `/v1/training-runs?phase=queued&limit=60&cursor=${page.body["next"]}`);
    expect(rest.body["items"]).toHaveLength(40);
    expect((await store.training.listRuns({ limit: 200 })).length).toBe(101);
  });
});
