import { digestOf } from "@bellwether/protocol/package/check.ts";
import { parseReference } from "@bellwether/protocol/reference/profile.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { pumpHistory } from "../../../test/kit/drift.ts";
import { errorRatio } from "./bootstrap.ts";
import type { HistorySnapshot } from "./history/snapshot.ts";
import type { TrainingRequest } from "./order.ts";
import { type RetrainOrder, retrain } from "./retrain.ts";
import { trainModel } from "./train.ts";

const BASE = `sha256:${"1".repeat(64)}`;
const FLEET = `sha256:${"2".repeat(64)}`;
const request: TrainingRequest = {
  history: "pumps",
  model: "pump-rul",
  target: { kind: "rul", cap: 100 },
  parameters: { trees: 200, learningRate: 0.1 },
  seed: 1,
  features: { channels: ["speed", "heat", "vibration"], age: false, relative: [] },
};
const base = pumpHistory(10, 240);
const champion = unwrap(trainModel({ run: "t-1", request, snapshot: BASE }, base, () => {}));

/** The same kind of pumps under a cohort's own names, changed in some way. */
function cohortOf(change: (column: number, value: number, row: number) => number, assets = 8): HistorySnapshot {
  const made = pumpHistory(assets, 240, 77);
  return {
    ...made,
    assets: made.assets.map((asset, i) => ({
      ...asset,
      asset: `line-${i + 1}`,
      channels: asset.channels.map((column, c) => column.map((value, row) => change(c, value, row))),
    })),
  };
}
const order = (change: Partial<RetrainOrder> = {}): RetrainOrder => ({
  id: "rt-1",
  request,
  base: BASE,
  fleet: FLEET,
  championModel: digestOf(champion.package.files.model),
  champion: BASE,
  holdoutAssets: ["line-7", "line-8"],
  sinceMs: null,
  cohorts: {},
  ...change,
});
const run = (fleet: HistorySnapshot, change: Partial<RetrainOrder> = {}) =>
  retrain(order(change), base, fleet, () => {});
// Columns: speed, heat, vibration, hours.
const offset = cohortOf((c, value) => (c === 2 ? value + 2.5 : value));

test("a cohort whose sensor moved: the champion fails there, a candidate surely does better, and its package says what it came from", () => {
  const { result, package: built } = unwrap(run(offset));
  expect(result.holdoutAssets).toEqual(["line-7", "line-8"]);
  expect(result.assets).toEqual(["line-1", "line-2", "line-3", "line-4", "line-5", "line-6"]);
  const chosen = result.candidates.find(({ candidate }) => candidate === result.chosen)!;
  expect(chosen.upper).toBeLessThan(1);
  expect(chosen.rmse).toBeLessThan(0.6 * result.championRmse);
  expect(chosen.rmse).toBeLessThan(0.7 * result.meanRmse);
  expect(built!.manifest.lineage).toMatchObject({ snapshot: FLEET, run: "rt-1", seed: 1, parent: BASE });
  expect(unwrap(parseReference(built!.files.reference)).drift).toBeDefined();
  // A moved baseline mends a moved sensor entirely: nothing more complicated is shipped.
  expect(result.chosen).toBe("new-baseline");
  expect(unwrap(run(offset)).package!.files.model).toEqual(built!.files.model);
});

test("a gain that no moved baseline can mend is learnt", () => {
  const { result } = unwrap(run(cohortOf((c, value) => (c === 2 ? 0.5 * value + 3 : c === 1 ? 90 - value : value))));
  expect(result.chosen).not.toBeNull();
  expect(result.chosen).not.toBe("new-baseline");
});

test("a cohort that did not change: nothing wins, nothing is packaged, and the reason says how close it came", () => {
  const { result, package: built } = unwrap(run(cohortOf((_c, value) => value)));
  expect(result.chosen).toBeNull();
  expect(built).toBeUndefined();
  expect(result.reason).toContain("no candidate is surely better");
});

test("rows before the change, and windows that reach back over it, tell nothing of the candidates", () => {
  const half = cohortOf((c, value, row) => (c === 2 && row >= 120 ? value + 2.5 : value));
  const { result } = unwrap(run(half, { sinceMs: 120 * 60_000 }));
  // 120 rows after the change less a window of 15, on six assets.
  expect(result.rows).toBe(6 * (120 - 15));
});

test("a candidate that makes another cohort of the same assets worse does not win", () => {
  const mixed = cohortOf((c, value) => (c === 2 ? value + 2.5 : value));
  const fine = {
    ...base,
    assets: pumpHistory(3, 240, 99).assets.map((asset, i) => ({ ...asset, asset: `fine-${i}` })),
  };
  const both = { ...mixed, assets: [...mixed.assets, ...fine.assets] };
  const { result } = unwrap(run(both, { cohorts: { fine: fine.assets.map(({ asset }) => asset) } }));
  for (const { wins, worstCohort } of result.candidates) {
    expect(worstCohort!.cohort).toBe("fine");
    if (worstCohort!.ratio > 1.05) expect(wins).toBe(false);
  }
  expect(result.candidates.some(({ worstCohort, upper }) => worstCohort!.ratio > 1.05 && upper < 1)).toBe(true);
});

test("too few labelled assets, and a champion that is not what its history gives, are refused by code", () => {
  const few = { ...offset, assets: offset.assets.slice(0, 2) };
  expect(run(few)).toMatchObject({ ok: false, error: { code: "RETRAINING_ASSETS_TOO_FEW" } });
  expect(run(offset, { championModel: BASE })).toMatchObject({
    ok: false,
    error: { code: "RETRAINING_CHAMPION_DIFFERS" },
  });
});

test("the ratio's interval widens with fewer assets, however many rows they have", () => {
  const errors = (assets: number, rows: number) => {
    const groups = Int32Array.from({ length: assets * rows }, (_, i) => i % assets);
    const champion_ = Float64Array.from(groups, (group) => 1 + (group % 3));
    return {
      champion: champion_,
      candidate: champion_.map((error, i) => error * (0.2 + 0.3 * (groups[i]! % 4))),
      groups,
    };
  };
  const [few, many] = [errorRatio(errors(4, 400), 1), errorRatio(errors(40, 40), 1)];
  expect(few.upper - few.lower).toBeGreaterThan(1.5 * (many.upper - many.lower));
  expect(errorRatio(errors(4, 400), 1)).toEqual(few);
  expect(
    errorRatio({ champion: Float64Array.of(0), candidate: Float64Array.of(0), groups: Int32Array.of(0) }, 1).ratio,
  ).toBe(1);
});
