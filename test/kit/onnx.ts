// A few ONNX models written by hand (onnx.proto3, IR version 8, opset 17), so that tests need no file and no Python.

const FLOAT = 1;
const INT64 = 7;
const BOOL = 9;
const HALF = 10;

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return bytes;
}

const int = (field: number, value: number | bigint) =>
  Buffer.from([...varint(BigInt(field << 3)), ...varint(BigInt(value))]);
function block(field: number, content: Uint8Array | string): Buffer {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  return Buffer.concat([Buffer.from([...varint(BigInt((field << 3) | 2)), ...varint(BigInt(bytes.length))]), bytes]);
}
const message = (...fields: Uint8Array[]) => Buffer.concat(fields);

type Dim = number | string;
const dimension = (dim: Dim) => block(1, typeof dim === "number" ? int(1, dim) : block(2, dim));
const valueInfo = (name: string, type: number, dims: readonly Dim[]) =>
  message(block(1, name), block(2, block(1, message(int(1, type), block(2, message(...dims.map(dimension)))))));
const tensor = (name: string, type: number, dims: readonly number[], raw: Uint8Array) =>
  message(...dims.map((dim) => int(1, dim)), int(2, type), block(8, name), block(9, raw));
const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const int64s = (...values: bigint[]) => new Uint8Array(BigInt64Array.from(values).buffer);
const node = (op: string, inputs: readonly string[], outputs: readonly string[], ...attributes: Uint8Array[]) =>
  message(
    ...inputs.map((name) => block(1, name)),
    ...outputs.map((name) => block(2, name)),
    block(4, op),
    ...attributes.map((attribute) => block(5, attribute)),
  );
const graphAttribute = (name: string, graph: Uint8Array) => message(block(1, name), block(6, graph), int(20, 5));

interface Graph {
  readonly name: string;
  readonly nodes: readonly Uint8Array[];
  readonly inputs: readonly Uint8Array[];
  readonly outputs: readonly Uint8Array[];
  readonly initializers?: readonly Uint8Array[];
}

const graphOf = ({ name, nodes, inputs, outputs, initializers = [] }: Graph) =>
  message(
    ...nodes.map((each) => block(1, each)),
    block(2, name),
    ...initializers.map((each) => block(5, each)),
    ...inputs.map((each) => block(11, each)),
    ...outputs.map((each) => block(12, each)),
  );

const modelOf = (graph: Graph) =>
  message(
    int(1, 8),
    block(2, "bellwether-tests"),
    block(7, graphOf(graph)),
    block(8, message(block(1, ""), int(2, 17))),
  );

/** out[b, 1] = in[b, n] · weights + bias, inputs "in" and "out", any batch. */
export function linearModel(weights: readonly number[], bias = 0): Buffer {
  return modelOf({
    name: "linear",
    nodes: [node("MatMul", ["in", "w"], ["product"]), node("Add", ["product", "b"], ["out"])],
    inputs: [valueInfo("in", FLOAT, ["batch", weights.length])],
    outputs: [valueInfo("out", FLOAT, ["batch", 1])],
    initializers: [tensor("w", FLOAT, [weights.length, 1], floats(...weights)), tensor("b", FLOAT, [1], floats(bias))],
  });
}

/** out[b, 1] = 2 · in[b, 1], both of halves (float16). */
export function halvesModel(): Buffer {
  return modelOf({
    name: "halves",
    nodes: [node("Add", ["in", "in"], ["out"])],
    inputs: [valueInfo("in", HALF, ["batch", 1])],
    outputs: [valueInfo("out", HALF, ["batch", 1])],
  });
}

/**
 * Like `linearModel([1])`, but while an input is above `threshold` the run never comes back: a Loop whose condition
 * stays true. It is valid, loads fast, and passes its golden vectors below the threshold.
 */
export function hangingModel(threshold: number): Buffer {
  const body = graphOf({
    name: "body",
    nodes: [node("Identity", ["go"], ["go_on"]), node("Identity", ["carried"], ["carried_on"])],
    inputs: [valueInfo("i", INT64, []), valueInfo("go", BOOL, []), valueInfo("carried", FLOAT, ["batch", 1])],
    outputs: [valueInfo("go_on", BOOL, []), valueInfo("carried_on", FLOAT, ["batch", 1])],
  });
  return modelOf({
    name: "hanging",
    nodes: [
      node("ReduceMax", ["in"], ["largest"], message(block(1, "keepdims"), int(3, 0), int(20, 2))),
      node("Greater", ["largest", "threshold"], ["above"]),
      node("Loop", ["forever", "above", "in"], ["out"], graphAttribute("body", body)),
    ],
    inputs: [valueInfo("in", FLOAT, ["batch", 1])],
    outputs: [valueInfo("out", FLOAT, ["batch", 1])],
    initializers: [
      tensor("threshold", FLOAT, [], floats(threshold)),
      tensor("forever", INT64, [], int64s(0x7fff_ffff_ffff_fffn)),
    ],
  });
}
