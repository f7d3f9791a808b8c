import { describe, expect, test } from "vitest";
import type { CheckedModel, ModelInput, ModelOutput } from "../onnx/static-check.ts";
import { unwrap } from "../result.ts";
import { type DraftOptions, draftInputs, draftOutputs } from "./draft.ts";

const input = (name: string, shape: ModelInput["shape"], type: ModelInput["type"] = "float32"): ModelInput => ({
  name,
  type,
  ...(shape === undefined ? {} : { shape }),
});
const model = (...inputs: ModelInput[]): CheckedModel => ({ opset: 17, producer: "", nodes: 1, inputs, outputs: [] });
const options = (channels: string, more: Partial<DraftOptions> = {}): DraftOptions => ({
  channels: channels.split(" ").map((channel) => ({ channel, unit: "1" })),
  meaning: "value",
  ...more,
});
const draft = (channels: string, inputs: ModelInput[], more: Partial<DraftOptions> = {}) =>
  draftInputs(model(...inputs), options(channels, more));
/** Each tensor as "input type [shape] <- what". */
const lines = (...args: Parameters<typeof draft>) => {
  const drafted = draft(...args);
  if (!drafted.ok)
    return `${drafted.error.code} ${drafted.error.detail["expected"] ?? drafted.error.detail["dimension"]}`;
  return drafted.value.tensors.map(({ input, type, shape, source }) => {
    const from =
      source.kind === "features" ? source.features : source.kind === "window" ? source.channels : source.elements;
    const rows = source.kind === "window" ? `${source.length} rows of ` : "";
    return `${input} ${type} [${shape.join(" ")}] <- ${rows}${from.join(" ")}`;
  });
};

describe("inputs", () => {
  test.each<[string, ModelInput[], string, Partial<DraftOptions>, string | string[]]>([
    ["a table", [input("x", ["n", 2])], "a b", {}, ["x float32 [batch 2] <- a.last b.last"]],
    ["a table of any width", [input("x", ["", ""])], "a b c", {}, ["x float32 [batch 3] <- a.last b.last c.last"]],
    ["no shape at all", [input("x", undefined)], "a b", {}, ["x float32 [batch 2] <- a.last b.last"]],
    ["one row at a time", [input("x", [1, 2])], "a b", {}, ["x float32 [1 2] <- a.last b.last"]],
    ["a vector without batch", [input("x", [2], "float64")], "a b", {}, ["x float64 [2] <- a.last b.last"]],
    ["a number", [input("x", [], "int64")], "a", {}, ["x int64 [] <- a.last"]],
    [
      "a picture",
      [input("x", ["n", 1, 2, 2])],
      "a b c d",
      {},
      ["x float32 [batch 1 2 2] <- a.last b.last c.last d.last"],
    ],
    [
      "a column each",
      [input("x", ["n", 1], "string"), input("y", ["n", 1], "int64")],
      "a b",
      {},
      ["x string [batch 1] <- a.last", "y int64 [batch 1] <- b.last"],
    ],
    [
      "columns by name",
      [input("x", ["n", 1]), input("y", ["n", 1])],
      "a b",
      { inputs: { x: ["b"], y: ["a"] } },
      ["x float32 [batch 1] <- b.last", "y float32 [batch 1] <- a.last"],
    ],
    ["a window", [input("x", ["n", 30, 2])], "a b", {}, ["x float32 [batch 30 2] <- 30 rows of a b"]],
    ["a window, one at a time", [input("x", [1, 30, 2])], "a b", {}, ["x float32 [1 30 2] <- 30 rows of a b"]],
    [
      "a fixed block that is no window",
      [input("x", [2, 1, 2])],
      "a b c d",
      {},
      ["x float32 [2 1 2] <- a.last b.last c.last d.last"],
    ],
    [
      "a window of any length",
      [input("x", ["n", "t", 2])],
      "a b",
      { dims: { t: 12 } },
      ["x float32 [batch 12 2] <- 12 rows of a b"],
    ],
    [
      "a window of any length, which the window says",
      [input("x", ["n", "t", 1])],
      "a",
      { window: { kind: "count", length: 9, hop: 3, minRows: 9 } },
      ["x float32 [batch 9 1] <- 9 rows of a"],
    ],
    ["a window of unknown length", [input("x", ["n", "t", 2])], "a b", {}, "DRAFT_SHAPE_OPEN t"],
    [
      "a window and a table",
      [input("w", ["n", 5, 2]), input("x", ["n", 1])],
      "a b c",
      {},
      ["w float32 [batch 5 2] <- 5 rows of a b", "x float32 [batch 1] <- c.last"],
    ],
    [
      "constants",
      [input("x", ["n", 1]), input("k", [2], "int64")],
      "a",
      { constants: { k: [3, 4] } },
      ["x float32 [batch 1] <- a.last", "k int64 [2] <- 3 4"],
    ],
    [
      "constants of another number",
      [input("k", [2], "int64")],
      "a",
      { constants: { k: [3] } },
      "DRAFT_CHANNELS_WRONG 2",
    ],
    ["too few channels", [input("x", ["n", 3])], "a b", {}, "DRAFT_CHANNELS_WRONG 3"],
    ["too many channels", [input("x", ["n", 1])], "a b", {}, "DRAFT_CHANNELS_WRONG 1"],
    ["two free sizes", [input("x", ["n", "h", "w", 1])], "a", {}, "DRAFT_SHAPE_OPEN h"],
    ["a name that cannot be the batch", [input("x", ["s", "s"])], "a b", { dims: { s: 2 } }, "DRAFT_CHANNELS_WRONG 4"],
    [
      "a matrix beside the batch",
      [input("x", ["m", "k"]), input("w", ["k", "n"])],
      "a b c d e f",
      { dims: { k: 2, n: 2 } },
      ["x float32 [batch 2] <- a.last b.last", "w float32 [2 2] <- c.last d.last e.last f.last"],
    ],
  ])("%s", (_, inputs, channels, more, expected) => {
    expect(lines(channels, inputs, more)).toEqual(expected);
  });

  test("features of their own take the place of newest values; the window follows the tensors", () => {
    const features = [{ name: "a.rms", function: "rms", channel: "a" }];
    const window = { kind: "time", lengthMs: 60_000, hopMs: 10_000, minRows: 2 } as const;
    const table = unwrap(draft("a", [input("x", ["n", 1])], { features, window }));
    expect(table).toMatchObject({ features, window, batches: true });
    expect(table.tensors[0]!.source).toEqual({ kind: "features", features: ["a.rms"] });
    const raw = unwrap(draft("a", [input("x", [1, 30, 1])]));
    expect(raw).toMatchObject({ window: { kind: "count", length: 30, hop: 1, minRows: 30 }, batches: false });
    expect(raw.features).toEqual([{ name: "a.last", function: "last", channel: "a" }]);
  });
});

describe("outputs", () => {
  const output = (name: string, type: string, fetchable = true): ModelOutput => ({
    name,
    kind: "tensor",
    type,
    fetchable,
  });
  const results = (widths: Record<string, number>) =>
    Object.fromEntries(
      Object.entries(widths).map(([name, width]) => [
        name,
        { dims: [1, width], data: new Array<number>(width).fill(0) },
      ]),
    );
  const bound = (outputs: ModelOutput[], widths: Record<string, number>, more: Partial<DraftOptions>) => {
    const drafted = draftOutputs({ ...model(), outputs }, results(widths), { meaning: "value", ...more });
    if (!drafted.ok) return drafted.error.code;
    return drafted.value.map(
      ({ name, output, index, meaning, primary }) =>
        `${primary ? "*" : ""}${name}=${output}${index === undefined ? "" : `:${index}`} ${meaning}`,
    );
  };
  const label = output("label", "int64");
  const proba = output("probabilities", "float32");
  const map = output("zipmap", "", false);

  test.each<[string, ModelOutput[], Record<string, number>, Partial<DraftOptions>, string | string[]]>([
    ["one number", [output("y", "float32")], { y: 1 }, { meaning: "rul" }, ["*y=y rul"]],
    [
      "the second of two classes",
      [label, proba],
      { label: 1, probabilities: 2 },
      { meaning: "probability" },
      ["*probabilities.1=probabilities:1 probability", "label=label class", "probabilities=probabilities probability"],
    ],
    [
      "the label",
      [label, proba],
      { label: 1, probabilities: 3 },
      { meaning: "class" },
      ["*label=label class", "probabilities=probabilities probability"],
    ],
    [
      "the score beside a label",
      [label, output("scores", "float32")],
      { label: 1, scores: 1 },
      { meaning: "score" },
      ["*scores=scores score", "label=label class"],
    ],
    ["only a label, beside a map", [label, map], { label: 1 }, { meaning: "class" }, ["*label=label class"]],
    [
      "an element by name",
      [output("y", "float32")],
      { y: 10 },
      { primary: { output: "y", index: 3 } },
      ["*y.3=y:3 value", "y=y value"],
    ],
    ["a huge one beside", [output("y", "float32"), output("all", "float32")], { y: 1, all: 2_000 }, {}, ["*y=y value"]],
    [
      "names that are none",
      [output("a/b:0", "float32"), output("a b:0", "float32")],
      { "a/b:0": 1, "a b:0": 1 },
      {},
      ["*a_b_0=a/b:0 value", "a_b_0_2=a b:0 value"],
    ],
    ["ten numbers and no choice", [output("y", "float32")], { y: 10 }, {}, "DRAFT_OUTPUT_UNCLEAR"],
    ["texts only", [output("y", "string")], { y: 1 }, {}, "DRAFT_OUTPUT_UNCLEAR"],
    [
      "an element that is not there",
      [output("y", "float32")],
      { y: 2 },
      { primary: { output: "y", index: 2 } },
      "DRAFT_OUTPUT_UNCLEAR",
    ],
  ])("%s", (_, outputs, widths, more, expected) => {
    expect(bound(outputs, widths, more)).toEqual(expected);
  });
});
