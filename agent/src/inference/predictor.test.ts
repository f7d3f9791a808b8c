import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { fakeSession, fakeTensors } from "../../../test/kit/inference.ts";
import { testManifest } from "../../../test/kit/models.ts";
import { createPredictor, type Predictor } from "./predictor.ts";
import type { ModelReference } from "./session.ts";

const NOW_MS = 1_700_000_000_000;

const same = { scale: 1, offset: 0, same: true };
const row = (asset: string, x: number | null, observedAtMs = 1_000): TelemetryRow => ({
  asset,
  observedAtMs,
  values: { x },
});

function plant(
  changes: Partial<Manifest> = {},
  predict: (features: Float64Array) => number = (f) => f[0]! * 10,
  options: { assets?: string[]; quiet?: boolean; reference?: ModelReference } = {},
) {
  const session = fakeSession(testManifest(changes), predict, options.reference);
  const predictor: Predictor = unwrap(createPredictor(session, { tensors: fakeTensors, nowMs: () => NOW_MS }));
  predictor.quiet = options.quiet === true;
  for (const asset of options.assets ?? ["a", "b"]) predictor.bind(asset, [{ channel: "x", conversion: same }]);
  return { session, predictor };
}

async function feed(predictor: Predictor, rows: TelemetryRow[]) {
  for (const each of rows) predictor.push(each);
  return predictor.flush();
}

test("vectors due together run as one batch, and each record names its own asset, time and model", async () => {
  const { session, predictor } = plant();
  const { records } = await feed(predictor, [row("a", 1), row("b", 2), row("unbound", 3)]);
  expect(session.batches).toEqual([2]);
  expect(records).toEqual([
    {
      asset: "a",
      observedAtMs: 1_000,
      model: "pump-rul",
      version: 1,
      digest: session.digest,
      value: 10,
      outputs: { value: 10 },
      latencyUs: 7,
      quality: { expected: 1, received: 1, late: 0, missing: 0 },
    },
    expect.objectContaining({ asset: "b", value: 20 }),
  ]);
  expect(predictor.figures()).toMatchObject({ inferences: 2, errors: 0 });
});

test.each([
  ["a quick model's runs share a turn of the event loop, bounded", 10, 64],
  ["a slow model's runs have each a turn of their own", 3_000, 1],
])("%s; records stay in order", async (_, runUs, together) => {
  const session = fakeSession(testManifest({ maxBatch: 1 }), (f) => f[0]! * 10);
  session.lastRunUs = runUs;
  let underWay = 0;
  let most = 0;
  const run = session.run.bind(session);
  session.run = async (inputs) => {
    underWay++;
    most = Math.max(most, underWay);
    await new Promise((turned) => setImmediate(turned));
    underWay--;
    return run(inputs);
  };
  const predictor = unwrap(createPredictor(session, { tensors: fakeTensors, nowMs: () => NOW_MS }));
  predictor.bind("a", [{ channel: "x", conversion: same }]);
  const rows = Array.from({ length: 200 }, (_row, i) => row("a", i, i));
  const { records } = await feed(predictor, rows);
  expect(records.map(({ value }) => value)).toEqual(rows.map((_row, i) => i * 10));
  expect(new Set(records.map(({ latencyUs }) => latencyUs))).toEqual(new Set([runUs]));
  expect(most).toBe(together);
});

test("no batch is larger than the manifest allows", async () => {
  const { session, predictor } = plant({ maxBatch: 3 });
  const rows = Array.from({ length: 8 }, (_, i) => row("a", i, 1_000 + i));
  const { records } = await feed(predictor, rows);
  expect(session.batches).toEqual([3, 3, 2]);
  expect(records.map(({ value }) => value)).toEqual(rows.map(({ values }) => values["x"]! * 10));
});

test("rows that complete no window give no inference: success needs rows", async () => {
  const { session, predictor } = plant({ window: { kind: "count", length: 4, hop: 1, minRows: 4 } });
  await feed(predictor, [row("a", 1, 1), row("a", 2, 2), row("a", 3, 3)]);
  expect(session.batches).toEqual([]);
  expect(predictor.figures()).toMatchObject({ inferences: 0, p99LatencyUs: 0 });
});

test("a value is converted to the model's unit", async () => {
  const { predictor } = plant();
  predictor.bind("inch", [{ channel: "speed", conversion: { scale: 25.4, offset: 0, same: false } }]);
  predictor.push({ asset: "inch", observedAtMs: 1, values: { speed: 2 } });
  expect((await predictor.flush()).records[0]).toMatchObject({ asset: "inch", value: 508 });
});

test("one vector the model cannot take does not cost the others of its batch", async () => {
  const { session, predictor } = plant({}, (f) => {
    if (f[0] === 2) throw new Error("no");
    return f[0]!;
  });
  const { records } = await feed(predictor, [row("a", 1), row("b", 2), row("a", 3, 2_000)]);
  expect(records.map(({ value, error }) => value ?? error)).toEqual([1, "INFERENCE_FAILED", 3]);
  expect(session.batches).toEqual([3, 1, 1, 1]);
  expect(predictor.figures()).toMatchObject({ inferences: 2, errors: 1 });
});

test("an output that is no number is an error with its code and without a value", async () => {
  const { predictor } = plant();
  const { records } = await feed(predictor, [row("a", null)]);
  expect(records[0]).toMatchObject({ error: "OUTPUT_NOT_FINITE" });
  expect(records[0]).not.toHaveProperty("value");
});

const alert = { direction: "above", threshold: 100, k: 2, n: 3 } as const;

test("an alert is raised once, explained, and cleared once", async () => {
  const reference = { features: { "x.last": { median: 1, std: 1 } } };
  const { predictor } = plant({ alert }, undefined, { reference });
  const given = await feed(
    predictor,
    [1, 20, 20, 20, 1, 1, 1].map((x, i) => row("a", x, i)),
  );
  expect(given.records.map((record) => record.alert)).toEqual([false, false, true, true, true, false, false]);
  expect(given.events.map(({ code, atMs }) => [code, atMs])).toEqual([
    ["ALERT_RAISED", 2],
    ["ALERT_CLEARED", 5],
  ]);
  expect(given.records[2]!.explanation).toEqual([{ feature: "x.last", delta: 190 }]);
  expect(given.events[0]).toMatchObject({ severity: "warning", asset: "a", model: "pump-rul" });
  expect(given.events[0]!.text).toContain("x.last");
  expect(predictor.figures()).toMatchObject({ alerts: 1, inferences: 7 });
});

test("an alert does not clear because the model stopped answering", async () => {
  const { predictor } = plant({ alert });
  const given = await feed(
    predictor,
    [20, 20, null, null, null, null].map((x, i) => row("a", x, i)),
  );
  expect(given.records.at(-1)).toMatchObject({ error: "OUTPUT_NOT_FINITE", alert: true });
  expect(given.events).toHaveLength(1);
});

test("explanations are rare while nothing alerts, and are not counted as inferences", async () => {
  const reference = { features: { "x.last": { median: 1, std: 1 } } };
  const { session, predictor } = plant({}, undefined, { assets: ["a"], reference });
  const { records } = await feed(
    predictor,
    Array.from({ length: 250 }, (_, i) => row("a", 5, i)),
  );
  expect(records.filter((record) => record.explanation !== undefined)).toHaveLength(3);
  expect(predictor.figures().inferences).toBe(250);
  expect(session.batches.filter((size) => size === 1)).toHaveLength(3);
});

test("a quiet predictor only predicts", async () => {
  const { predictor } = plant({ alert }, undefined, { quiet: true });
  const given = await feed(
    predictor,
    [20, 20, 20].map((x, i) => row("a", x, i)),
  );
  expect(given.events).toEqual([]);
  expect(given.records[2]).not.toHaveProperty("alert");
});

test("what a model remembers of an asset survives a restart", async () => {
  const window = { kind: "count", length: 3, hop: 1, minRows: 3 } as const;
  const features: Manifest["features"] = [{ name: "x.mean", function: "mean", channel: "x" }];
  const before = plant({ window, features }).predictor;
  await feed(before, [row("a", 1, 1), row("a", 2, 2)]);
  const saved = JSON.parse(JSON.stringify(before.memoryOf("a")));
  const after = plant({ window, features }).predictor;
  unwrap(after.recall("a", saved));
  expect((await feed(after, [row("a", 3, 3)])).records[0]).toMatchObject({ value: 20 });
});

test("a version that takes over a standing alert neither repeats it nor clears it before it has seen n outputs", async () => {
  const { predictor } = plant({ alert });
  predictor.inheritAlert("a", true);
  const given = await feed(
    predictor,
    [20, 1, 1, 1].map((x, i) => row("a", x, i)),
  );
  expect(given.records.map((record) => record.alert)).toEqual([true, true, false, false]);
  expect(given.events.map(({ code }) => code)).toEqual(["ALERT_CLEARED"]);
});
