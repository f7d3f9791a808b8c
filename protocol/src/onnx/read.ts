import { err, ok, type Result } from "../result.ts";
import { MessageReader, WireError } from "./wire.ts";

/** Bounds of what is read; the reader stops at the first one that is passed. */
export const ONNX_LIMITS = {
  /** As the manifest's blob references allow. */
  fileBytes: 512 * 1024 * 1024,
  /** In the graph and all its subgraphs; 200,000 took ONNX Runtime 4 s to load. */
  nodes: 20_000,
  tensors: 50_000,
  /** Graph inputs and outputs. */
  values: 10_000,
  depth: 8,
  dims: 32,
  textBytes: 4_096,
  opsets: 64,
} as const;

/** Element types by their number in ONNX (TensorProto.DataType). */
export const ELEMENT_TYPE_NAMES: Readonly<Record<number, string>> = {
  ...{ 1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool" },
  ...{ 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16" },
  ...{ 17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4" },
};

/** What a graph input or output holds. Only tensors cross between a device and a model. */
export type OnnxValueKind = "tensor" | "sequence" | "map" | "optional" | "sparse tensor" | "opaque" | "unknown";

/** A graph input or output. `shape` is undefined when the file does not say; a free dimension is its name, "" for none. */
export interface OnnxValue {
  readonly name: string;
  readonly kind: OnnxValueKind;
  /** Element type of a tensor. */
  readonly type?: string;
  readonly shape?: readonly (number | string)[];
}

/** A tensor inside the file: an initializer, or an attribute of a node. Its content is not kept. */
export interface OnnxTensor {
  readonly name: string;
  readonly type: number;
  readonly dims: readonly number[];
  /** Bytes of content in the file. */
  readonly bytes: number;
  /** Set when the content lies elsewhere: where. */
  readonly location?: string;
}

export interface OnnxNode {
  readonly operator: string;
  /** "" is ONNX's own. */
  readonly domain: string;
  readonly name: string;
  readonly subgraphs: readonly OnnxGraph[];
}

export interface OnnxGraph {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  /** Initializers, sparse ones as their values, and tensors in attributes of this graph's nodes. */
  readonly tensors: readonly OnnxTensor[];
  /** Names that have an initializer: an input of that name need not be fed. */
  readonly initialized: ReadonlySet<string>;
}

/** What is read of an ONNX file: enough to judge it and to bind its inputs and outputs, never its weights. */
export interface OnnxModel {
  readonly irVersion: number;
  readonly producer: string;
  readonly opsets: readonly { readonly domain: string; readonly version: number }[];
  readonly graph: OnnxGraph;
  /** Functions and training graphs the file brings along. */
  readonly functions: number;
  readonly trainings: number;
  /** Nodes in all graphs. */
  readonly nodes: number;
}

const LFS = "version https://git-lfs";
/** Identifier of ONNX Runtime's own flatbuffer format, at bytes 4 to 7. */
const ORT_FORMAT = "ORTM";

/**
 * Reads an ONNX file (onnx-ml.proto, IR version 3 and later) within {@link ONNX_LIMITS}: time and memory follow from the
 * file's length. Codes: `ONNX_LFS_POINTER`, `ONNX_RUNTIME_FORMAT`, `ONNX_CORRUPT`, `ONNX_TOO_LARGE`, `ONNX_TOO_MANY_NODES`,
 * `ONNX_TOO_MANY_PARTS`, `ONNX_TOO_DEEP`.
 */
export function readOnnx(bytes: Uint8Array): Result<OnnxModel> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { fileBytes } = ONNX_LIMITS;
  if (buffer.length > fileBytes)
    return err("ONNX_TOO_LARGE", { what: "file", actual: buffer.length, limit: fileBytes });
  if (buffer.toString("latin1", 0, LFS.length) === LFS) return err("ONNX_LFS_POINTER");
  // The runtime goes by these four bytes alone. A file that is good protobuf as well would be judged as one model here
  // and run as another one there.
  if (buffer.toString("latin1", 4, 4 + ORT_FORMAT.length) === ORT_FORMAT) return err("ONNX_RUNTIME_FORMAT");
  try {
    return ok(new Reading().model(new MessageReader(buffer)));
  } catch (cause) {
    if (cause instanceof Refusal) return cause.result;
    if (cause instanceof WireError) return err("ONNX_CORRUPT", { reason: cause.message });
    throw cause;
  }
}

/** A bound was passed: ends the reading from any depth. */
class Refusal extends Error {
  readonly result: ReturnType<typeof err>;
  constructor(result: ReturnType<typeof err>) {
    super(result.error.message);
    this.result = result;
  }
}

/** Collects what one graph's messages say. */
interface GraphParts {
  name: string;
  readonly nodes: OnnxNode[];
  readonly inputs: OnnxValue[];
  readonly outputs: OnnxValue[];
  readonly tensors: OnnxTensor[];
  readonly initialized: Set<string>;
}

/** One reading of one file: its methods are the messages of onnx-ml.proto, its members what was counted so far. */
class Reading {
  #nodes = 0;
  #tensors = 0;
  #values = 0;

  model(message: MessageReader): OnnxModel {
    let irVersion = 0;
    let producer = "";
    let graph: OnnxGraph | undefined;
    let functions = 0;
    let trainings = 0;
    const opsets: { domain: string; version: number }[] = [];
    while (message.next()) {
      if (message.field === 1) irVersion = message.integer();
      else if (message.field === 2) producer = message.text(ONNX_LIMITS.textBytes);
      else if (message.field === 7) {
        // Protobuf merges a message that stands twice; two readers must not see two different graphs.
        if (graph !== undefined) throw new WireError("a second graph");
        graph = this.#graph(message.message(), 0);
      } else if (message.field === 8) {
        if (opsets.length === ONNX_LIMITS.opsets) throw new WireError(`more than ${ONNX_LIMITS.opsets} operator sets`);
        opsets.push(opset(message.message()));
      } else {
        if (message.field === 20) trainings += 1;
        if (message.field === 25) functions += 1;
        message.skip();
      }
    }
    if (graph === undefined) throw new WireError("it has no graph");
    return { irVersion, producer, opsets, graph, functions, trainings, nodes: this.#nodes };
  }

  #graph(message: MessageReader, depth: number): OnnxGraph {
    if (depth > ONNX_LIMITS.depth) throw new Refusal(err("ONNX_TOO_DEEP", { limit: ONNX_LIMITS.depth }));
    const parts: GraphParts = { name: "", nodes: [], inputs: [], outputs: [], tensors: [], initialized: new Set() };
    while (message.next()) {
      switch (message.field) {
        case 1:
          parts.nodes.push(this.#node(message.message(), depth, parts.tensors));
          break;
        case 2:
          parts.name = message.text(ONNX_LIMITS.textBytes);
          break;
        case 5:
        case 15: {
          const tensors =
            message.field === 5 ? [this.#tensor(message.message())] : this.#sparseTensor(message.message());
          for (const tensor of tensors) {
            parts.tensors.push(tensor);
            parts.initialized.add(tensor.name);
          }
          break;
        }
        case 11:
          parts.inputs.push(this.#value(message.message()));
          break;
        case 12:
          parts.outputs.push(this.#value(message.message()));
          break;
        default:
          message.skip();
      }
    }
    return parts;
  }

  #node(message: MessageReader, depth: number, tensors: OnnxTensor[]): OnnxNode {
    this.#nodes += 1;
    if (this.#nodes > ONNX_LIMITS.nodes) throw new Refusal(err("ONNX_TOO_MANY_NODES", { limit: ONNX_LIMITS.nodes }));
    let operator: string | undefined;
    let domain: string | undefined;
    let name = "";
    const subgraphs: OnnxGraph[] = [];
    while (message.next()) {
      switch (message.field) {
        case 3:
          name = message.text(ONNX_LIMITS.textBytes);
          break;
        case 4:
          if (operator !== undefined) throw new WireError("a node with two operators");
          operator = message.text(ONNX_LIMITS.textBytes);
          break;
        case 5:
          this.#attribute(message.message(), depth, tensors, subgraphs);
          break;
        case 7:
          if (domain !== undefined) throw new WireError("a node with two domains");
          domain = message.text(ONNX_LIMITS.textBytes);
          break;
        default:
          message.skip();
      }
    }
    // Files write ONNX's own domain in two ways.
    return { operator: operator ?? "", domain: domain === "ai.onnx" ? "" : (domain ?? ""), name, subgraphs };
  }

  #attribute(message: MessageReader, depth: number, tensors: OnnxTensor[], subgraphs: OnnxGraph[]): void {
    while (message.next()) {
      // t and tensors, g and graphs, sparse_tensor and sparse_tensors: whatever the attribute says its type is.
      if (message.field === 5 || message.field === 10) tensors.push(this.#tensor(message.message()));
      else if (message.field === 6 || message.field === 11) subgraphs.push(this.#graph(message.message(), depth + 1));
      else if (message.field === 22 || message.field === 23) tensors.push(...this.#sparseTensor(message.message()));
      else message.skip();
    }
  }

  #tensor(message: MessageReader): OnnxTensor {
    this.#tensors += 1;
    const { tensors: limit } = ONNX_LIMITS;
    if (this.#tensors > limit) throw new Refusal(err("ONNX_TOO_MANY_PARTS", { parts: "tensors", limit }));
    const dims: number[] = [];
    let name = "";
    let type = 0;
    let bytes = 0;
    let location: string | undefined;
    while (message.next()) {
      const { field } = message;
      if (field === 1) message.integers(dims, ONNX_LIMITS.dims);
      else if (field === 2) type = message.integer();
      else if (field === 8) name = message.text(ONNX_LIMITS.textBytes);
      else if (field === 13) location = externalLocation(message.message()) ?? location ?? "";
      else if (field === 14) {
        if (message.integer() !== 0) location ??= "";
      } else if (CONTENT.has(field)) bytes += contentBytes(message);
      else message.skip();
    }
    return { name, type, dims, bytes, ...(location === undefined ? {} : { location }) };
  }

  /** Values and indices; the initializer's name is that of its values. */
  #sparseTensor(message: MessageReader): OnnxTensor[] {
    const tensors: OnnxTensor[] = [];
    while (message.next()) {
      if (message.field === 1 || message.field === 2) tensors.push(this.#tensor(message.message()));
      else message.skip();
    }
    return tensors;
  }

  #value(message: MessageReader): OnnxValue {
    this.#values += 1;
    const { values: limit } = ONNX_LIMITS;
    if (this.#values > limit) throw new Refusal(err("ONNX_TOO_MANY_PARTS", { parts: "inputs and outputs", limit }));
    let name = "";
    let type: Omit<OnnxValue, "name"> = { kind: "unknown" };
    while (message.next()) {
      if (message.field === 1) name = message.text(ONNX_LIMITS.textBytes);
      else if (message.field === 2) type = valueType(message.message());
      else message.skip();
    }
    return { name, ...type };
  }
}

/** float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data of a tensor. */
const CONTENT = new Set([4, 5, 6, 7, 9, 10, 11]);

function contentBytes(message: MessageReader): number {
  const before = message.left;
  message.skip();
  return before - message.left;
}

function opset(message: MessageReader): { domain: string; version: number } {
  let domain = "";
  let version = 0;
  while (message.next()) {
    if (message.field === 1) domain = message.text(ONNX_LIMITS.textBytes);
    else if (message.field === 2) version = message.integer();
    else message.skip();
  }
  return { domain: domain === "ai.onnx" ? "" : domain, version };
}

/** The value of an external_data entry whose key is "location". */
function externalLocation(message: MessageReader): string | undefined {
  let key = "";
  let value = "";
  while (message.next()) {
    if (message.field === 1) key = message.text(ONNX_LIMITS.textBytes);
    else if (message.field === 2) value = message.text(ONNX_LIMITS.textBytes);
    else message.skip();
  }
  return key === "location" ? value : undefined;
}

const KINDS: Readonly<Record<number, OnnxValueKind>> = {
  1: "tensor",
  4: "sequence",
  5: "map",
  7: "opaque",
  8: "sparse tensor",
  9: "optional",
};

function valueType(message: MessageReader): Omit<OnnxValue, "name"> {
  let type: Omit<OnnxValue, "name"> | undefined;
  while (message.next()) {
    const kind = KINDS[message.field];
    if (kind === undefined) {
      message.skip();
      continue;
    }
    if (type !== undefined) throw new WireError("a value with two types");
    if (kind === "tensor") type = tensorType(message.message());
    else {
      message.skip();
      type = { kind };
    }
  }
  return type ?? { kind: "unknown" };
}

function tensorType(message: MessageReader): Omit<OnnxValue, "name"> {
  let type: string | undefined;
  let shape: (number | string)[] | undefined;
  while (message.next()) {
    if (message.field === 1) {
      const element = message.integer();
      type = ELEMENT_TYPE_NAMES[element] ?? `type ${element}`;
    } else if (message.field === 2) {
      if (shape !== undefined) throw new WireError("a tensor with two shapes");
      shape = shapeOf(message.message());
    } else message.skip();
  }
  return { kind: "tensor", ...(type === undefined ? {} : { type }), ...(shape === undefined ? {} : { shape }) };
}

function shapeOf(message: MessageReader): (number | string)[] {
  const shape: (number | string)[] = [];
  while (message.next()) {
    if (message.field !== 1) {
      message.skip();
      continue;
    }
    if (shape.length === ONNX_LIMITS.dims) throw new WireError(`more than ${ONNX_LIMITS.dims} dimensions`);
    shape.push(dimension(message.message()));
  }
  return shape;
}

/** A size, or the name of a free one. Older exporters write 0 or -1 for free. */
function dimension(message: MessageReader): number | string {
  let size: number | string = "";
  while (message.next()) {
    if (message.field === 1) {
      const value = message.integer();
      size = value > 0 ? value : "";
    } else if (message.field === 2) size = message.text(ONNX_LIMITS.textBytes);
    else message.skip();
  }
  return size;
}
