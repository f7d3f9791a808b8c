import { MessageWriter } from "./protobuf.ts";

// Field numbers: onnx/onnx-ml.proto of the ONNX project (IR version 8).

export const ELEMENT_TYPES = { float32: 1, int32: 6, int64: 7, string: 8, bool: 9, float64: 11 } as const;
export type ElementType = keyof typeof ELEMENT_TYPES;

/** An attribute by the type that ONNX writes; whole numbers are given as Int32Array where there are many. */
export type Attribute =
  | { readonly float: number }
  | { readonly int: number }
  | { readonly text: string }
  | { readonly floats: Float32Array }
  | { readonly ints: ArrayLike<number> }
  | { readonly texts: readonly string[] };

export interface GraphNode {
  readonly operator: string;
  /** "" is ONNX itself, "ai.onnx.ml" classical machine learning. */
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** A graph input or output; a text in its shape names a dimension that is free. */
export interface GraphValue {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly (number | string)[];
}

/** A constant of the graph; no dimensions make it a scalar. */
export interface GraphConstant {
  readonly name: string;
  readonly dims: readonly number[];
  readonly values: Float32Array;
}

export interface GraphModel {
  readonly name: string;
  readonly producer: string;
  readonly opsets: Readonly<Record<string, number>>;
  readonly nodes: readonly GraphNode[];
  readonly inputs: readonly GraphValue[];
  readonly outputs: readonly GraphValue[];
  readonly constants: readonly GraphConstant[];
}

const IR_VERSION = 8;

/** The bytes of an ONNX file; the same model gives the same bytes. */
export function writeModel(model: GraphModel): Uint8Array {
  const file = new MessageWriter().integer(1, IR_VERSION).text(2, model.producer);
  file.message(7, (graph) => {
    for (const node of model.nodes) graph.message(1, (into) => writeNode(into, node));
    graph.text(2, model.name);
    for (const constant of model.constants) graph.message(5, (into) => writeConstant(into, constant));
    for (const input of model.inputs) graph.message(11, (into) => writeValue(into, input));
    for (const output of model.outputs) graph.message(12, (into) => writeValue(into, output));
  });
  for (const [domain, version] of Object.entries(model.opsets)) {
    file.message(8, (opset) => void opset.text(1, domain).integer(2, version));
  }
  return file.finish();
}

function writeNode(into: MessageWriter, node: GraphNode): void {
  for (const input of node.inputs) into.text(1, input);
  for (const output of node.outputs) into.text(2, output);
  into.text(4, node.operator);
  for (const [name, attribute] of Object.entries(node.attributes)) {
    into.message(5, (inner) => writeAttribute(inner.text(1, name), attribute));
  }
  into.text(7, node.domain);
}

function writeAttribute(into: MessageWriter, attribute: Attribute): void {
  if ("float" in attribute) into.float(2, attribute.float).integer(20, 1);
  else if ("int" in attribute) into.integer(3, attribute.int).integer(20, 2);
  else if ("text" in attribute) into.text(4, attribute.text).integer(20, 3);
  else if ("floats" in attribute) into.floats(7, attribute.floats).integer(20, 6);
  else if ("ints" in attribute) into.integers(8, attribute.ints).integer(20, 7);
  else {
    for (const text of attribute.texts) into.text(9, text);
    into.integer(20, 8);
  }
}

function writeConstant(into: MessageWriter, constant: GraphConstant): void {
  if (constant.dims.length > 0) into.integers(1, constant.dims);
  into.integer(2, ELEMENT_TYPES.float32).floats(4, constant.values).text(8, constant.name);
}

function writeValue(into: MessageWriter, value: GraphValue): void {
  into.text(1, value.name).message(2, (type) => {
    type.message(1, (tensor) => {
      tensor.integer(1, ELEMENT_TYPES[value.type]).message(2, (shape) => {
        for (const size of value.shape) {
          shape.message(1, (dim) => void (typeof size === "number" ? dim.integer(1, size) : dim.text(2, size)));
        }
      });
    });
  });
}
