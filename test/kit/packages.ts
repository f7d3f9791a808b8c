import { type GraphModel, writeModel } from "@bellwether/protocol/onnx/write.ts";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { goldenBytes } from "@bellwether/protocol/package/golden.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { referenceBytes, referenceProfile } from "@bellwether/protocol/reference/profile.ts";
import { testManifest } from "./models.ts";

/** Files of a package as an uploader has them, and the manifest without its version. */
export interface TestPackage {
  readonly manifest: Omit<Manifest, "version" | "files">;
  readonly files: { readonly model: Uint8Array; readonly golden: Uint8Array; readonly reference: Uint8Array };
}

type Nodes = Pick<GraphModel, "nodes" | "constants">;
const scalar = (name: string, value: number) => ({ name, dims: [], values: Float32Array.of(value) });
const node = (operator: string, inputs: string[], outputs: string[], attributes = {}) => ({
  operator,
  domain: "",
  inputs,
  outputs,
  attributes,
});

/** An ONNX file from input "in" [batch, 1] to output "out" [batch, 1]. */
export function modelOf({ nodes, constants }: Nodes): Uint8Array {
  return writeModel({
    name: "g",
    producer: "test",
    opsets: { "": 17 },
    nodes,
    constants,
    inputs: [{ name: "in", type: "float32", shape: ["batch", 1] }],
    outputs: [{ name: "out", type: "float32", shape: ["batch", 1] }],
  });
}

/** out = factor * in. */
export const timesModel = (factor: number): Uint8Array =>
  modelOf({ nodes: [node("Mul", ["in", "factor"], ["out"])], constants: [scalar("factor", factor)] });

/** out = factor * in, in a file of so many megabytes. */
export function largeModel(factor: number, megabytes: number): Uint8Array {
  const ballast = {
    name: "ballast",
    dims: [megabytes * 250_000 + 1],
    values: new Float32Array(megabytes * 250_000 + 1),
  };
  const nodes = [
    node("ReduceSum", ["ballast"], ["nothing"], { keepdims: { int: 0 } }),
    node("Mul", ["in", "factor"], ["product"]),
    node("Add", ["product", "nothing"], ["out"]),
  ];
  return modelOf({ nodes, constants: [ballast, scalar("factor", factor)] });
}

/**
 * out = factor * in, by a graph that takes so many products of large matrices (2 GFLOP each) to load: ONNX Runtime works
 * out beforehand what is constant.
 */
export function slowToLoadModel(factor: number, products: number): Uint8Array {
  const zeros = { name: "product0", dims: [1_000, 1_000], values: new Float32Array(1_000_000) };
  const worked = Array.from({ length: products }, (_, i) =>
    node("MatMul", [`product${i}`, "product0"], [`product${i + 1}`]),
  );
  const nodes = [
    ...worked,
    node("ReduceSum", [`product${products}`], ["nothing"], { keepdims: { int: 0 } }),
    node("Mul", ["in", "factor"], ["product"]),
    node("Add", ["product", "nothing"], ["out"]),
  ];
  return modelOf({ nodes, constants: [zeros, scalar("factor", factor)] });
}

/** A good model that allocates so many floats when it runs: only running it shows that. */
export const hungryModel = (floats: number): Uint8Array =>
  modelOf({
    nodes: [
      node("ReduceMax", ["in"], ["low"], { keepdims: { int: 0 } }),
      node("Range", ["low", "high", "one"], ["all"]),
      node("ReduceSum", ["all"], ["sum"], { keepdims: { int: 0 } }),
      node("Mul", ["in", "sum"], ["out"]),
    ],
    constants: [scalar("high", floats), scalar("one", 1)],
  });

/** A small file that computes for very long: matrices multiplied again and again. */
export function slowModel(size: number, times: number): Uint8Array {
  const constants = [{ name: "w", dims: [1, size], values: new Float32Array(size).fill(0.001) }];
  // The input comes first, so that nothing can be computed while loading.
  const nodes = [
    node("MatMul", ["in", "w"], ["row"]),
    node("Transpose", ["row"], ["column"]),
    node("MatMul", ["column", "row"], ["m0"]),
    ...Array.from({ length: times }, (_, i) => node("MatMul", [`m${i}`, `m${i}`], [`m${i + 1}`])),
    node("ReduceSum", [`m${times}`], ["sum"], { keepdims: { int: 0 } }),
    node("Mul", ["in", "sum"], ["out"]),
  ];
  return modelOf({ nodes, constants });
}

/** A package of `model`, whose golden outputs are `answers` to the features 1, 2, 3. */
export function testPackage(
  model = timesModel(10),
  answers = [10, 20, 30],
  changes: Partial<Omit<Manifest, "version" | "files">> = {},
): TestPackage {
  const { version: _, files: __, ...manifest } = testManifest(changes);
  const vectors = [1, 2, 3].map((x) => ({ features: Float64Array.of(x) }));
  const golden = goldenBytes(
    vectors,
    answers.map((value) => ({ value })),
  );
  const reference = referenceBytes(
    referenceProfile(
      ["x.last"],
      vectors.map(({ features }) => features),
      answers,
    ),
  );
  return { manifest, files: { model, golden, reference } };
}

/** The `files` member of a manifest. */
export function referencesOf(files: TestPackage["files"]): Manifest["files"] {
  const one = (bytes: Uint8Array) => ({ digest: digestOf(bytes), length: bytes.byteLength });
  return { model: one(files.model), golden: one(files.golden), reference: one(files.reference) };
}
