import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, ok, type Result, unwrap } from "@bellwether/protocol/result.ts";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { cli } from "../../../test/kit/cli.ts";
import { writeEngines } from "../../../test/kit/engines.ts";
import { holds, patient } from "../../../test/kit/eventually.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { memoryRoom } from "../../../test/kit/room.ts";
import { listeningApi } from "../../../test/kit/server.ts";
import { historyRoutes } from "../api/histories.ts";
import { trainingRoutes } from "../api/training.ts";
import type { ServerRole } from "../app.io.ts";
import type { GovernanceStore } from "../store/governance.ts";
import { governanceCommands, governanceMigrations } from "../store/sqlite/governance.ts";
import { openStore } from "../store/sqlite/store.io.ts";
import type { TrainedVersion } from "../store/training.ts";
import { createFleetSnapshots } from "./fleet-snapshots.io.ts";
import { createHistories } from "./histories.io.ts";
import type { BuiltPackage } from "./package.ts";
import { createTrainingRuns } from "./runs.io.ts";

type Json = Record<string, unknown>;

/** A server with the training room alone: real store, real threads, real HTTP; the registry only counts. */
async function startServer(dir: string, bytesMax = 2 ** 30) {
  const spawner = roleSpawner<ServerRole>(new URL("../main.ts", import.meta.url));
  const store = unwrap(await openStore({ dir, spawner }));
  const histories = createHistories({
    store: store.training,
    spawner,
    dir,
    bytesMax,
    now: Date.now,
  });
  const registered: BuiltPackage[] = [];
  const registry = {
    answer: undefined as Result<TrainedVersion> | undefined,
    gate: Promise.resolve(),
  };
  const snapshots = createFleetSnapshots({
    store,
    dir: histories.dir,
    bytesMax: 1e9,
    matching: async () => ok([]),
    now: Date.now,
  });
  const runs = createTrainingRuns({
    store: store.training,
    spawner,
    dir: histories.dir,
    async register(built) {
      registered.push(built);
      await registry.gate;
      const { model } = built.manifest;
      return (
        registry.answer ??
        ok({
          model,
          version: registered.filter(({ manifest }) => manifest.model === model).length,
          manifestDigest: `sha256:${"a".repeat(64)}`,
        })
      );
    },
    newId: () => `t-${randomUUID()}`,
    now: Date.now,
    report: () => {},
  });
  await runs.open();
  const governance = memoryRoom<GovernanceStore>(governanceCommands, governanceMigrations);
  const server = await listeningApi(governance, [
    ...historyRoutes({ store, histories, snapshots }),
    ...trainingRoutes({ store, runs }),
  ]);
  let closed = false;
  const close = async () => {
    if (closed) return;
    closed = true;
    await runs.close();
    await server.close();
    await store.close();
  };
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
type Server = Awaited<ReturnType<typeof startServer>>;

/** A server of one test's own. */
async function ownServer(bytesMax?: number, dir = temporaryFolder("training-")): Promise<Server> {
  const server = await startServer(dir, bytesMax);
  onTestFinished(server.close);
  return server;
}

/** The server most tests share: starting one takes longer than what they do with it. */
let server: Server;
const dir = mkdtempSync(join(tmpdir(), "training-"));
beforeAll(async () => {
  server = await startServer(dir);
});
afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});

const SMALL = ["--rul-cap", "125", "--parameters", "trees=20"];
const LONG = ["--rul-cap", "125", "--parameters", "trees=5000"];

async function importEngines({ json }: Server, count: number, seed = 1): Promise<string> {
  const { id } = await json("history", "import", writeEngines(count, 1, seed).train);
  return id;
}

/** Starts a run; its id. */
async function start({ json }: Server, history: string, ...rest: string[]): Promise<string> {
  return (await json("training", "start", "m", "--history", history, ...rest)).id;
}

async function ended({ runs }: Server, id: string) {
  const ending = runs.follow(id, AbortSignal.timeout(patient(20_000)));
  const last = (await Array.fromAsync(ending)).at(-1);
  return last!;
}

async function isRunning({ runs }: Server, id: string): Promise<void> {
  await holds(async () => expect((await runs.get(id))?.progress?.tree).toBeGreaterThan(0));
}

describe("history import, over REST and command line", () => {
  test("keeps the rows under their digest; the same files again are the same history", async () => {
    const { train } = writeEngines(3, 1, 11);
    const made = await server.json("history", "import", train, "--label", "engines");
    expect(made).toMatchObject({ label: "engines", report: { assets: 3, failures: 3, timeKind: "steps" } });
    expect(made.id).toBe(`h-${made.snapshot.slice(7, 19)}`);
    expect(await server.json("history", "import", train, "--label", "engines")).toEqual(made);
    expect(await server.json("history", "list")).toEqual([made]);
    for (const name of ["engines", made.id, made.snapshot]) {
      expect(await server.json("history", "show", name)).toEqual(made);
    }
    expect(await readdir(join(server.histories.dir, "snapshots"))).toContain(made.snapshot.slice(7));
    const table = await cli(["history", "show", "engines"], server.env);
    expect(table.stdout).toMatch(/s2 +1 +/);
    expect(table.stderr).toContain("never change");
    const clash = await cli(["history", "import", writeEngines(2, 1, 12).train, "--label", "engines"], server.env);
    expect([clash.exitCode, clash.stderr]).toEqual([1, expect.stringContaining("CONFLICT")]);
  });

  test("a refused file leaves no history and no snapshot, and names file and line", async () => {
    const before = await readdir(join(server.histories.dir, "snapshots"));
    const file = join(temporaryFolder(), "bad.csv");
    writeFileSync(file, "asset,time,a\np,2026-01-01T00:00:00Z,1\np,soon,2\n");
    const run = await cli(["history", "import", file], server.env);
    expect([run.exitCode, run.stdout]).toEqual([1, ""]);
    expect(run.stderr).toContain("HISTORY_TIME_WRONG");
    expect(run.stderr).toContain("line 3 of bad.csv");
    expect(await readdir(join(server.histories.dir, "snapshots"))).toEqual(before);
  });

  test("what the command line refuses, with its code", async () => {
    const refused: [string[], string, number][] = [
      [["history", "import", "/nonexistent.csv"], "FILE_UNREADABLE", 1],
      [["history", "import", "/tmp"], "FILE_UNREADABLE", 1],
      [["history", "show", "h-none"], "NOT_FOUND", 1],
      [["training", "start", "m", "--history", "h-none", "--rul-cap", "9"], "NOT_FOUND", 1],
      [["training", "start", "m", "--history", "h-none"], "ARGUMENT_INVALID", 2],
      [["training", "show", "t-none"], "NOT_FOUND", 1],
      [["training", "cancel", "t-none"], "NOT_FOUND", 1],
    ];
    for (const [args, code, exitCode] of refused) {
      const run = await cli(args, server.env);
      expect([args, run.exitCode, run.stderr.split(":")[0]]).toEqual([args, exitCode, code]);
    }
  });

  test("uploads over the bound are refused and leave nothing", async () => {
    const small = await ownServer(1_000);
    const run = await cli(["history", "import", writeEngines(1, 1, 1).train], small.env);
    expect([run.exitCode, run.stderr]).toEqual([1, expect.stringContaining("HISTORY_SPACE_EXHAUSTED")]);
    expect(await readdir(join(small.histories.dir, "uploads"))).toEqual([]);
  });

  test("a request for a file nobody uploaded, and members it does not know", async () => {
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
    const history = await importEngines(server, 3, 13);
    const run = await start(server, history, ...SMALL);
    const refused = await cli(["history", "remove", history], server.env);
    expect(refused.stderr).toContain(`${run} learnt from it`);
    const other = await importEngines(server, 2, 14);
    expect((await cli(["history", "remove", other], server.env)).exitCode).toBe(0);
    expect((await cli(["history", "show", other], server.env)).stderr).toContain("NOT_FOUND");
    await ended(server, run);
  });
});

describe("training runs", () => {
  test("one goes from history to a registered package, with its figures and lineage", async () => {
    const id = await importEngines(server, 8);
    const history = await server.json("history", "show", id);
    const options = ["--history", id, ...SMALL, "--seed", "7", "--watch"];
    const run = await server.json("training", "start", "engine-rul", ...options);
    expect(run).toMatchObject({
      phase: "succeeded",
      error: null,
      result: { model: "engine-rul", version: 1 },
      summary: { refit: true, assets: 8, trees: 20 },
    });
    expect(run.summary.evaluation.rmse).toBeLessThan(run.summary.evaluation.rmseMean);
    const built = server.registered.find(({ manifest }) => manifest.model === "engine-rul");
    const lineage = { trainer: "bellwether-gbdt/1", snapshot: history.snapshot, seed: 7, run: run.id };
    expect(built!.manifest.lineage).toEqual(lineage);
    const shown = await cli(["training", "show", run.id], server.env);
    expect(shown.stdout).toMatch(/rmse of mean +\d/);
    expect((await cli(["training", "list", "--model", "engine-rul"], server.env)).stdout).toContain(run.id);
  });

  test("one whose history lacks the target is refused at once, with what is there", async () => {
    const history = await importEngines(server, 2, 15);
    const { items } = (await server.call("GET", "/v1/training-runs?limit=1000")).body;
    const target = { kind: "column", column: "wear" };
    const refused = await server.call("POST", "/v1/training-runs", { history, model: "m", target });
    expect(refused.body).toMatchObject({ status: 422, code: "TRAINING_TARGET_MISSING" });
    expect(refused.body["detail"]).toContain("it has no target column and knows of 2 failures");
    expect((await server.call("GET", "/v1/training-runs?limit=1000")).body["items"]).toEqual(items);
  });

  test("assets held out by request are never learnt from", async () => {
    const history = await importEngines(server, 8);
    const held = ["--holdout", "engine-3", "--holdout", "engine-5"];
    const run = await ended(server, await start(server, history, ...SMALL, ...held));
    expect(run.summary).toMatchObject({ refit: false, assets: 6, holdoutAssets: ["engine-3", "engine-5"] });
    const options = ["--history", history, ...SMALL, "--holdout", "engine-99", "--watch"];
    const unknown = await cli(["training", "start", "m", ...options], server.env);
    expect([unknown.exitCode, unknown.stderr]).toEqual([1, expect.stringContaining("no asset engine-99")]);
  });

  test("a failing registry fails the run with its code", async () => {
    server.registry.answer = err("CONFLICT", { what: "The model", name: "m", reason: "no" });
    onTestFinished(() => {
      server.registry.answer = undefined;
    });
    const run = await ended(server, await start(server, await importEngines(server, 3), ...SMALL));
    expect(run).toMatchObject({ phase: "failed", error: { code: "CONFLICT" }, result: null });
  });

  test("they run one at a time and in order; waiting and running ones can be cancelled, ended ones not", async () => {
    const history = await importEngines(server, 20);
    const registered = server.registered.length;
    const first = await start(server, history, ...LONG);
    const second = await start(server, history, ...SMALL);
    const third = await start(server, history, ...SMALL, "--seed", "33");
    await isRunning(server, first);
    expect((await server.runs.get(second))?.phase).toBe("queued");
    expect(await server.json("training", "cancel", second)).toMatchObject({ phase: "cancelled" });
    expect(await server.json("training", "cancel", first)).toMatchObject({ phase: "cancelled", result: null });
    expect(await ended(server, third)).toMatchObject({ phase: "succeeded" });
    expect(server.registered.slice(registered).map(({ manifest }) => manifest.lineage.seed)).toEqual([33]);
    const again = await cli(["training", "cancel", third], server.env);
    expect(again.stderr).toContain("it has ended (succeeded)");
  });

  test("server-sent events follow a run to its end", async () => {
    const run = await start(server, await importEngines(server, 4), ...SMALL);
    const answer = await fetch(`${server.env.BELLWETHER_URL}/v1/training-runs/${run}/events`, {
      headers: { authorization: `Bearer ${server.env.BELLWETHER_TOKEN}` },
    });
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    const events = (await answer.text()).trim().split("\n\n");
    const phases = events.map((event) => JSON.parse(event.split("\ndata: ")[1]!).phase);
    expect(phases.at(-1)).toBe("succeeded");
    expect(phases.filter((phase) => phase === "running").length).toBeGreaterThan(1);
  });

  test("what waited when the server stopped goes on; what was under way ends as interrupted", async () => {
    const folder = temporaryFolder("restart-");
    const before = await ownServer(undefined, folder);
    const history = await importEngines(before, 20);
    const first = await start(before, history, ...LONG);
    const second = await start(before, history, ...SMALL);
    await isRunning(before, first);
    await before.close();
    const after = await ownServer(undefined, folder);
    expect(await ended(after, second)).toMatchObject({ phase: "succeeded" });
    expect(await after.runs.get(first)).toMatchObject({ phase: "failed", error: { code: "TRAINING_INTERRUPTED" } });
  });

  test("a snapshot changed on the disk is not learnt from", async () => {
    const history = await importEngines(server, 3, 15);
    const { snapshot } = await server.json("history", "show", history);
    const file = join(server.histories.dir, "snapshots", snapshot.slice(7));
    const bytes = readFileSync(file);
    bytes[bytes.length - 100]! ^= 1;
    writeFileSync(file, bytes);
    const run = await ended(server, await start(server, history, ...SMALL));
    expect(run.phase).toBe("failed");
    expect(run.error?.message).toContain(snapshot);
  });

  test("the queue is bounded, and listed by pages", async () => {
    const full = await ownServer();
    const history = await importEngines(full, 20);
    await isRunning(full, await start(full, history, ...LONG));
    const request = { history, model: "m", target: { kind: "rul" as const, cap: 9 } };
    for (let i = 0; i < 100; i += 1) unwrap(await full.runs.start(request, "test"));
    expect(await full.runs.start(request, "test")).toMatchObject({ error: { code: "TRAINING_QUEUE_FULL" } });
    const page = await full.call("GET", "/v1/training-runs?phase=queued&limit=60");
    expect(page.body["items"]).toHaveLength(60);
    const rest = await full.call("GET", `/v1/training-runs?phase=queued&limit=60&cursor=${page.body["next"]}`);
    expect(rest.body["items"]).toHaveLength(40);
  });
});
