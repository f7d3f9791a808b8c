import { expect, test } from "vitest";
import { PUMP_NAMES, pumpLife, pumpReference, twelvePumps } from "../../../test/kit/drift.ts";
import type { DriftSketch } from "../messages/drift.ts";
import { seededRandom } from "../random.ts";
import { parseReference, referenceBytes, referenceProfile } from "../reference/profile.ts";
import { unwrap } from "../result.ts";
import { calibrateDrift } from "./calibration.ts";
import { alarmLimit } from "./charts.ts";
import { WindowFold } from "./fold.ts";
import { emptySketch, mergeSketches } from "./merge.ts";

const reference = pumpReference();

test("a reference has frozen bins of equal mass per regime, cells per regime and health, and leaves out what is constant", () => {
  expect(reference.features).toEqual(["speed", "heat", "vibration"]);
  expect(reference.regimes.features).toEqual(["speed"]);
  expect(reference.regimes.centres.map(([speed]) => Math.round(speed! / 100))).toEqual([10, 20]);
  expect(reference.cells).toHaveLength(2 * 4);
  for (const bins of reference.bins) {
    const { edges, counts } = bins[1]!;
    expect(edges).toHaveLength(31);
    const n = counts.reduce((sum, count) => sum + count, 0);
    for (const count of counts) expect(Math.abs(count - n / 32)).toBeLessThanOrEqual(1);
  }
  // Worn pumps (low score) are hotter than new ones in the same regime: wear is part of what is expected.
  expect(reference.cells[0]!.mean[1]! - reference.cells[3]!.mean[1]!).toBeGreaterThan(4);
});

test("the same lives and seed give the same reference; it comes back from its file", () => {
  expect(pumpReference()).toEqual(reference);
  const profile = referenceProfile(PUMP_NAMES, [], [], reference);
  expect(unwrap(parseReference(referenceBytes(profile))).drift).toEqual(reference);
});

test("fewer allowed false alarms and more assets on a device raise the limit", () => {
  const usual = alarmLimit(reference, 1);
  expect(alarmLimit(reference, 20)).toBeGreaterThan(usual);
  expect(alarmLimit(reference, 1, 0.01)).toBeGreaterThan(usual);
  expect(alarmLimit(reference, 1, 4)).toBeLessThan(usual);
});

test("a history too short for windows in a row, or without anything that varies, gives no reference", () => {
  const options = { names: PUMP_NAMES, rowMs: 1_000, channels: [], seed: 1 };
  expect(calibrateDrift([pumpLife(seededRandom(1, 0), 12)], options)).toBeUndefined();
  expect(calibrateDrift([], options)).toBeUndefined();
  expect(
    calibrateDrift([{ vectors: Array.from({ length: 400 }, () => [1]), scores: new Float64Array(400) }], {
      ...options,
      names: ["f"],
    }),
  ).toBeUndefined();
});

test("a NaN, an edge that falls, a list too short: refused with what was expected", () => {
  const code = (change: object) => {
    const drift = { ...structuredClone(reference), ...change };
    const parsed = parseReference(Buffer.from(JSON.stringify({ v: 1, features: {}, drift })));
    return parsed.ok ? undefined : parsed.error.code;
  };
  expect(code({})).toBeUndefined();
  expect(code({ mean: [Number.NaN] })).toBe("INVALID_SHAPE");
  expect(code({ rowMs: 0 })).toBe("INVALID_SHAPE");
  expect(code({ healthEdges: [2, 1] })).toBe("REFERENCE_WRONG");
  expect(code({ mean: reference.mean.slice(1) })).toBe("REFERENCE_WRONG");
  expect(code({ cells: reference.cells.slice(1) })).toBe("REFERENCE_WRONG");
  expect(code({ score: reference.score.slice(1) })).toBe("REFERENCE_WRONG");
  expect(code({ bins: [reference.bins[0]] })).toBe("REFERENCE_WRONG");
  const [first, ...others] = reference.bins[0]!;
  const falling = [{ ...first!, edges: first!.edges.toReversed() }, ...others];
  expect(code({ bins: [falling, reference.bins[1]] })).toBe("REFERENCE_WRONG");
  expect(code({ regimes: { ...reference.regimes, scales: [0] } })).toBe("REFERENCE_WRONG");
});

test("windows are counted in the frozen bins: the reference's own lives, folded again, give its own counts", () => {
  const fold = new WindowFold(reference, PUMP_NAMES);
  const windows = twelvePumps().flatMap(({ vectors, scores }) =>
    vectors.flatMap((vector, i) => {
      fold.add(vector, scores[i]!);
      return fold.vectors === reference.windowVectors ? [fold.close()] : [];
    }),
  );
  const { bins } = windows.reduce<DriftSketch>(mergeSketches, emptySketch(reference));
  expect(bins.map(({ counts }) => counts)).toEqual(reference.bins.map((of) => of.map(({ counts }) => counts)));
});
