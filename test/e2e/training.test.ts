import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { cli } from "../kit/cli.ts";
import { suiteFolder } from "../kit/folder.ts";
import { programFile } from "../kit/programs.ts";
import { releaseVersion } from "../kit/release.ts";

const dir = suiteFolder("bellwether-training-");
let server: Bellwether;
let env: Record<string, string>;
beforeAll(async () => {
  server = await startBellwether({ dir, until: "caller" });
  env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN_FILE: join(dir, "admin.token") };
});
afterAll(() => server.stop());

async function json(...args: string[]) {
  const run = await cli([...args, "-o", "json"], env);
  expect(run).toMatchObject({ exitCode: 0 });
  return JSON.parse(run.stdout);
}

/** Rows of simulated machines through two failures each, as the agent's public command writes them. */
function simulate(): { samples: string; failures: string } {
  const files = { samples: join(dir, "samples.csv"), failures: join(dir, "failures.csv") };
  const args = ["simulate", "--seed", "5", "--assets", "6", "--lives", "2", "--units", "--failures", files.failures];
  writeFileSync(
    files.samples,
    execFileSync(process.execPath, [programFile("bellwether-agent"), ...args], { maxBuffer: 2 ** 28 }),
  );
  return files;
}

test("simulated machines' past becomes a valid, released version that names the rows it learnt from", async () => {
  const { samples, failures } = simulate();
  const history = await json("history", "import", samples, "--failures", failures, "--label", "plant");
  expect(history.report).toMatchObject({ assets: 6, failures: 12, contradictions: 0, timeKind: "with a zone" });

  const run = await json("training", "start", "pump-rul", "--history", "plant", "--rul-cap", "120", "--watch");
  expect(run).toMatchObject({ phase: "succeeded", result: { model: "pump-rul", version: 1 } });
  expect(run.summary.notes.join()).toContain("service.hours falls only when an asset was repaired");
  const { rmse, rmseMean } = run.summary.evaluation;
  expect(rmse).toBeLessThan(rmseMean * 0.75);

  const shown = await server.call("GET /v1/models/pump-rul/versions/1");
  expect(shown.body).toMatchObject({ phase: "valid", manifestDigest: run.result.manifestDigest });
  expect(shown.body.manifest).toMatchObject({
    lineage: { trainer: "bellwether-gbdt/1", snapshot: history.snapshot, run: run.id },
    restart: { counter: "service.hours" },
    outputs: [{ name: "rul", meaning: "rul", range: [0, 120] }],
  });
  await releaseVersion(server, "pump-rul", 1);
  expect((await server.call("GET /v1/models/pump-rul/versions/1")).body).toMatchObject({ phase: "released" });
});

test("the same history gives a classifier of failures to come", async () => {
  const run = await json("training", "start", "pump-failure", "--history", "plant", "--horizon-rows", "24", "--watch");
  expect(run).toMatchObject({ phase: "succeeded", result: { version: 1 } });
  const { auc, f1, f1Always } = run.summary.evaluation;
  expect(auc).toBeGreaterThan(0.85);
  expect(f1).toBeGreaterThan(f1Always * 1.5);
});
