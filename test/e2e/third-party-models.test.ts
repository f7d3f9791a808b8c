import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import type { Golden } from "@bellwether/protocol/package/golden.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { expect, test } from "vitest";
import { snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet, type TestFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { runProcess } from "../kit/processes.ts";
import {
  difference,
  MODELS_MISSING,
  saidOf,
  theirGolden,
  theirHistory,
  theirModel,
  theirModels,
  theirOutputs,
  theirRows,
} from "../kit/third-party.ts";

const names = theirModels("good");
const modelOf = (name: string) => name.replace(/\.onnx$/, "");
/** Put before the asset names of a model's own vectors. */
const prefixOf = (name: string) => `m${names.indexOf(name)}-`;
const START_MS = Date.UTC(2026, 0, 1);
const STEP_MS = 1_000;

interface Prediction {
  readonly asset: string;
  readonly observedAtMs: number;
  readonly version: number;
  readonly value: number | null;
  readonly error?: string | null;
  readonly outputs: Record<string, unknown>;
}

/** `model init`, then `models upload --release`, as its owner would; the package's manifest and golden file. */
async function bring(fleet: TestFleet, folder: string, name: string) {
  const history = join(folder, `${name}.csv`);
  writeFileSync(history, theirHistory(name));
  const out = join(folder, `${name}.package`);
  mkdirSync(out);
  const command = async (...args: string[]) => {
    const env = { BELLWETHER_URL: fleet.url, BELLWETHER_TOKEN_FILE: join(fleet.dir, "admin.token") };
    const { ended, stderr } = await runProcess("bellwether", args, { env });
    // Notes of the draft, and what was signed.
    expect(stderr.split("\n").filter((line) => !/^($|Note: |release \S+ \S+ to every device: )/.test(line))).toEqual(
      [],
    );
    expect(ended).toBe(0);
  };
  await command(
    "model",
    "init",
    theirModel("good", name),
    "--history",
    history,
    "--out",
    out,
    "--units",
    "1",
    // Thirteen models load and serve beside each other on whatever machine tests: latency is not what this is about.
    "--latency",
    "10000",
    ...saidOf(name)!,
  );
  await command("models", "upload", out, "--release", "--alias", "champion");
  const read = (file: string) => JSON.parse(readFileSync(join(out, file), "utf8"));
  return { manifest: read("manifest.json") as Manifest, golden: read("golden.json") as Golden };
}

/** Every model's own vectors over and over, each on assets of its own. */
function configuration(folder: string): string {
  const inputs: string[] = [];
  const assets: string[] = [];
  const models: string[] = [];
  for (const name of names) {
    const rows = theirRows(name);
    const file = join(folder, `${name}.replay.csv`);
    // As long as the test may take; a wide row is long, so there are fewer of them.
    writeFileSync(file, theirHistory(name, Math.ceil(4_000 / rows.length)));
    const own = [...new Set(rows.map(({ asset }) => `${prefixOf(name)}${asset}`))];
    assets.push(...own);
    models.push(`  - { model: ${modelOf(name)}, assets: [${own.join(", ")}] }`);
    const points = rows[0]!.values.map((_, c) => `{ name: c${c}, channel: c${c}, unit: "1" }`).join(", ");
    inputs.push(
      `  - { id: ${modelOf(name)}, type: replay, file: ${file}, assetColumn: asset, assetPrefix: ${prefixOf(name)}, rowsPerSecond: 10, stepMs: ${STEP_MS}, points: [${points}] }`,
    );
  }
  return `
heartbeatMs: 1000
assets: [${assets.map((id) => `{ id: ${id} }`).join(", ")}]
inputs:
${inputs.join("\n")}
models:
${models.join("\n")}
`;
}

async function rollOut(fleet: TestFleet, model: string): Promise<void> {
  const { id } = await fleet.call("POST /v1/rollouts", {
    model,
    version: "champion",
    target: { selector: "" },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, gates: [] }],
    confirm: { inferences: 5, soakSeconds: 0, deadlineSeconds: 150, errorFraction: 0 },
  });
  await fleet.call(`POST /v1/rollouts/${id}/start`);
}

test("every good model of others goes the whole way: drafted, uploaded, rolled out, run on an agent, equal to its maker's outputs", async () => {
  if (names.length === 0) return expect(MODELS_MISSING).toContain("BELLWETHER_MODELS");
  const folder = temporaryFolder("third-party-");
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  const packages = new Map<string, Awaited<ReturnType<typeof bring>>>();
  for (const name of names) packages.set(name, await bring(fleet, folder, name));
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1");
  const agent = startAgentProcess(folder, stateDir, configuration(folder));
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online").catch((cause: Error) => {
    throw new Error([cause.message, ...agent.stderr.slice(-10)].join("\n"));
  });
  for (const name of names) await rollOut(fleet, modelOf(name));
  const proven = await eventually(
    "every model succeeded",
    async () => {
      const { models } = (await fleet.call("GET /v1/devices/edge-1")) as { models: ReportedModel[] };
      const failed = models.find(({ outcome }) => outcome !== undefined && outcome !== "succeeded");
      // Nothing to wait for any more: say at once what went wrong.
      if (failed) return models;
      return models.filter(({ outcome }) => outcome === "succeeded").length === names.length ? models : undefined;
    },
    240_000,
    500,
  );
  expect(proven.map(({ model, outcome, error }) => [model, outcome, error?.code])).toEqual(
    names.map((name) => [modelOf(name), "succeeded", undefined]).sort(),
  );
  for (const name of names) await comparePredictions(fleet, name, packages.get(name)!);
  expect((await agent.stop()).ended).toBe(0);
  expect((await fleet.process.stop()).ended).toBe(0);
}, 420_000);

/** The predictions the server committed, against what was computed elsewhere (or, where nobody did, against the golden file). */
async function comparePredictions(
  fleet: TestFleet,
  name: string,
  { manifest, golden }: Awaited<ReturnType<typeof bring>>,
): Promise<void> {
  const vectors = theirRows(name);
  const rows = new Set(vectors.map(({ asset }) => asset)).size;
  const windowRows = vectors.length / rows;
  const theirs = theirGolden(name);
  const isWindow = manifest.tensors.some(({ source }) => source.kind === "window");
  const items = await eventually(`predictions of ${name}`, async () => {
    const page = await fleet.call(`GET /v1/predictions?device=edge-1&model=${modelOf(name)}&limit=200`);
    return (page.items as Prediction[]).length >= 60 ? (page.items as Prediction[]) : undefined;
  });
  let compared = 0;
  for (const { asset, observedAtMs, error, outputs } of items) {
    expect(error ?? null, name).toBeNull();
    const row = Number(asset.slice(asset.lastIndexOf("a") + 1));
    const index = Math.round((observedAtMs - START_MS) / STEP_MS);
    // A window that begins in the middle of their recording is none of theirs.
    if (isWindow && (index + 1) % windowRows !== 0) continue;
    const at = isWindow ? row : row * windowRows + (index % windowRows);
    const expected = theirs
      ? theirOutputs(theirs, manifest, at, rows)
      : Object.fromEntries(
          Object.entries(golden.cases[at]!.outputs).map(([output, value]) => [output, [value].flat() as number[]]),
        );
    for (const [output, values] of Object.entries(expected)) {
      expect(difference(outputs[output], values), `${name} ${asset} ${output}`).toBeLessThanOrEqual(1);
      compared += 1;
    }
  }
  expect(compared, name).toBeGreaterThan(0);
}
