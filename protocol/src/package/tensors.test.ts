import { describe, expect, test } from "vitest";
import { testManifest } from "../../../test/kit/models.ts";
import { unwrap } from "../result.ts";
import type { Manifest, TensorType } from "./manifest.ts";
import { buildTensors, NotRepresentable, type OutputTensor, readOutputs } from "./tensors.ts";

const feature = (channel: string) => ({ name: `${channel}.last`, function: "last", channel });
const vector = (...features: number[]) => ({ features: Float64Array.from(features) });
const window = (...rows: number[][]) => ({
  features: new Float64Array(0),
  window: { rows: rows.map((row) => Float64Array.from(row)) },
});

function twoChannels(tensors: Manifest["tensors"], changes: Partial<Manifest> = {}): Manifest {
  return testManifest({
    channels: [
      { channel: "a", unit: "1" },
      { channel: "b", unit: "1" },
    ],
    features: [feature("a"), feature("b")],
    tensors,
    ...changes,
  });
}

describe("features become tensors", () => {
  const typed = (type: TensorType, ...values: number[]) => {
    const source = { kind: "features" as const, features: ["b.last", "a.last"] };
    const manifest = twoChannels([{ input: "x", type, shape: ["batch", 2], source }]);
    const vectors = [];
    for (let i = 0; i < values.length; i += 2) vectors.push(vector(values[i]!, values[i + 1]!));
    return buildTensors(manifest, vectors)[0]!;
  };

  test("in the order the tensor names, row after row", () => {
    const tensor = typed("float64", 1, 2, 3, 4);
    expect(tensor).toEqual({ name: "x", type: "float64", dims: [2, 2], data: Float64Array.of(2, 1, 4, 3) });
  });

  test.each([
    ["float32", Float32Array.of(0.1, -2.7)],
    ["float16", Float16Array.of(0.1, -2.7)],
    ["int64", BigInt64Array.of(0n, -2n)],
    ["uint64", BigUint64Array.of(0n, 0n)],
    ["int32", Int32Array.of(0, -2)],
    ["int8", Int8Array.of(0, -2)],
    ["uint8", Uint8Array.of(0, 0)],
    ["bool", Uint8Array.of(1, 1)],
    ["string", ["0.1", "-2.7"]],
  ] as const)("cast to %s", (type, expected) => {
    expect(typed(type, -2.7, 0.1).data).toEqual(expected);
  });

  test("a value over the range of a whole-number type saturates", () => {
    expect(typed("int8", 1e9, -1e9).data).toEqual(Int8Array.of(-128, 127));
    expect(typed("int64", 1e300, -1e300).data).toEqual(BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1024n));
  });

  test("a missing value is NaN in floats, and no whole number at all", () => {
    expect(typed("float32", Number.NaN, 1).data).toEqual(Float32Array.of(1, Number.NaN));
    for (const type of ["int64", "int32", "uint8", "bool"] as const) {
      expect(() => typed(type, Number.NaN, 1)).toThrow(NotRepresentable);
    }
  });
});

describe("windows become tensors", () => {
  const built = (source: object, vectors: ReturnType<typeof window>[]) => {
    const all = { kind: "window", channels: ["b", "a"], length: 3, padding: "zero", ...source } as never;
    const manifest = twoChannels([{ input: "w", type: "float64", shape: ["batch", 3, 2], source: all }]);
    return Array.from(buildTensors(manifest, vectors)[0]!.data as Float64Array);
  };
  const rows = [
    [1, 10],
    [2, 20],
    [3, 30],
  ];

  test("oldest row first, channels in the tensor's order, and the newest rows of a longer window", () => {
    expect(built({}, [window(...rows), window([0, 0], ...rows)])).toEqual([10, 1, 20, 2, 30, 3, 10, 1, 20, 2, 30, 3]);
  });
  test("a short window is padded in front with zeros or its oldest row", () => {
    expect(built({}, [window([2, 20], [3, 30])])).toEqual([0, 0, 20, 2, 30, 3]);
    expect(built({ padding: "edge" }, [window([3, 30])])).toEqual([30, 3, 30, 3, 30, 3]);
  });
  test("offset and scale come before the padding", () => {
    expect(built({ offset: [10, 1], scale: [10, 2] }, [window([2, 20], [3, 30])])).toEqual([0, 0, 1, 0.5, 2, 1]);
  });
  test("a missing value is the one before it, also where that row left the tensor", () => {
    const nan = Number.NaN;
    expect(built({}, [window([1, nan], [nan, 20], [nan, nan])])).toEqual([nan, 1, 20, 1, 20, 1]);
    expect(built({}, [window([7, 70], [nan, nan], [2, nan], [3, 30])])).toEqual([70, 7, 70, 2, 30, 3]);
  });
  test("channel-time puts each channel's values together", () => {
    expect(built({ order: "channel-time" }, [window(...rows)])).toEqual([10, 20, 30, 1, 2, 3]);
  });
});

test("constants are the same for every vector; without a batch they stand once", () => {
  const source = { kind: "constant" as const, elements: [1, 2] };
  const manifest = twoChannels([
    { input: "each", type: "int64", shape: ["batch", 2], source },
    { input: "once", type: "float32", shape: [2], source },
    { input: "word", type: "string", shape: ["batch"], source: { kind: "constant", elements: ["de"] } },
    { input: "flag", type: "bool", shape: [1], source: { kind: "constant", elements: [true] } },
  ]);
  expect(buildTensors(manifest, [vector(0, 0), vector(0, 0)]).map(({ dims, data }) => [dims, data])).toEqual([
    [[2, 2], BigInt64Array.of(1n, 2n, 1n, 2n)],
    [[2], Float32Array.of(1, 2)],
    [[2], ["de", "de"]],
    [[1], Uint8Array.of(1)],
  ]);
});

test("a tensor without batch takes one vector", () => {
  const manifest = twoChannels([
    { input: "x", type: "float32", shape: [2], source: { kind: "features", features: ["a.last", "b.last"] } },
    { input: "s", type: "float32", shape: [], source: { kind: "features", features: ["a.last"] } },
  ]);
  expect(buildTensors(manifest, [vector(1, 2)]).map(({ dims }) => dims)).toEqual([[2], []]);
  expect(() => buildTensors(manifest, [vector(1, 2), vector(3, 4)])).toThrow(/no batch/);
});

describe("results become outputs", () => {
  const read = (
    outputs: Manifest["outputs"],
    results: Record<string, OutputTensor>,
    batch: number,
  ): (object | string)[] =>
    readOutputs(testManifest({ outputs }), results, batch).map((one) => (one.ok ? one.value : one.error.code));

  test("numbers, classes, texts and arrays, vector by vector", () => {
    const outputs: Manifest["outputs"] = [
      { name: "risk", output: "p", index: 1, meaning: "probability", primary: true },
      { name: "all", output: "p", meaning: "probability" },
      { name: "label", output: "l", meaning: "class" },
      { name: "word", output: "t", meaning: "value" },
      { name: "yes", output: "b", meaning: "value" },
    ];
    const results = {
      p: { dims: [2, 2], data: Float32Array.of(0.25, 0.75, 0.5, 0.5) },
      l: { dims: [2], data: BigInt64Array.of(1n, 0n) },
      t: { dims: [2, 1], data: ["high", "x".repeat(300)] },
      b: { dims: [2], data: Uint8Array.of(1, 0), type: "bool" },
    };
    expect(read(outputs, results, 2)).toEqual([
      { primary: 0.75, outputs: { risk: 0.75, all: [0.25, 0.75], label: 1, word: "high", yes: true } },
      { primary: 0.5, outputs: { risk: 0.5, all: [0.5, 0.5], label: 0, word: "x".repeat(256), yes: false } },
    ]);
  });

  const value: Manifest["outputs"] = [{ name: "v", output: "y", meaning: "value", range: [0, 10], primary: true }];
  test.each([
    ["not a number", { dims: [2], data: [Number.NaN, 3] }, ["OUTPUT_NOT_FINITE", { primary: 3, outputs: { v: 3 } }]],
    ["out of range", { dims: [2, 1], data: [3, 11] }, [{ primary: 3, outputs: { v: 3 } }, "OUTPUT_OUT_OF_RANGE"]],
    ["of another batch", { dims: [1, 2], data: [1, 2] }, ["OUTPUT_SHAPE_WRONG", "OUTPUT_SHAPE_WRONG"]],
    ["an array", { dims: [2, 2], data: [1, 2, 3, 4] }, ["OUTPUT_SHAPE_WRONG", "OUTPUT_SHAPE_WRONG"]],
    ["a text", { dims: [2], data: ["1", "2"] }, ["OUTPUT_SHAPE_WRONG", "OUTPUT_SHAPE_WRONG"]],
    ["empty", { dims: [2, 0], data: [] }, ["OUTPUT_SHAPE_WRONG", "OUTPUT_SHAPE_WRONG"]],
  ])("a primary output that is %s", (_, tensor, expected) => {
    expect(read(value, { y: tensor }, 2)).toEqual(expected);
  });

  test("a 0-d output and one that was not fetched", () => {
    expect(read(value, { y: { dims: [], data: [4] } }, 1)).toEqual([{ primary: 4, outputs: { v: 4 } }]);
    expect(read(value, {}, 1)).toEqual(["OUTPUT_SHAPE_WRONG"]);
    expect(unwrap(readOutputs(testManifest({ outputs: value }), { y: { dims: [], data: [4] } }, 1)[0]!).primary).toBe(
      4,
    );
  });
});
