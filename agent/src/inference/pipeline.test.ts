import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { eventually } from "../../../test/kit/eventually.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { linearModel } from "../../../test/kit/onnx.ts";
import { recordsOf, startTestPipeline, valuesOf } from "../../../test/kit/pipeline.ts";
import { writeSlot } from "../../../test/kit/slots.ts";
import type { Pipeline } from "./pipeline.io.ts";

/** A folder with a recording: `x` of pump-1 and pump-2 is 1, 2, 3, … */
function recording(rows: number) {
  const folder = temporaryFolder();
  const lines = Array.from({ length: rows }, (_, i) =>
    ["pump-1", "pump-2"].map((asset) => `${new Date(i * 60_000).toISOString()},${asset},${i + 1}`),
  ).flat();
  const file = join(folder, "rows.csv");
  writeFileSync(file, ["time,asset,x", ...lines, ""].join("\n"));
  return { folder, file, stateDir: join(folder, "state") };
}

const yaml = (file: string, rowsPerSecond = 0) => `
assets: [{id: pump-1}, {id: pump-2}]
inputs:
  - {id: rec, type: replay, file: ${file}, assetColumn: asset, timeColumn: time, rowsPerSecond: ${rowsPerSecond},
     points: [{name: x, channel: x, unit: mm/s, resolution: 0.5}]}
buffer: {commitMs: 50}
`;

const taken = (pipeline: Pipeline, rows: number) =>
  eventually(`${rows} rows`, async () => (await pipeline.figures()).rows >= rows, 15_000, 20);

test("rows become windows, vectors, predictions and batches", async () => {
  const { folder, file, stateDir } = recording(100);
  const { slotDir, digest } = writeSlot(folder, linearModel([2], 1));
  const pipeline = await startTestPipeline(stateDir, yaml(file), [{ model: "pump-rul", slotDir }]);
  expect(pipeline.channels.map(({ asset }) => asset).toSorted()).toEqual(["pump-1", "pump-2"]);
  expect(pipeline.outcomes).toMatchObject([{ model: "pump-rul", gapMs: expect.any(Number) }]);
  await taken(pipeline, 200);
  await pipeline.quiet();
  const records = await recordsOf(pipeline, "inference");
  expect(records).toHaveLength(200);
  for (const asset of ["pump-1", "pump-2"]) {
    const own = records.filter((record) => record.asset === asset);
    expect(valuesOf(own)).toEqual(Array.from({ length: 100 }, (_, i) => 2 * (i + 1) + 1));
    expect(own[0]).toMatchObject({ model: "pump-rul", version: 1, digest, observedAtMs: 0 });
  }
  expect(await recordsOf(pipeline, "telemetry")).toHaveLength(200);
  const stats = await pipeline.statsOf("pump-rul");
  expect(stats).toMatchObject({ inferences: 200, errors: 0, digest, assets: ["pump-1", "pump-2"] });
  expect(stats!.p99LatencyUs).toBeGreaterThan(0);
});

test("a new version takes over between two rows, its predecessor beside it; a broken one changes nothing", async () => {
  const { folder, file, stateDir } = recording(400);
  const slots = [1, 2, 3].map((n) => writeSlot(folder, linearModel([n]), { version: n }));
  writeFileSync(join(slots[2]!.slotDir, "model.onnx"), "broken");
  const [v1, v2, v3] = slots.map(({ slotDir }) => slotDir) as [string, string, string];
  const pipeline = await startTestPipeline(stateDir, yaml(file, 400), [{ model: "pump-rul", slotDir: v1 }]);
  await taken(pipeline, 50);
  const swapped = await pipeline.serve([{ model: "pump-rul", slotDir: v2, predecessorSlotDir: v1 }]);
  expect(swapped).toMatchObject([{ slotDir: v2, gapMs: expect.any(Number) }]);
  await taken(pipeline, 100);
  const broken = await pipeline.serve([{ model: "pump-rul", slotDir: v3, predecessorSlotDir: v2 }]);
  expect(broken).toMatchObject([{ slotDir: v3, problem: { code: "SLOT_CHANGED" } }]);
  expect(await pipeline.statsOf("pump-rul")).toMatchObject({ version: 2 });
  await taken(pipeline, 800);
  await pipeline.quiet();

  const records = await recordsOf(pipeline, "inference");
  expect(records).toHaveLength(800);
  // No row without a prediction, and once the new version serves, the old one never does again.
  for (const asset of ["pump-1", "pump-2"]) {
    const own = records.filter((record) => record.asset === asset);
    const x = own.map(({ observedAtMs }) => observedAtMs / 60_000 + 1);
    const firstNew = own.findIndex(({ version }) => version === 2);
    expect(firstNew).toBeGreaterThan(0);
    expect(valuesOf(own)).toEqual(x.map((each, i) => (i < firstNew ? each : 2 * each)));
    expect(own.slice(firstNew).map(({ predecessor }) => predecessor?.value)).toEqual(x.slice(firstNew));
  }
});

test("a device fed no input never shows an inference", async () => {
  const folder = temporaryFolder();
  const { slotDir } = writeSlot(folder, linearModel([1]));
  const pipeline = await startTestPipeline(
    join(folder, "state"),
    "assets: [{id: pump-1}]\ninputs: [{id: site, type: mqtt, url: 'mqtt://127.0.0.1:9', points: [{name: x, asset: pump-1, channel: x, unit: mm/s, topic: x}]}]\n",
    [{ model: "pump-rul", slotDir }],
  );
  const { atMs } = await pipeline.figures();
  await eventually("some seconds of figures", async () => (await pipeline.figures()).atMs > atMs + 1_500);
  const stats = await pipeline.statsOf("pump-rul");
  expect(stats).toMatchObject({ assets: ["pump-1"], inferences: 0, errors: 0, p99LatencyUs: 0 });
  expect(stats).not.toHaveProperty("lastAtMs");
});

test("windows and cursors survive an orderly restart: predictions go on as if nothing had been", async () => {
  const { folder, file, stateDir } = recording(300);
  const { slotDir } = writeSlot(folder, linearModel([1]), {
    window: { kind: "count", length: 5, hop: 1, minRows: 5 },
    features: [{ name: "x.mean", function: "mean", channel: "x" }],
    tensors: [
      { input: "in", type: "float32", shape: ["batch", 1], source: { kind: "features", features: ["x.mean"] } },
    ],
  });
  const active = [{ model: "pump-rul", slotDir }];
  const first = await startTestPipeline(stateDir, yaml(file, 400), active);
  await taken(first, 60);
  await first.quiet();
  await first.close();
  const second = await startTestPipeline(stateDir, yaml(file), active);
  await eventually("the recording's end", () => second.ended.length > 0);
  await second.quiet();
  const records = await recordsOf(second, "inference");
  const own = records.filter(({ asset }) => asset === "pump-1");
  // The first mean of five rows is 3, the last one 298; a window begun anew at the restart would leave four out.
  expect(valuesOf(own)).toEqual(Array.from({ length: 296 }, (_, i) => i + 3));
  expect(await recordsOf(second, "telemetry")).toHaveLength(600);
});

test("the pipeline's own state directory is refused to a second one", async () => {
  const { file, stateDir } = recording(1);
  await startTestPipeline(stateDir, yaml(file));
  await expect(startTestPipeline(stateDir, yaml(file))).rejects.toThrow("STATE_DIRECTORY_IN_USE");
});
