import fc from "fast-check";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { rawScore, type TreeEnsemble, transformed } from "./ensemble.ts";
import { MessageWriter } from "./protobuf.ts";
import { writeClassifier, writeRegressor } from "./tree-ensemble.ts";

const FEATURES = 3;
/** Numbers where float32 rounding decides: neighbours of thresholds, missing, infinite, tiny and huge ones. */
const EDGE_NUMBERS = [0, -0, 1, 0.1, Math.fround(0.1), 1 + 2 ** -23, 1e-40, 3.4e38, -3.4e38];
const anyNumber = fc.oneof(
  fc.constantFrom(...EDGE_NUMBERS, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
  fc.float({ noDefaultInfinity: true, noNaN: true, min: -10, max: 10 }),
);
const threshold = fc.oneof(
  fc.constantFrom(...EDGE_NUMBERS, Number.POSITIVE_INFINITY),
  fc.float({ noNaN: true, noDefaultInfinity: true, min: -10, max: 10 }),
);

/** A tree as nested branches; leaves are numbers. */
type Shape = number | { f: number; t: number; missingLeft: boolean; left: Shape; right: Shape };
const { tree: anyTree } = fc.letrec<{ tree: Shape }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    fc.float({ noNaN: true, noDefaultInfinity: true, min: -5, max: 5 }),
    fc.record({
      f: fc.nat(FEATURES - 1),
      t: threshold,
      missingLeft: fc.boolean(),
      left: tie("tree"),
      right: tie("tree"),
    }),
  ),
}));

function ensembleOf(trees: readonly Shape[], base: number): TreeEnsemble {
  const rows: { f: number; t: number; left: number; right: number; missing: number; value: number }[] = [];
  const starts = [0];
  const place = (shape: Shape): number => {
    const at = rows.push({ f: -1, t: 0, left: 0, right: 0, missing: 0, value: 0 }) - 1;
    if (typeof shape === "number") rows[at]!.value = shape;
    else {
      const left = place(shape.left);
      const right = place(shape.right);
      rows[at] = { f: shape.f, t: shape.t, left, right, missing: shape.missingLeft ? 1 : 0, value: 0 };
    }
    return at;
  };
  for (const tree of trees) {
    place(tree);
    starts.push(rows.length);
  }
  return {
    features: FEATURES,
    base: Math.fround(base),
    starts: Int32Array.from(starts),
    feature: Int32Array.from(rows, ({ f }) => f),
    threshold: Float32Array.from(rows, ({ t }) => t),
    left: Int32Array.from(rows, ({ left }) => left),
    right: Int32Array.from(rows, ({ right }) => right),
    missingLeft: Uint8Array.from(rows, ({ missing }) => missing),
    value: Float32Array.from(rows, ({ value }) => value),
  };
}

async function run(bytes: Uint8Array, rows: readonly Float32Array[]) {
  const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const flat = new Float32Array(rows.flatMap((row) => [...row]));
  const got = await session.run({ features: new Tensor("float32", flat, [rows.length, FEATURES]) });
  await session.release();
  return got;
}

const forest = fc.record({
  ensemble: fc
    .tuple(fc.array(anyTree, { minLength: 1, maxLength: 8 }), fc.double({ min: -3, max: 3, noNaN: true }))
    .map(([trees, base]) => ensembleOf(trees, base)),
  rows: fc.array(fc.array(anyNumber, { minLength: FEATURES, maxLength: FEATURES }), { minLength: 1, maxLength: 40 }),
});

describe("a written ensemble answers in ONNX Runtime as it does here", () => {
  const transforms = [{ kind: "identity" }, { kind: "identity", range: [-1, 2] }, { kind: "logistic" }] as const;
  test.each(transforms)("regressor, %o", async (transform) => {
    await fc.assert(
      fc.asyncProperty(forest, async ({ ensemble, rows }) => {
        const inputs = rows.map((row) => Float32Array.from(row));
        const { prediction } = await run(writeRegressor(ensemble, transform), inputs);
        expect(prediction!.dims).toEqual([rows.length, 1]);
        for (const [i, row] of inputs.entries()) {
          const expected = transformed(rawScore(ensemble, row), transform);
          expect(Math.abs(Number(prediction!.data[i]) - expected)).toBeLessThanOrEqual(
            1e-5 * Math.max(1, Math.abs(expected)),
          );
        }
      }),
      { numRuns: 60 },
    );
  });

  test("classifier: probabilities of both classes and the likelier label", async () => {
    await fc.assert(
      fc.asyncProperty(forest, async ({ ensemble, rows }) => {
        const inputs = rows.map((row) => Float32Array.from(row));
        const { label, probabilities } = await run(writeClassifier(ensemble), inputs);
        for (const [i, row] of inputs.entries()) {
          const expected = transformed(rawScore(ensemble, row), { kind: "logistic" });
          expect(Number(probabilities!.data[2 * i + 1])).toBeCloseTo(expected, 6);
          expect(Number(probabilities!.data[2 * i])).toBeCloseTo(1 - expected, 6);
          if (Math.abs(expected - 0.5) > 1e-5) expect(Number(label!.data[i])).toBe(expected > 0.5 ? 1 : 0);
        }
      }),
      { numRuns: 60 },
    );
  });
});

test("whole numbers of any sign and size are written as protobuf's int64", () => {
  const hex = (value: number) => Buffer.from(new MessageWriter().integer(1, value).finish()).toString("hex");
  expect(hex(0)).toBe("0800");
  expect(hex(300)).toBe("08ac02");
  expect(hex(-1)).toBe("08ffffffffffffffffff01");
  expect(hex(2 ** 40)).toBe("08808080808020");
  expect(() => hex(0.5)).toThrow(/whole number/);
});
