import { describe, expect, test } from "vitest";
import { testManifest } from "../../../test/kit/models.ts";
import { unwrap } from "../result.ts";
import { compareGolden, goldenBytes, parseGolden, type RunTensors, runGolden, vectorOf } from "./golden.ts";

const tolerance = { absolute: 0.1, relative: 0.01 };
const manifest = testManifest({ tolerance, maxBatch: 2 });
const vectors = [1, 2, Number.NaN].map((x) => ({ features: Float64Array.of(x) }));
const golden = unwrap(parseGolden(goldenBytes(vectors, [{ value: 10 }, { value: 20 }, { value: 0 }]), manifest));

/** A model that answers ten times its feature, 0 for a missing one. */
const times = (factor: (batch: number) => number, batches: number[] = []): RunTensors => {
  return async ([input]) => {
    const batch = input!.dims[0]!;
    batches.push(batch);
    const data = Array.from(input!.data as Float32Array, (x) => (Number.isNaN(x) ? 0 : x * factor(batch)));
    return { out: { dims: [batch, 1], data } };
  };
};

test("missing values survive the file", () => {
  expect(golden.cases.map(vectorOf)).toEqual(vectors);
});

test("every case runs alone and in batches of the size that will be used", async () => {
  const batches: number[] = [];
  const report = unwrap(
    await runGolden(
      manifest,
      golden,
      times(() => 10.01, batches),
    ),
  );
  expect(batches).toEqual([1, 1, 1, 2, 1]);
  expect(report).toMatchObject({ cases: 3, runs: 5 });
  expect(report.maxDifference).toBeCloseTo(0.02, 5);
});

test("a model that answers otherwise in a batch, fails, or cannot batch, is caught", async () => {
  const problem = async (run: RunTensors) => {
    const result = await runGolden(manifest, golden, run);
    return result.ok ? undefined : result.error;
  };
  expect(await problem(times((batch) => (batch === 1 ? 10 : 10.5)))).toMatchObject({
    code: "GOLDEN_MISMATCH",
    detail: { case: 0, batch: 2, output: "value", actual: 10.5, expected: 10 },
  });
  expect(await problem(times(() => Number.POSITIVE_INFINITY))).toMatchObject({ code: "OUTPUT_NOT_FINITE" });
  const failing: RunTensors = async () => {
    throw new Error("no kernel");
  };
  expect(await problem(failing)).toMatchObject({ code: "GOLDEN_RUN_FAILED", detail: { reason: "no kernel" } });
});

describe("comparing", () => {
  const compare = (got: object, expected: object) => {
    const result = compareGolden({ tolerance }, got as never, expected as never, 0);
    return result.ok ? result.value : (result.error.detail["output"] as string);
  };
  test.each([
    [{ v: 100.9 }, { v: 100 }, expect.closeTo(0.9)],
    [{ v: 101.2 }, { v: 100 }, "v"],
    [{ v: Number.NaN }, { v: 100 }, "v"],
    [{ v: [1, 2] }, { v: [1, 2.05] }, expect.closeTo(0.05)],
    [{ v: [1, 2] }, { v: [1, 3] }, "v[1]"],
    [{ v: [1] }, { v: [1, 3] }, "v[1]"],
    [{ v: "a" }, { v: "a" }, 0],
    [{ v: "a" }, { v: "b" }, "v"],
    [{ v: true }, { v: 1 }, "v"],
    [{}, { v: 1 }, "v"],
  ])("%j against %j", (got, expected, outcome) => {
    expect(compare(got, expected)).toEqual(outcome);
  });
});

test("a golden file that does not fit its manifest is refused", () => {
  const code = (value: unknown) => {
    const parsed = parseGolden(Buffer.from(JSON.stringify(value)), manifest);
    return parsed.ok ? undefined : parsed.error.code;
  };
  const one = { features: [1], outputs: { value: 1 } };
  expect(code({ v: 1, cases: [one] })).toBeUndefined();
  expect(code({ v: 1, cases: [] })).toBe("INVALID_SHAPE");
  expect(code({ v: 1, cases: [{ ...one, features: [1, 2] }] })).toBe("GOLDEN_WRONG");
  expect(code({ v: 1, cases: [{ ...one, outputs: {} }] })).toBe("GOLDEN_WRONG");
  expect(code({ v: 1, cases: [{ ...one, outputs: { value: 1, other: 2 } }] })).toBe("GOLDEN_WRONG");
  expect(code({ v: 1, cases: [{ ...one, window: [[1, 2]] }] })).toBe("GOLDEN_WRONG");
});
