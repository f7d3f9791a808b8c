import { describe, expect, test } from "vitest";
import { checkTarget, livesOf, type TargetSpec, targetsOf } from "./targets.ts";

const HOUR_MS = 3_600_000;
const NONE = Number.NaN;

/** An asset with a row an hour that failed at these hours. */
function asset(rows: number, failures: number[], target?: number[]) {
  return {
    asset: "p",
    timesMs: Float64Array.from({ length: rows }, (_, i) => i * HOUR_MS),
    channels: [],
    target: target === undefined ? undefined : Float64Array.from(target),
    failuresMs: Float64Array.from(failures, (hour) => hour * HOUR_MS),
  };
}

describe("targets of an asset", () => {
  test.each<[string, ReturnType<typeof asset>, TargetSpec, number[]]>([
    ["rows left", asset(4, [3]), { kind: "rul", cap: 100 }, [3, 2, 1, 0]],
    ["capped", asset(4, [3]), { kind: "rul", cap: 2 }, [2, 2, 1, 0]],
    ["hours left, failing between rows", asset(3, [2.5]), { kind: "rul", cap: 100, in: "hours" }, [2.5, 1.5, 0.5]],
    ["two lives, the third unknown", asset(6, [1, 3]), { kind: "rul", cap: 100 }, [1, 0, 1, 0, NONE, NONE]],
    ["never failed", asset(2, []), { kind: "rul", cap: 100 }, [NONE, NONE]],
    ["within two rows", asset(5, [3]), { kind: "binary", horizonRows: 2 }, [0, 0, 1, 1, NONE]],
    ["within two rows, censored", asset(4, []), { kind: "binary", horizonRows: 2 }, [0, 0, NONE, NONE]],
    ["within hours", asset(4, [3.5]), { kind: "binary", horizonHours: 2 }, [0, 0, 1, 1]],
    ["a column", asset(2, [], [5, NONE]), { kind: "column", column: "y" }, [5, NONE]],
  ])("%s", (_, one, spec, expected) => {
    expect([...targetsOf(one, spec)]).toEqual(expected);
  });

  test("a row at the time of a failure belongs to the life that failed; failures between two rows count once", () => {
    expect(livesOf(asset(4, [1, 1.2, 1.4]))).toEqual([
      { from: 0, last: 1, failedAtMs: HOUR_MS },
      { from: 2, last: 3, failedAtMs: undefined },
    ]);
  });
});

describe("a history that cannot give a target says why", () => {
  const snapshot = (one: ReturnType<typeof asset>, target?: string) => ({
    channels: [],
    target,
    assets: [one],
    sources: [],
  });
  test.each<[ReturnType<typeof asset>, string | undefined, TargetSpec, string]>([
    [asset(3, []), undefined, { kind: "rul", cap: 5 }, "has no target column and knows of no failures"],
    [asset(3, []), undefined, { kind: "column", column: "y" }, "has no target column and knows of no failures"],
    [asset(3, [], [1, 2, 3]), "x", { kind: "column", column: "y" }, "has the target column x"],
    [asset(3, [], [0, 1, 2]), "y", { kind: "binary", column: "y" }, "holds 2"],
    [asset(3, [], [0, 0, 0]), "y", { kind: "binary", column: "y" }, "one class"],
  ])("%#", (one, target, spec, words) => {
    const checked = checkTarget("h", snapshot(one, target), spec);
    expect(checked.ok ? "" : checked.error.message).toContain(words);
  });
});
