import { readFileSync } from "node:fs";
import { join } from "node:path";
import { vectorsOf } from "@bellwether/protocol/features/vectors.ts";
import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { buildTensors, type OutputTensor, readOutputs } from "@bellwether/protocol/package/tensors.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { expect, test } from "vitest";
import { readHistory } from "../../fleet-server/src/retraining/history/import.io.ts";
import type { HistorySnapshot } from "../../fleet-server/src/retraining/history/snapshot.ts";
import { startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet, type TestFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { runProcess } from "../kit/processes.ts";
import { sharedData } from "../kit/shared.ts";

const CAP = 125;
const ENGINES = 100;
const LIMIT_MS = 240_000;

interface Prediction {
  readonly asset: string;
  readonly observedAtMs: number;
  readonly version: number;
  readonly value: number;
}

/** Trains on train_FD001 by the command line, as an owner would, and releases what came of it. */
async function trainAndRelease(fleet: TestFleet, folder: string, file: string): Promise<number> {
  const global = ["-o", "json", "--url", fleet.url, "--token-file", join(folder, "server", "admin.token")];
  const cli = async (...args: string[]) => {
    const { ended, stdout, stderr } = await runProcess("bellwether", [...global, ...args]);
    if (ended !== 0) throw new Error(`bellwether ${args.join(" ")}: ${stderr}`);
    return JSON.parse(stdout);
  };
  await cli("history", "import", file, "--label", "fd001");
  const { id } = await cli("training", "start", "engine-rul", "--history", "fd001", "--rul-cap", String(CAP));
  const { version } = await eventually(
    "a trained version",
    async () => (await fleet.call(`GET /v1/training-runs/${id}`)).result ?? undefined,
    LIMIT_MS,
  );
  await cli("models", "release", "engine-rul", String(version));
  return version;
}

const replay = (file: string, prefix: string, more: string) => `
heartbeatMs: 500
assets: [${Array.from({ length: ENGINES }, (_, i) => `{id: ${prefix}${i + 1}}`).join(", ")}]
inputs: [{id: ${prefix}s, type: replay, file: ${file}, format: cmapss, assetPrefix: ${prefix}, start: "2026-01-01T00:00:00Z", ${more}}]
`;

async function proven(fleet: TestFleet, version: number): Promise<void> {
  const { id } = await fleet.call("POST /v1/rollouts", {
    model: "engine-rul",
    version: String(version),
    target: { selector: "" },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, errorAction: "PAUSE" }],
    confirm: { inferences: 50, soakSeconds: 1, deadlineSeconds: 60, errorFraction: 0.1 },
  });
  await fleet.call(`POST /v1/rollouts/${id}/start`);
  await eventually(
    "the device has proven the model",
    async () => {
      const { models } = (await fleet.call("GET /v1/devices/edge-1")) as { models: ReportedModel[] };
      return models.some(({ outcome }) => outcome === "succeeded") || undefined;
    },
    LIMIT_MS,
    200,
  );
}

/** What the released file says of each engine's last row, on features of all its rows. */
async function expected(fleet: TestFleet, folder: string, version: number, snapshot: HistorySnapshot) {
  const { manifest } = (await fleet.call(`GET /v1/models/engine-rul/versions/${version}`)) as { manifest: Manifest };
  const token = readFileSync(join(folder, "server", "admin.token"), "utf8").trim();
  const headers = { authorization: `Bearer ${token}` };
  const file = await fetch(`${fleet.url}/v1/blobs/${manifest.files.model.digest}`, { headers });
  const session = await InferenceSession.create(Buffer.from(await file.arrayBuffer()), { intraOpNumThreads: 1 });
  const says = new Map<string, { value: number; atMs: number }>();
  for (const { asset, timesMs, channels } of snapshot.assets) {
    const rows = Array.from(timesMs, (observedAtMs, row): TelemetryRow => {
      const values = snapshot.channels.map(({ channel }, c) => [channel, channels[c]![row]!] as const);
      return { asset, observedAtMs, values: Object.fromEntries(values) };
    });
    const { features } = [...unwrap(vectorsOf(manifest, rows))].at(-1)!;
    const inputs = buildTensors(manifest, [{ features }]);
    const feeds = inputs.map(
      ({ name, data, dims }) => [name, new Tensor("float32", data as Float32Array, dims)] as const,
    );
    const outputs = (await session.run(Object.fromEntries(feeds))) as Record<string, OutputTensor>;
    says.set(asset, { value: unwrap(readOutputs(manifest, outputs, 1)[0]!).primary, atMs: timesMs.at(-1)! });
  }
  await session.release();
  return says;
}

test("NASA's 100 test engines, replayed through an agent, give the released model's own predictions at the server", {
  timeout: 600_000,
}, async () => {
  const data = sharedData("cmapss");
  if (data === undefined) {
    console.warn(
      "NASA's files are absent: test/e2e/agent-update.test.ts stands in (BELLWETHER_DATA names the folder).",
    );
    expect(sharedData()).toBeUndefined();
    return;
  }
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1");
  const version = await trainAndRelease(fleet, folder, join(data, "train_FD001.txt"));
  // The model proves itself on engines of the past; those that are judged are seen from their first row on.
  const warm = startAgentProcess(folder, stateDir, replay(join(data, "train_FD001.txt"), "past-", "rowsPerSecond: 2"));
  await proven(fleet, version);
  await warm.stop();
  startAgentProcess(folder, stateDir, replay(join(data, "test_FD001.txt"), "test-", "rowsPerSecond: 0"));

  const samples = { digest: `sha256:${"0".repeat(64)}` };
  const request = { samples, assetPrefix: "test-", startMs: Date.UTC(2026, 0, 1) };
  const { snapshot } = unwrap(await readHistory({ samples: join(data, "test_FD001.txt") }, request));
  expect(snapshot.assets).toHaveLength(ENGINES);
  const says = await expected(fleet, folder, version, snapshot);
  const truth = readFileSync(join(data, "RUL_FD001.txt"), "utf8").trim().split(/\s+/).map(Number);
  let squares = 0;
  for (const [i, { asset }] of snapshot.assets.entries()) {
    const { value, atMs } = says.get(asset)!;
    const last = await eventually(
      `the last prediction of ${asset}`,
      async () => {
        let found: Prediction | undefined;
        let cursor = "";
        do {
          const page = await fleet.call(`GET /v1/predictions?model=engine-rul&asset=${asset}&limit=1000${cursor}`);
          found ??= (page.items as Prediction[]).find(({ observedAtMs }) => observedAtMs === atMs);
          cursor = page.next ? `&cursor=${encodeURIComponent(page.next)}` : "";
        } while (cursor !== "");
        return found;
      },
      LIMIT_MS,
      500,
    );
    expect(last.version).toBe(version);
    expect(Math.abs(last.value - value)).toBeLessThanOrEqual(1e-4);
    squares += (last.value - Math.min(CAP, truth[i]!)) ** 2;
  }
  expect(Math.sqrt(squares / ENGINES)).toBeLessThanOrEqual(13.5);
});
