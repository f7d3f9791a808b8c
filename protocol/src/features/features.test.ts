import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FeatureSpec, WindowSpec } from "../package/manifest.ts";
import { unwrap } from "../result.ts";
import { AssetFeatures, bindChannels, readRow } from "./asset.ts";
import { FEATURE_FUNCTIONS } from "./catalogue.ts";
import { compileFeatures, type FeatureManifest, featureName } from "./program.ts";
import { vectorsOf } from "./vectors.ts";

const CHANNELS = ["a", "b", "c"].map((channel) => ({ channel, unit: "1" }));

/** Every function of the catalogue over every channel, plain and relative. */
function everyFeature(): FeatureSpec[] {
  return Object.entries(FEATURE_FUNCTIONS).flatMap(([name, { over, parameters }]) =>
    (over === "asset" ? [undefined] : CHANNELS.map(({ channel }) => channel)).flatMap((channel) =>
      [false, true].map((relativeToBaseline) => {
        const given = Object.entries(parameters).filter(([, { fallback }]) => fallback === undefined);
        const sample: Record<string, number> = { q: 0.9, alpha: 0.3, lo_hz: 0.001, hi_hz: 0.2 };
        const spec = {
          function: name,
          ...(channel === undefined ? {} : { channel }),
          ...(given.length === 0 ? {} : { parameters: Object.fromEntries(given.map(([p]) => [p, sample[p]!])) }),
          ...(relativeToBaseline ? { relativeToBaseline } : {}),
        };
        return { ...spec, name: featureName(spec) };
      }),
    ),
  );
}

const windowSpec: fc.Arbitrary<WindowSpec> = fc.oneof(
  fc
    .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 40 }))
    .map(([length, hop, minRows]) => ({ kind: "count" as const, length, hop, minRows: Math.min(minRows, length) })),
  fc
    .tuple(fc.integer({ min: 1, max: 30_000 }), fc.integer({ min: 1, max: 9_000 }), fc.integer({ min: 1, max: 5 }))
    .map(([lengthMs, hopMs, minRows]) => ({ kind: "time" as const, lengthMs, hopMs, minRows })),
);

const cell = fc.oneof(
  { weight: 8, arbitrary: fc.double({ min: -1e6, max: 1e6, noNaN: true }) },
  { weight: 1, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.constant(0) },
);
const history = fc.array(
  fc.record({
    asset: fc.constantFrom("p", "q"),
    stepMs: fc.integer({ min: -50, max: 4_000 }),
    a: cell,
    b: cell,
    c: cell,
  }),
  { maxLength: 120 },
);

function rowsOf(steps: { asset: string; stepMs: number; a: number | null; b: number | null; c: number | null }[]) {
  let observedAtMs = 1_000_000;
  return steps.map(({ asset, stepMs, ...values }) => {
    observedAtMs += stepMs;
    return { asset, observedAtMs, values };
  });
}

function manifestOf(window: WindowSpec, features = everyFeature()): FeatureManifest {
  return { channels: CHANNELS, window, features, baseline: { vectors: 4 } };
}

const row = (...values: number[]) => Float64Array.from(values);
const bits = (vector: Float64Array) => Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString("hex");

test("streamed with snapshots and restarts of the process, or as a batch: the same bits", () => {
  fc.assert(
    fc.property(windowSpec, history, fc.integer({ min: 1, max: 17 }), (window, steps, killEvery) => {
      const manifest = manifestOf(window);
      const rows = rowsOf(steps);
      const batch = unwrap(vectorsOf(manifest, rows, { windows: true }));
      // Assets interleave in the stream; in the batch they may stand one after the other.
      const sorted = unwrap(
        vectorsOf(
          manifest,
          [...rows].sort((x, y) => x.asset.localeCompare(y.asset)),
        ),
      );
      expect(new Set(sorted.map((v) => `${v.asset} ${bits(v.features)}`))).toEqual(
        new Set(batch.map((v) => `${v.asset} ${bits(v.features)}`)),
      );
      const program = unwrap(compileFeatures(manifest));
      const assets = new Map<string, AssetFeatures>();
      const sources = unwrap(bindChannels(manifest.channels, new Map(CHANNELS.map((c) => [c.channel, c.unit]))));
      const streamed: { asset: string; features: string; quality: unknown; window: string[] }[] = [];
      const scratch = new Float64Array(3);
      rows.forEach((item, i) => {
        let asset = assets.get(item.asset) ?? new AssetFeatures(program);
        assets.set(item.asset, asset);
        if (i % killEvery === 0) {
          const saved = JSON.parse(JSON.stringify(asset.snapshot()));
          asset = new AssetFeatures(unwrap(compileFeatures(manifest)));
          unwrap(asset.restore(saved));
          assets.set(item.asset, asset);
        }
        readRow(item, sources, scratch);
        const features = asset.push(item.observedAtMs, scratch);
        if (features === undefined) return;
        streamed.push({
          asset: item.asset,
          features: bits(features),
          quality: asset.quality(),
          window: asset.copyRows().map(bits),
        });
      });
      expect(streamed).toEqual(
        batch.map((v) => ({
          asset: v.asset,
          features: bits(v.features),
          quality: v.quality,
          window: v.window!.map(bits),
        })),
      );
    }),
    { numRuns: 150 },
  );
});

describe("the figures", () => {
  // Of [1, 4, 2, 8, 5, 7], worked out by hand.
  const expected: Record<string, number> = {
    last: 7,
    first: 1,
    mean: 4.5,
    std: 2.5,
    min: 1,
    max: 8,
    median: 4.5,
    quantile: 7.5,
    delta: 6,
    mean_abs_change: 3.2,
    rms: Math.sqrt(159 / 6),
    peak: 8,
    peak_to_peak: 7,
    crest_factor: 8 / Math.sqrt(159 / 6),
    shape_factor: Math.sqrt(159 / 6) / 4.5,
    impulse_factor: 8 / 4.5,
    count: 6,
    missing_fraction: 0,
    age_rows: 6,
    window_rows: 6,
  };
  const values = [1, 4, 2, 8, 5, 7];
  const spec: WindowSpec = { kind: "count", length: 10, hop: 1, minRows: 1 };
  const features = everyFeature().filter((f) => f.relativeToBaseline !== true && (f.channel ?? "a") === "a");
  const vectors = unwrap(
    vectorsOf(
      manifestOf(spec, features),
      values.map((a, i) => ({ asset: "p", observedAtMs: i * 60_000, values: { a } })),
    ),
  );
  const last = Object.fromEntries(features.map((f, i) => [f.function, vectors.at(-1)!.features[i]!]));

  test.each(Object.entries(expected))("%s", (name, figure) => {
    expect(last[name]).toBeCloseTo(figure, 12);
  });

  test("slope, moments and rates against their definitions", () => {
    const mean = 4.5;
    const xs = values.map((_, i) => i - 2.5);
    const slope = xs.reduce((s, x, i) => s + x * (values[i]! - mean), 0) / xs.reduce((s, x) => s + x * x, 0);
    expect(last["slope"]).toBeCloseTo(slope, 12);
    expect(last["slope_per_hour"]).toBeCloseTo(slope * 60, 9);
    const m = (p: number) => values.reduce((s, v) => s + (v - mean) ** p, 0) / 6;
    expect(last["skewness"]).toBeCloseTo(m(3) / m(2) ** 1.5, 12);
    expect(last["kurtosis"]).toBeCloseTo(m(4) / m(2) ** 2 - 3, 12);
    expect(last["mean_crossing_rate"]).toBeCloseTo(1 / 5, 12);
    expect(last["ewma"]).toBeCloseTo(
      values.slice(1).reduce((e, v) => e + 0.3 * (v - e), 1),
      12,
    );
    expect(last["age_hours"]).toBeCloseTo(5 / 60, 12);
  });

  test("a spectrum finds a sine: its power in its band, its frequency as centroid", () => {
    const n = 256;
    const rateHz = 1_000;
    const amplitude = 3;
    const list: FeatureSpec[] = [
      { name: "in", function: "band_power", channel: "a", parameters: { lo_hz: 110, hi_hz: 140, rate_hz: rateHz } },
      { name: "out", function: "band_power", channel: "a", parameters: { lo_hz: 200, hi_hz: 500 } },
      { name: "centroid", function: "spectral_centroid", channel: "a" },
      { name: "entropy", function: "spectral_entropy", channel: "a" },
    ];
    const rows = Array.from({ length: n }, (_, i) => ({
      asset: "p",
      observedAtMs: i,
      values: { a: 20 + amplitude * Math.sin((2 * Math.PI * 125 * i) / rateHz) },
    }));
    const spec256: WindowSpec = { kind: "count", length: n, hop: 1, minRows: n };
    const [inside, outside, centroid, entropy] = unwrap(vectorsOf(manifestOf(spec256, list), rows))[0]!.features;
    expect(inside).toBeCloseTo(amplitude ** 2 / 2, 3);
    expect(outside).toBeLessThan(1e-6);
    expect(centroid).toBeCloseTo(125, 1);
    expect(entropy).toBeLessThan(0.3);
  });

  test("a resting machine and a silent channel give numbers a model can take", () => {
    const rows = Array.from({ length: 9 }, (_, i) => ({ asset: "p", observedAtMs: i, values: { a: 0, b: null } }));
    const all = everyFeature().filter((f) => f.relativeToBaseline !== true);
    const vector = unwrap(vectorsOf(manifestOf(spec, all), rows)).at(-1)!.features;
    for (const [i, feature] of all.entries()) {
      if (feature.channel === "a") expect(vector[i], feature.name).not.toBeNaN();
      else if (feature.function === "count") expect(vector[i]).toBe(0);
      else if (feature.function === "missing_fraction") expect(vector[i]).toBe(1);
      else if (feature.channel === "b") expect(vector[i], feature.name).toBeNaN();
    }
  });
});

describe("windows", () => {
  const one: FeatureSpec[] = [{ name: "x", function: "age_rows" }];

  test("by count: the first at minRows, then every hop", () => {
    const spec: WindowSpec = { kind: "count", length: 5, hop: 3, minRows: 2 };
    const rows = Array.from({ length: 12 }, (_, i) => ({ asset: "p", observedAtMs: i, values: { a: i, b: i, c: i } }));
    const vectors = unwrap(vectorsOf(manifestOf(spec, one), rows));
    expect(vectors.map((v) => v.row)).toEqual([1, 4, 7, 10]);
    expect(vectors.map((v) => v.quality.received)).toEqual([2, 5, 5, 5]);
    expect(vectors[0]!.quality.expected).toBe(5);
  });

  test("by time: open at the old end, due when another hop of source time begins", () => {
    const spec: WindowSpec = { kind: "time", lengthMs: 300, hopMs: 200, minRows: 1 };
    const rows = [0, 100, 200, 300, 390, 400, 1_000].map((t) => ({ asset: "p", observedAtMs: t, values: { a: t } }));
    const vectors = unwrap(vectorsOf(manifestOf(spec, one), rows));
    expect(vectors.map((v) => v.observedAtMs)).toEqual([0, 200, 400, 1_000]);
    expect(vectors.map((v) => v.quality.received)).toEqual([1, 3, 4, 1]);
    expect(vectors.at(-2)!.quality).toEqual({ expected: 4, received: 4, late: 0, missing: 4 });
  });

  test("late rows are counted, not used", () => {
    const asset = new AssetFeatures(
      unwrap(compileFeatures(manifestOf({ kind: "count", length: 3, hop: 1, minRows: 1 }))),
    );
    asset.push(10, row(1, 1, 1));
    expect(asset.push(5, row(9, 9, 9))).toBeUndefined();
    asset.push(20, row(2, 2, Number.NaN));
    expect(asset.quality()).toEqual({ expected: 3, received: 2, late: 1, missing: 1 });
    asset.push(20, row(3, 3, 3));
    expect(asset.quality().late).toBe(0);
    expect(asset.copyRows().map((r) => r[0])).toEqual([1, 2, 3]);
  });

  test("a counter that falls, or a long silence, makes the asset new: window, age, baseline", () => {
    const list: FeatureSpec[] = [
      { name: "age", function: "age_rows" },
      { name: "rel", function: "last", channel: "a", relativeToBaseline: true },
    ];
    const manifest: FeatureManifest = {
      ...manifestOf({ kind: "count", length: 4, hop: 1, minRows: 1 }, list),
      baseline: { vectors: 2 },
      restart: { counter: "b", gapMs: 1_000 },
    };
    const steps = [
      { t: 0, a: 10, b: 0 },
      { t: 10, a: 20, b: 1 },
      { t: 20, a: 18, b: 2 },
      { t: 30, a: 50, b: 0 },
      { t: 40, a: 50, b: null },
      { t: 50, a: 53, b: 1 },
      { t: 60, a: 99, b: 1 },
      { t: 1_061, a: 7, b: 1 },
    ];
    const rows = steps.map(({ t, a, b }) => ({ asset: "p", observedAtMs: t, values: { a, b, c: 0 } }));
    const vectors = unwrap(vectorsOf(manifest, rows));
    expect(vectors.map((v) => [...v.features])).toEqual([
      [1, 0],
      [2, 0],
      [3, 3],
      [1, 0],
      [2, 0],
      [3, 3],
      [4, 49],
      [1, 0],
    ]);
  });
});

test("what cannot be computed is refused with its name", () => {
  const window: WindowSpec = { kind: "count", length: 4, hop: 1, minRows: 1 };
  const codeOf = (features: FeatureSpec[], change: Partial<FeatureManifest> = {}) => {
    const program = compileFeatures({ ...manifestOf(window, features), ...change });
    return program.ok ? "ok" : `${program.error.code}: ${program.error.message}`;
  };
  expect(codeOf([{ name: "x", function: "meen", channel: "a" }])).toMatch(
    /FEATURE_FUNCTION_UNKNOWN.*did you mean "mean"/,
  );
  expect(codeOf([{ name: "x", function: "constructor", channel: "a" }])).toMatch(/FEATURE_FUNCTION_UNKNOWN/);
  expect(codeOf([{ name: "x", function: "mean", channel: "z" }])).toMatch(/FEATURE_CHANNEL_UNKNOWN/);
  expect(codeOf([{ name: "x", function: "mean" }])).toMatch(/FEATURE_CHANNEL_MISSING/);
  expect(codeOf([{ name: "x", function: "quantile", channel: "a" }])).toMatch(/FEATURE_PARAMETER_WRONG/);
  expect(codeOf([{ name: "x", function: "quantile", channel: "a", parameters: { q: 2 } }])).toMatch(/PARAMETER_WRONG/);
  expect(codeOf([{ name: "x", function: "mean", channel: "a", parameters: { q: 1 } }])).toMatch(/PARAMETER_WRONG/);
  expect(codeOf([{ name: "x", function: "band_power", channel: "a", parameters: { lo_hz: 5, hi_hz: 5 } }])).toMatch(
    /PARAMETER_WRONG/,
  );
  const mean: FeatureSpec = { name: "x", function: "mean", channel: "a" };
  expect(codeOf([mean, mean])).toMatch(/FEATURE_NAME_TWICE/);
  const { baseline: _, ...plain } = manifestOf(window, [{ ...mean, relativeToBaseline: true }]);
  const program = compileFeatures(plain);
  expect(program.ok ? "ok" : program.error.code).toBe("FEATURE_BASELINE_MISSING");
  expect(codeOf([mean], { window: { kind: "count", length: 2, hop: 1, minRows: 3 } })).toMatch(/WINDOW_WRONG/);
  expect(codeOf([mean], { restart: { counter: "z" } })).toMatch(/FEATURE_CHANNEL_UNKNOWN/);
});

test("a snapshot of another shape is refused and the asset begins anew", () => {
  const small = new AssetFeatures(
    unwrap(compileFeatures(manifestOf({ kind: "count", length: 4, hop: 1, minRows: 1 }))),
  );
  small.push(1, row(1, 2, 3));
  const saved = small.snapshot();
  const two: FeatureManifest = {
    ...manifestOf({ kind: "count", length: 4, hop: 1, minRows: 1 }, []),
    channels: CHANNELS.slice(0, 2),
  };
  const other = new AssetFeatures(unwrap(compileFeatures(two)));
  other.push(1, row(1, 2));
  const restored = other.restore(saved);
  expect(restored.ok ? "ok" : restored.error.code).toBe("FEATURE_STATE_WRONG");
  expect(other.window.rows).toBe(0);
  const same = new AssetFeatures(small.program);
  for (const broken of [null, 7, {}, { ...saved, v: 2 }, { ...saved, window: { ...saved.window, cells: 5 } }]) {
    const result = same.restore(broken);
    expect(result.ok ? "ok" : result.error.code).toBe("FEATURE_STATE_WRONG");
  }
  expect(same.restore(saved).ok).toBe(true);
});

test("one row from the far future does not silence an asset for ever", () => {
  const asset = new AssetFeatures(
    unwrap(compileFeatures(manifestOf({ kind: "count", length: 4, hop: 1, minRows: 1 }))),
  );
  asset.push(1e15, row(1, 1, 1));
  let vectors = 0;
  for (let t = 0; t < 1_100; t += 1) if (asset.push(t, row(2, 2, 2)) !== undefined) vectors += 1;
  expect(vectors).toBe(100);
});
