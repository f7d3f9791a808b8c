import { describe, expect, test } from "vitest";
import { testManifest } from "../../../test/kit/models.ts";
import { checkManifest, manifestBytes, manifestDigest, parseManifest } from "./check.ts";
import type { Manifest } from "./manifest.ts";

const features = { kind: "features" as const, features: ["x.last"] };
const windowOf = (changes: object) => ({
  kind: "window" as const,
  channels: ["x"],
  length: 3,
  padding: "zero" as const,
  ...changes,
});
const tensor = (changes: Partial<Manifest["tensors"][number]>): Partial<Manifest> => ({
  tensors: [{ input: "in", type: "float32", shape: ["batch", 1], source: features, ...changes }],
});
const output = (changes: object): Manifest["outputs"][number] => ({
  name: "value",
  output: "out",
  meaning: "value",
  primary: true,
  ...changes,
});

test("a manifest whose members agree is accepted, and its digest is that of its canonical bytes", () => {
  const manifest = testManifest();
  expect(parseManifest(manifestBytes(manifest))).toEqual({ ok: true, value: manifest });
  const reordered = Object.fromEntries(Object.entries(manifest).reverse()) as Manifest;
  expect(manifestDigest(reordered)).toBe(manifestDigest(manifest));
});

describe("what contradicts itself is refused, with its place", () => {
  const window = { kind: "count", length: 2, hop: 1, minRows: 1 } as const;
  const table: [string, Partial<Manifest>, string, string?][] = [
    ["an unknown unit", { channels: [{ channel: "x", unit: "furlongs" }] }, "MANIFEST_WRONG", "channels/x"],
    [
      "a channel twice",
      {
        channels: [
          { channel: "x", unit: "1" },
          { channel: "x", unit: "1" },
        ],
      },
      "MANIFEST_WRONG",
    ],
    ["an unknown function", { features: [{ name: "f", function: "magic", channel: "x" }] }, "FEATURE_FUNCTION_UNKNOWN"],
    ["an unknown feature", tensor({ source: { kind: "features", features: ["y"] } }), "MANIFEST_WRONG", "tensors/in"],
    ["a shape of more elements", tensor({ shape: ["batch", 2] }), "MANIFEST_WRONG", "tensors/in"],
    ["batch in the second place", tensor({ shape: [1, "batch"] }), "MANIFEST_WRONG", "tensors/in"],
    ["no batch, but batches", tensor({ shape: [1] }), "MANIFEST_WRONG", "tensors/in"],
    ["a constant of another type", tensor({ source: { kind: "constant", elements: ["1"] } }), "MANIFEST_WRONG"],
    ["an input twice", { tensors: [...tensor({}).tensors!, ...tensor({}).tensors!] }, "MANIFEST_WRONG", "tensors"],
    [
      "a window longer than is kept",
      { window, ...tensor({ shape: ["batch", 3, 1], source: windowOf({}) }) },
      "MANIFEST_WRONG",
      "tensors/in",
    ],
    [
      "a window of unknown channels",
      tensor({ shape: ["batch", 3], source: windowOf({ channels: ["y"] }) }),
      "MANIFEST_WRONG",
    ],
    [
      "scales for other channels",
      tensor({ shape: ["batch", 3], source: windowOf({ scale: [1, 2] }) }),
      "MANIFEST_WRONG",
    ],
    ["a scale of 0", tensor({ shape: ["batch", 3], source: windowOf({ scale: [0] }) }), "MANIFEST_WRONG"],
    ["no primary output", { outputs: [output({ primary: false })] }, "MANIFEST_WRONG", "outputs"],
    ["two primary outputs", { outputs: [output({}), output({ name: "b" })] }, "MANIFEST_WRONG", "outputs"],
    ["two outputs of one name", { outputs: [output({}), output({ primary: false })] }, "MANIFEST_WRONG", "outputs"],
    ["a range that is empty", { outputs: [output({ range: [2, 2] })] }, "MANIFEST_WRONG", "outputs/value/range"],
    ["k over n", { alert: { direction: "below", threshold: 1, k: 3, n: 2 } }, "MANIFEST_WRONG", "alert"],
    [
      "an architecture twice",
      { compatibility: { opset: 17, executionProviders: ["cpu"], architectures: ["x64", "x64"] } },
      "MANIFEST_WRONG",
    ],
    [
      "runs of more than 64 MB",
      {
        maxBatch: 1024,
        channels: [{ channel: "x", unit: "1" }],
        window: { kind: "count", length: 100_000, hop: 1, minRows: 1 },
        ...tensor({ shape: ["batch", 100_000], source: windowOf({ length: 100_000 }) }),
      },
      "MANIFEST_WRONG",
      "tensors",
    ],
  ];
  test.each(table)("%s", (_, changes, code, path) => {
    const checked = checkManifest(testManifest(changes));
    expect(checked.ok ? undefined : checked.error).toMatchObject({ code, detail: path === undefined ? {} : { path } });
  });

  test("bytes that are no manifest", () => {
    expect(parseManifest("{")).toMatchObject({ error: { code: "INVALID_JSON" } });
    expect(parseManifest("{}")).toMatchObject({ error: { code: "INVALID_SHAPE" } });
  });
});
