import { unwrap } from "@bellwether/protocol/result.ts";
import { describe, expect, test } from "vitest";
import { type FeatureOptions, planFeatures } from "./features.ts";

const NONE = Number.NaN;

/** Assets of a few rows each, a row a minute, that failed at these rows. */
function history(assets: { failures: number[]; channels: Record<string, number[]> }[]) {
  const names = Object.keys(assets[0]!.channels);
  return {
    channels: names.map((channel) => ({ channel, unit: "1" })),
    target: undefined,
    sources: [],
    assets: assets.map(({ failures, channels }, i) => ({
      asset: `p${i}`,
      timesMs: Float64Array.from(channels[names[0]!]!, (_, row) => row * 60_000),
      channels: names.map((name) => Float64Array.from(channels[name]!)),
      target: undefined,
      failuresMs: Float64Array.from(failures, (row) => row * 60_000),
    })),
  };
}
const plan = (assets: Parameters<typeof history>[0], options: FeatureOptions = {}, learnt = ["p0"]) =>
  planFeatures("h", history(assets), options, new Set(learnt));

describe("channels", () => {
  test("that never change in what is learnt from are dropped, and named", () => {
    const { manifest, sources, notes } = unwrap(
      plan([
        { failures: [2], channels: { still: [1, 1, NONE], a: [1, 2, 3] } },
        { failures: [2], channels: { still: [7, 8, 9], a: [1, 2, 3] } },
      ]),
    );
    expect(manifest.channels).toEqual([{ channel: "a", unit: "1" }]);
    expect(sources).toEqual([1]);
    expect(notes[0]).toContain("still");
  });

  test("may be chosen; an unknown one, or none left, is refused", () => {
    const assets = [{ failures: [2], channels: { still: [1, 1, 1], a: [1, 2, 3], b: [3, 2, 1] } }];
    expect(unwrap(plan(assets, { channels: ["b"] })).sources).toEqual([2]);
    expect(plan(assets, { channels: ["c"] })).toMatchObject({ error: { code: "NOT_FOUND" } });
    expect(plan(assets, { channels: ["still"] })).toMatchObject({ error: { code: "TRAINING_CHANNELS_UNUSABLE" } });
  });
});

describe("what an asset's youth tells", () => {
  const lives = (hours: number[]) => [{ failures: [2], channels: { hours, a: [1, 2, 3, 4, 5, 6] } }];

  test("is used where no asset was ever repaired", () => {
    const { manifest } = unwrap(plan([{ failures: [5], channels: { a: [1, 2, 3, 4, 5, 6] } }]));
    expect(manifest.features.map(({ name }) => name)).toEqual(["a.mean", "a.slope", "a.mean_vs_baseline", "age_rows"]);
    expect(manifest.restart).toBeUndefined();
  });

  test.each<[string, number[], FeatureOptions, object | undefined]>([
    ["a counter that falls at each repair shows it", [1, 2, 3, 0, 1, 2], {}, { counter: "hours" }],
    ["a counter with missing values as well", [1, NONE, 3, NONE, 0, 1], {}, { counter: "hours" }],
    ["a rule that is given", [1, 1, 1, 1, 1, 2], { restart: { gapMs: 5_000 } }, { gapMs: 5_000 }],
    ["a channel that falls within a life is no counter", [1, 2, 1, 0, 1, 2], {}, undefined],
    ["a channel that goes on rising is no counter", [1, 2, 3, 4, 5, 6], {}, undefined],
  ])("%s", (_, hours, options, restart) => {
    const { manifest, notes } = unwrap(plan(lives(hours), options));
    expect(manifest.restart).toEqual(restart);
    const remembers = manifest.features.some(({ name }) => name === "age_rows");
    expect(remembers).toBe(restart !== undefined);
    expect(manifest.baseline !== undefined).toBe(restart !== undefined);
    expect(notes.some((note) => note.includes("left out"))).toBe(restart === undefined);
  });
});

test("features that do not exist are refused by name", () => {
  const refused = plan([{ failures: [2], channels: { a: [1, 2, 3] } }], { functions: ["meen"] });
  expect(refused).toMatchObject({ error: { code: "FEATURE_FUNCTION_UNKNOWN" } });
});
