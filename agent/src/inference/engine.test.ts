import type { ChannelBirth } from "@bellwether/protocol/messages/device.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { fakeSession, fakeTensors } from "../../../test/kit/inference.ts";
import { testManifest } from "../../../test/kit/models.ts";
import type { ModelBindingConfig } from "../config/config.ts";
import { Engine, isSavedMemory } from "./engine.ts";

const x = (unit = "mm/s"): ChannelBirth => ({ channel: "x", unit });
const row = (asset: string, value: number, observedAtMs: number): TelemetryRow => ({
  asset,
  observedAtMs,
  values: { x: value },
});

function engineOf(channels: Record<string, ChannelBirth[]>, bindings: ModelBindingConfig[] = []) {
  let clock = 0;
  return new Engine({
    channels: new Map(Object.entries(channels)),
    bindings,
    tensors: fakeTensors,
    nowMs: () => (clock += 1),
  });
}

const meanOf3: Partial<Manifest> = {
  window: { kind: "count", length: 3, hop: 1, minRows: 3 },
  features: [{ name: "x.mean", function: "mean", channel: "x" }],
};
const version = (n: number, changes: Partial<Manifest> = {}, factor = n) =>
  fakeSession(testManifest({ version: n, ...changes }), (f) => f[0]! * factor);

test("a model runs on every asset that has its channels, converted to its units", async () => {
  const engine = engineOf({
    a: [x()],
    inches: [x("[in_i]/s")],
    deaf: [{ channel: "y", unit: "mm/s" }],
    hot: [x("Cel")],
  });
  unwrap(engine.serve([{ session: version(1) }]));
  const { inference } = await engine.process(["a", "inches", "deaf", "hot"].map((asset) => row(asset, 2, 1)));
  expect(inference.map(({ asset, value }) => [asset, value])).toEqual([
    ["a", 2],
    ["inches", expect.closeTo(50.8, 9)],
  ]);
  expect(engine.figures()[0]!.assets).toEqual(["a", "inches"]);
});

test("a binding limits the assets and renames the channels", async () => {
  const bindings = [{ model: "pump-rul", assets: ["b"], channels: { x: "vib" } }];
  const engine = engineOf({ a: [{ channel: "vib", unit: "mm/s" }], b: [{ channel: "vib", unit: "mm/s" }] }, bindings);
  unwrap(engine.serve([{ session: version(1) }]));
  const rows = ["a", "b"].map((asset) => ({ asset, observedAtMs: 1, values: { vib: 7 } }));
  expect((await engine.process(rows)).inference).toMatchObject([{ asset: "b", value: 7 }]);
});

test("no rows, no inference: the figures of an idle model say so", async () => {
  const engine = engineOf({ a: [x()] });
  unwrap(engine.serve([{ session: version(1) }]));
  await engine.process([]);
  await engine.process([row("unknown", 1, 1)]);
  expect(engine.figures()).toMatchObject([{ inferences: 0, errors: 0, p99LatencyUs: 0 }]);
  expect(engine.figures()[0]).not.toHaveProperty("lastAtMs");
});

test("a new version takes over windows, its predecessor answers beside it, and a roll-back is instant", async () => {
  const engine = engineOf({ a: [x()] });
  const [v1, v2] = [version(1, meanOf3), version(2, meanOf3)];
  unwrap(engine.serve([{ session: v1 }]));
  await engine.process([row("a", 1, 1), row("a", 2, 2)]);

  unwrap(engine.serve([{ session: v2, predecessor: v1 }]));
  const during = await engine.process([row("a", 3, 3)]);
  expect(during.inference).toMatchObject([{ version: 2, value: 4, predecessor: { digest: v1.digest, value: 2 } }]);
  expect(engine.figures()).toMatchObject([{ version: 2, inferences: 1 }]);

  unwrap(engine.serve([{ session: v1 }]));
  const after = await engine.process([row("a", 4, 4)]);
  expect(after.inference).toMatchObject([{ version: 1, value: 3 }]);
  expect(after.inference[0]).not.toHaveProperty("predecessor");
  // What v1 did before and beside v2 is no evidence for it now.
  expect(engine.figures()).toMatchObject([{ version: 1, inferences: 1 }]);
});

test("confirmation keeps the counts of the version that was confirmed", async () => {
  const engine = engineOf({ a: [x()] });
  const [v1, v2] = [version(1), version(2)];
  unwrap(engine.serve([{ session: v2, predecessor: v1 }]));
  await engine.process([row("a", 1, 1)]);
  unwrap(engine.serve([{ session: v2 }]));
  await engine.process([row("a", 1, 2)]);
  expect(engine.figures()).toMatchObject([{ version: 2, inferences: 2 }]);
  expect(engine.sessions()).toEqual([v2]);
});

test("a version of another form begins with an empty window", async () => {
  const engine = engineOf({ a: [x()] });
  unwrap(engine.serve([{ session: version(1, meanOf3) }]));
  await engine.process([row("a", 1, 1), row("a", 2, 2)]);
  const longer = { ...meanOf3, window: { kind: "count", length: 4, hop: 1, minRows: 3 } } as const;
  unwrap(engine.serve([{ session: version(2, longer) }]));
  expect((await engine.process([row("a", 3, 3)])).inference).toEqual([]);
});

test("memories go through JSON into the next life of the process, only where the form is the same", async () => {
  const engine = engineOf({ a: [x()] });
  unwrap(engine.serve([{ session: version(1, meanOf3) }]));
  await engine.process([row("a", 1, 1), row("a", 2, 2)]);
  const saved = [...engine.memories()].map((memory) => JSON.parse(JSON.stringify(memory)));
  expect(saved).toMatchObject([{ model: "pump-rul", asset: "a", role: "serving" }]);
  expect(isSavedMemory(saved[0].saved)).toBe(true);
  expect(isSavedMemory({ v: 1 })).toBe(false);

  const next = engineOf({ a: [x()] });
  next.remember("pump-rul", "a", saved[0].saved);
  unwrap(next.serve([{ session: version(1, meanOf3) }]));
  expect((await next.process([row("a", 3, 3)])).inference).toMatchObject([{ value: 2 }]);
});

const relative: Partial<Manifest> = {
  features: [{ name: "x.last_vs_baseline", function: "last", channel: "x", relativeToBaseline: true }],
  baseline: { vectors: 2 },
  restart: { gapMs: 1_000 },
  tensors: [
    {
      input: "in",
      type: "float32",
      shape: ["batch", 1],
      source: { kind: "features", features: ["x.last_vs_baseline"] },
    },
  ],
};

test.each(["before the model serves", "while it serves"])(
  "a device takes up the frozen baseline of the one it replaces (%s), once, and for the same form alone",
  async (when) => {
    const old = engineOf({ a: [x()] });
    unwrap(old.serve([{ session: version(1, relative) }]));
    await old.process([row("a", 10, 1), row("a", 12, 2)]);
    const [told] = [...old.baselines()].map((report) => JSON.parse(JSON.stringify(report)));
    const carried = { v: 1 as const, model: "pump-rul", asset: "a", from: "gw-old", baseline: told.baseline };

    const next = engineOf({ a: [x()] });
    const serve = () => unwrap(next.serve([{ session: version(1, relative) }]));
    if (when === "while it serves") {
      serve();
      await next.process([row("a", 100, 5_000)]);
    }
    expect(next.adopt({ ...carried, baseline: { ...told.baseline, form: "0".repeat(64) } })).toBe(
      when === "before the model serves",
    );
    expect(next.adopt(carried)).toBe(true);
    if (when === "before the model serves") serve();
    // Years later, and worn: held against what the machine was when it was new, whatever the gap before the first row.
    expect((await next.process([row("a", 111, 5_001)])).inference).toMatchObject([{ value: 100 }]);
    expect([...next.baselines()]).toEqual([{ ...told, adopted: "gw-old" }]);
    expect((await next.process([row("a", 112, 5_002)])).inference).toMatchObject([{ value: 101 }]);
  },
);

test("two models run on the same rows", async () => {
  const engine = engineOf({ a: [x()] });
  const other = fakeSession(testManifest({ model: "pump-anomaly" }), () => 0.5);
  unwrap(engine.serve([{ session: version(1) }, { session: other }]));
  const { inference } = await engine.process([row("a", 3, 1)]);
  expect(inference.map(({ model, value }) => [model, value])).toEqual([
    ["pump-rul", 3],
    ["pump-anomaly", 0.5],
  ]);
});
