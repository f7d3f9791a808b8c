import { expect, test } from "vitest";
import { testManifest } from "../../../test/kit/models.ts";
import type { CheckedModel } from "../onnx/static-check.ts";
import { checkBindings } from "./bindings.ts";
import type { Manifest } from "./manifest.ts";

const model = (changes: Partial<CheckedModel> = {}): CheckedModel => ({
  opset: 17,
  producer: "",
  nodes: 1,
  inputs: [{ name: "in", type: "float32", shape: ["n", 1] }],
  outputs: [
    { name: "out", kind: "tensor", type: "float32", fetchable: true },
    { name: "map", kind: "sequence", fetchable: false },
  ],
  ...changes,
});
const one = (changes: Partial<Manifest["tensors"][number]>): Partial<Manifest> => ({
  tensors: [{ ...testManifest().tensors[0]!, ...changes }],
});
const output = (name: string): Partial<Manifest> => ({
  outputs: [{ name: "value", output: name, meaning: "value", primary: true }],
});

test.each<[string, Partial<Manifest>, Partial<CheckedModel>, string | undefined]>([
  ["everything fits", {}, {}, undefined],
  ["the model says no shape", {}, { inputs: [{ name: "in", type: "float32" }] }, undefined],
  ["an input is not bound", {}, { inputs: [...model().inputs, { name: "more", type: "int64" }] }, "tensors/more"],
  ["an input does not exist", one({ input: "other" }), {}, "tensors/in"],
  [
    "one too many is bound",
    { tensors: [...testManifest().tensors, { ...testManifest().tensors[0]!, input: "x" }] },
    {},
    "tensors/x",
  ],
  ["another type", one({ type: "float64" }), {}, "tensors/in"],
  ["another rank", one({ shape: ["batch"] }), {}, "tensors/in"],
  ["another size", one({ shape: ["batch", 2] }), {}, "tensors/in"],
  [
    "a batch where the model has one row",
    {},
    { inputs: [{ name: "in", type: "float32", shape: [1, 1] }] },
    "tensors/in",
  ],
  ["an output does not exist", output("nothing"), {}, "outputs/value"],
  ["an output is no tensor", output("map"), {}, "outputs/value"],
  ["another operator set", {}, { opset: 13 }, "compatibility/opset"],
])("%s", (_, manifest, changes, path) => {
  const checked = checkBindings(testManifest(manifest), model(changes));
  expect(checked.ok ? undefined : checked.error.detail["path"]).toBe(path);
  if (!checked.ok) expect(checked.error.code).toBe("BINDING_WRONG");
});
