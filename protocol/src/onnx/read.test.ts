import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sharedModels } from "../../../test/kit/shared.ts";
import { BAD } from "../../../test/kit/third-party.ts";
import { unwrap } from "../result.ts";
import { MessageWriter } from "./protobuf.ts";
import { ONNX_LIMITS, readOnnx } from "./read.ts";
import { checkOnnx } from "./static-check.ts";
import { writeModel } from "./write.ts";

type Fill = (message: MessageWriter) => void;
const value = (name: string, type: number, dims: (number | string)[]): Fill => {
  return (message) =>
    void message.text(1, name).message(2, (kind) =>
      kind.message(1, (tensor) =>
        tensor.integer(1, type).message(2, (shape) => {
          for (const size of dims) {
            shape.message(1, (dim) => void (typeof size === "number" ? dim.integer(1, size) : dim.text(2, size)));
          }
        }),
      ),
    );
};
const node = (operator: string, more: Fill = () => {}): Fill => {
  return (message) => more(message.text(1, "x").text(2, "y").text(4, operator));
};
/** A model of x -> y with these nodes. */
function model(
  nodes: readonly Fill[],
  moreGraph: Fill = () => {},
  moreModel: Fill = (file) => opset(file, 17),
): Uint8Array {
  const file = new MessageWriter().integer(1, 8);
  file.message(7, (graph) => {
    for (const one of nodes) graph.message(1, one);
    graph.message(11, value("x", 1, ["n", 2])).message(12, value("y", 1, ["n", 2]));
    moreGraph(graph);
  });
  moreModel(file);
  return file.finish();
}
const opset = (file: MessageWriter, version: number, domain = "") =>
  void file.message(8, (one) => void one.text(1, domain).integer(2, version));
const codeOf = (bytes: Uint8Array) => {
  const checked = checkOnnx(bytes);
  return checked.ok ? "accepted" : checked.error.code;
};
/** An attribute that holds a tensor. */
const tensorAttribute = (fill: Fill): Fill => {
  return (message) => void message.message(5, (attribute) => void attribute.text(1, "value").message(5, fill));
};
const external = (location: string): Fill => {
  return (tensor) =>
    void tensor
      .integer(2, 1)
      .message(13, (entry) => void entry.text(1, "location").text(2, location))
      .integer(14, 1);
};
/** Node attributes with a graph inside a graph, so many deep. */
function nested(depth: number): Fill {
  if (depth === 0) return () => {};
  return (message) =>
    void message.message(5, (attribute) =>
      attribute.text(1, "then_branch").message(6, (graph) => void graph.message(1, node("If", nested(depth - 1)))),
    );
}

describe("what a model says of itself", () => {
  test("inputs, outputs, operator set, nodes", () => {
    const bytes = writeModel({
      name: "g",
      producer: "us",
      opsets: { "": 17, "ai.onnx.ml": 3 },
      nodes: [
        { operator: "Add", domain: "", inputs: ["x", "w"], outputs: ["y"], attributes: {} },
        {
          operator: "Normalizer",
          domain: "ai.onnx.ml",
          inputs: ["y"],
          outputs: ["z"],
          attributes: { norm: { text: "L2" } },
        },
      ],
      inputs: [
        { name: "x", type: "float32", shape: ["batch", 3] },
        { name: "w", type: "float32", shape: [3] },
        { name: "flag", type: "bool", shape: [] },
      ],
      outputs: [{ name: "z", type: "float32", shape: ["batch", 3] }],
      constants: [{ name: "w", dims: [3], values: Float32Array.of(1, 2, 3) }],
    });
    expect(unwrap(checkOnnx(bytes))).toEqual({
      opset: 17,
      producer: "us",
      nodes: 2,
      // w has an initializer, so nothing needs to feed it.
      inputs: [
        { name: "x", type: "float32", shape: ["batch", 3] },
        { name: "flag", type: "bool", shape: [] },
      ],
      outputs: [{ name: "z", kind: "tensor", type: "float32", shape: ["batch", 3], fetchable: true }],
    });
  });

  test("a size of 0 or -1 is free, as older exporters write it", () => {
    const graph = unwrap(
      readOnnx(model([node("Abs")], (into) => void into.message(11, value("w", 1, [-1, 0, 4])))),
    ).graph;
    expect(graph.inputs.at(-1)).toEqual({ name: "w", kind: "tensor", type: "float32", shape: ["", "", 4] });
  });
});

describe("refusals", () => {
  const big = new Float32Array(1);
  const tensor = (dims: number[], fill: Fill = (one) => void one.floats(4, big)): Fill => {
    return (graph) => void graph.message(5, (one) => fill(one.integers(1, dims).integer(2, 1).text(8, "w")));
  };
  const custom: Fill = node("Magic", (message) => void message.text(7, "acme"));
  const table: [string, string, Uint8Array][] = [
    ["accepted", "a plain model", model([node("Abs")])],
    ["accepted", "If, whose branches are checked", model([node("If", nested(3))])],
    [
      "ONNX_LFS_POINTER",
      "a Git LFS pointer",
      Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
    ],
    [
      "ONNX_RUNTIME_FORMAT",
      "good protobuf that the runtime would read in its own format",
      Buffer.concat([Buffer.from("\x08\x08\x12\x04ORTM", "latin1"), model([node("Abs")])]),
    ],
    ["ONNX_CORRUPT", "text", Buffer.from("this is not a model")],
    ["ONNX_CORRUPT", "nothing", Buffer.alloc(0)],
    ["ONNX_CORRUPT", "no graph", new MessageWriter().integer(1, 8).finish()],
    [
      "ONNX_CORRUPT",
      "two graphs, which protobuf would merge",
      Buffer.concat([model([node("Abs")]), model([node("Abs")])]),
    ],
    ["ONNX_CORRUPT", "a node with two operators", model([node("Abs", (message) => void message.text(4, "Loop"))])],
    ["ONNX_CORRUPT", "cut off", model([node("Abs")]).slice(0, -3)],
    ["ONNX_OPSET_MISSING", "no operator set", model([node("Abs")], undefined, () => {})],
    [
      "ONNX_OPSET_MISSING",
      "no operator set for a domain in use",
      model([node("Normalizer", (m) => void m.text(7, "ai.onnx.ml"))]),
    ],
    [
      "ONNX_OPSET_TOO_NEW",
      "an operator set of the future",
      model([node("Abs")], undefined, (file) => opset(file, 314_159)),
    ],
    ["ONNX_DOMAIN_UNKNOWN", "a custom domain", model([custom])],
    ["ONNX_OPERATOR_REFUSED", "an unknown operator", model([node("Foo")])],
    ["ONNX_OPERATOR_REFUSED", "a random generator", model([node("RandomNormal")])],
    ["ONNX_LOOP_REFUSED", "a loop", model([node("Loop")])],
    [
      "ONNX_LOOP_REFUSED",
      "a loop inside a branch",
      model([node("If", (m) => void m.message(5, (a) => a.message(6, (g) => void g.message(1, node("Scan")))))]),
    ],
    [
      "ONNX_EXTERNAL_DATA",
      "a file beside the model",
      model([node("Abs")], (graph) => void graph.message(5, external("weights.bin"))),
    ],
    [
      "ONNX_EXTERNAL_DATA",
      "a path, in a constant",
      model([node("Constant", tensorAttribute(external("/etc/passwd")))]),
    ],
    [
      "ONNX_EXTERNAL_DATA",
      "only a flag",
      model([node("Abs")], (graph) => void graph.message(5, (one) => void one.integer(2, 1).integer(14, 1))),
    ],
    [
      "ONNX_EXTERNAL_DATA",
      "in a sparse tensor",
      model([node("Abs")], (graph) => void graph.message(15, (sparse) => void sparse.message(2, external("x")))),
    ],
    [
      "ONNX_MEMORY_ADDRESS",
      "an address",
      model([node("Abs")], (graph) => void graph.message(5, external("*/_ORT_MEM_ADDR_/*"))),
    ],
    ["ONNX_TOO_MANY_NODES", "200,000 nodes", model(new Array<Fill>(200_000).fill(node("Abs")))],
    ["ONNX_TOO_DEEP", "graphs in graphs", model([node("If", nested(40))])],
    ["ONNX_TENSOR_TOO_LARGE", "a tensor of 2 GB", model([node("Abs")], tensor([1 << 20, 512]))],
    ["ONNX_TENSOR_WRONG", "a shape the file does not hold", model([node("Abs")], tensor([1000]))],
    ["ONNX_TENSOR_WRONG", "a negative shape", model([node("Abs")], tensor([-4]))],
    ["ONNX_PART_REFUSED", "functions", model([node("Abs")], undefined, (file) => void file.message(25, () => {}))],
    [
      "ONNX_INPUT_UNSUPPORTED",
      "complex numbers",
      model([node("Abs")], (graph) => void graph.message(11, value("c", 14, [1]))),
    ],
    [
      "ONNX_INPUT_UNSUPPORTED",
      "a sequence",
      model(
        [node("Abs")],
        (graph) =>
          void graph.message(11, (one) => void one.text(1, "s").message(2, (type) => void type.message(4, () => {}))),
      ),
    ],
    [
      "ONNX_INPUT_TOO_LARGE",
      "a huge input",
      model([node("Abs")], (graph) => void graph.message(11, value("big", 1, [1, 52_428_800]))),
    ],
  ];
  test.each(table)("%s: %s", (code, _, bytes) => {
    expect(codeOf(bytes)).toBe(code);
  });

  test("an output that is no tensor alone", () => {
    const file = new MessageWriter().integer(1, 8);
    file.message(7, (graph) => {
      graph.message(1, node("Abs")).message(11, value("x", 1, ["n"]));
      graph.message(12, (one) => void one.text(1, "z").message(2, (type) => void type.message(5, () => {})));
    });
    opset(file, 17);
    const checked = checkOnnx(file.finish());
    expect(checked).toMatchObject({ error: { code: "ONNX_OUTPUT_UNSUPPORTED", detail: { outputs: "z (map)" } } });
  });

  test("a file of 200,000 nodes is refused in no time", () => {
    const bytes = model(new Array<Fill>(200_000).fill(node("Abs")));
    const before = process.cpuUsage();
    readOnnx(bytes);
    const { user, system } = process.cpuUsage(before);
    // About 10 ms of processor time; the bound only has to tell it from reading them all into memory.
    expect((user + system) / 1_000).toBeLessThan(1_000);
    expect(ONNX_LIMITS.nodes).toBeLessThan(200_000);
  });
});

describe("any bytes at all", () => {
  const whole = Buffer.from(
    model(
      [
        node("If", nested(2)),
        node(
          "Constant",
          tensorAttribute((one) => void one.integer(2, 1)),
        ),
      ],
      (graph) => {
        graph.message(5, (one) => void one.integers(1, [1]).integer(2, 1).floats(4, Float32Array.of(1)).text(8, "w"));
      },
    ),
  );
  const judge = (bytes: Uint8Array) => {
    const checked = checkOnnx(bytes);
    if (!checked.ok) expect(checked.error.code).toMatch(/^ONNX_/);
  };

  test("are accepted or refused with a code", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 500 }), judge), { numRuns: 2_000 });
  });
  test("also when they are nearly a model", () => {
    const edit = fc.tuple(fc.nat(whole.length - 1), fc.nat(255));
    const changed = fc.tuple(fc.array(edit, { maxLength: 6 }), fc.nat(whole.length)).map(([edits, cut]) => {
      const bytes = Buffer.from(whole.subarray(0, cut < 20 ? whole.length : cut));
      for (const [at, byte] of edits) if (at < bytes.length) bytes[at] = byte;
      return bytes;
    });
    fc.assert(fc.property(changed, judge), { numRuns: 5_000 });
  });
  test("and a cut anywhere is noticed", () => {
    for (let cut = 0; cut < whole.length - 6; cut++) expect(codeOf(whole.subarray(0, cut))).not.toBe("accepted");
  });
});

const folder = sharedModels();
describe.runIf(folder !== undefined)("models of others", () => {
  const files = (kind: string) =>
    readdirSync(join(folder!, kind)).map((name) => [name, join(folder!, kind, name)] as const);

  test("each good one is accepted", () => {
    for (const [name, path] of files("good")) expect([name, codeOf(readFileSync(path))]).toEqual([name, "accepted"]);
  });
  test("each bad one is refused with its code", () => {
    expect(Object.fromEntries(files("bad").map(([name, path]) => [name, codeOf(readFileSync(path))]))).toEqual(BAD);
  });
  test("each odd one is accepted or refused with a reason", () => {
    expect(Object.fromEntries(files("odd").map(([name, path]) => [name, codeOf(readFileSync(path))]))).toEqual({
      "ort_30_nested_loops.onnx": "ONNX_TOO_DEEP",
      "ort_abs_free_dimensions.onnx": "accepted",
      "ort_invalid_dim_param_value_repetition.onnx": "accepted",
      "ort_java-three-output-matmul.onnx": "accepted",
      "ort_loop_sub_one.onnx": "ONNX_LOOP_REFUSED",
      "ort_optional_1.onnx": "ONNX_DOMAIN_UNKNOWN",
      "ort_sequence_construct.onnx": "ONNX_OUTPUT_UNSUPPORTED",
      "ort_zipmap_int64float.onnx": "ONNX_OUTPUT_UNSUPPORTED",
      "ort_zipmap_stringfloat.onnx": "ONNX_OUTPUT_UNSUPPORTED",
      "triton_simple_string.onnx": "accepted",
      "yalue_example_0_dim_output.onnx": "accepted",
      "yalue_example_big_compute.onnx": "ONNX_INPUT_TOO_LARGE",
      "yalue_example_float16.onnx": "ONNX_OUTPUT_UNSUPPORTED",
      "yalue_example_several_inputs_and_outputs.onnx": "ONNX_INPUT_UNSUPPORTED",
      "yalue_example_strings.onnx": "ONNX_OPERATOR_REFUSED",
    });
  });
});
