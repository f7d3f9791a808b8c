import { TENSOR_TYPES, type TensorType } from "../package/manifest.ts";
import { err, ok, type Result } from "../result.ts";
import { nearest } from "../text.ts";
import { OPERATORS, OPSETS_MAX, REPEATING } from "./operators.ts";
import {
  ELEMENT_TYPE_NAMES,
  type OnnxGraph,
  type OnnxModel,
  type OnnxTensor,
  type OnnxValue,
  readOnnx,
} from "./read.ts";

/** Largest single tensor in a file, and largest input of one vector. */
export const TENSOR_BYTES_MAX = 256 * 1024 * 1024;
export const INPUT_ELEMENTS_MAX = 4 * 1024 * 1024;

/** A graph input that has to be fed. */
export interface ModelInput {
  readonly name: string;
  readonly type: TensorType;
  /** Free dimensions by their names ("" for none); undefined when the file does not say. */
  readonly shape?: readonly (number | string)[];
}

/** A graph output, with whether it is a tensor that can be fetched. */
export interface ModelOutput extends OnnxValue {
  readonly fetchable: boolean;
}

/** A model that may be loaded: what a manifest can bind. */
export interface CheckedModel {
  readonly opset: number;
  readonly producer: string;
  readonly nodes: number;
  readonly inputs: readonly ModelInput[];
  readonly outputs: readonly ModelOutput[];
}

/** Reads an ONNX file and judges it without running anything; every refusal has its own code. */
export function checkOnnx(bytes: Uint8Array): Result<CheckedModel> {
  const model = readOnnx(bytes);
  return model.ok ? checkModel(model.value) : model;
}

/** Judges a model that was read. */
export function checkModel(model: OnnxModel): Result<CheckedModel> {
  if (model.functions > 0 || model.trainings > 0) {
    return err("ONNX_PART_REFUSED", { part: model.functions > 0 ? "functions of its own" : "training graphs" });
  }
  const opset = checkOpsets(model);
  if (!opset.ok) return opset;
  const graph = checkGraph(model.graph, new Set(model.opsets.map(({ domain }) => domain)));
  if (!graph.ok) return graph;
  const inputs = checkInputs(model.graph);
  if (!inputs.ok) return inputs;
  const outputs = model.graph.outputs.map((output) => ({ ...output, fetchable: isFetchable(output) }));
  if (!outputs.some(({ fetchable }) => fetchable)) {
    const kinds = outputs.map(({ name, kind, type }) => `${name} (${kind === "tensor" ? type : kind})`).join(", ");
    return err("ONNX_OUTPUT_UNSUPPORTED", { outputs: kinds || "none at all" });
  }
  return ok({ opset: opset.value, producer: model.producer, nodes: model.nodes, inputs: inputs.value, outputs });
}

function checkOpsets({ opsets }: OnnxModel): Result<number> {
  if (opsets.length === 0) return err("ONNX_OPSET_MISSING");
  for (const { domain, version } of opsets) {
    // A domain that no node uses does no harm; a node of an unknown domain is refused at the node.
    const limit = Object.hasOwn(OPSETS_MAX, domain) ? OPSETS_MAX[domain]! : Number.POSITIVE_INFINITY;
    if (version < 1) return err("ONNX_OPSET_MISSING");
    if (version > limit) return err("ONNX_OPSET_TOO_NEW", { domain: domain || "ai.onnx", version, limit });
  }
  return ok(opsets.find(({ domain }) => domain === "")?.version ?? 1);
}

function checkGraph(graph: OnnxGraph, imported: ReadonlySet<string>): Result<void> {
  for (const tensor of graph.tensors) {
    const checked = checkTensor(tensor);
    if (!checked.ok) return checked;
  }
  for (const { operator, domain, name, subgraphs } of graph.nodes) {
    const node = name || "(unnamed)";
    const allowed = Object.hasOwn(OPERATORS, domain) ? OPERATORS[domain] : undefined;
    if (allowed === undefined) return err("ONNX_DOMAIN_UNKNOWN", { domain, operator, node });
    if (domain === "" && REPEATING.has(operator)) return err("ONNX_LOOP_REFUSED", { operator, node });
    if (!allowed.has(operator)) {
      const close = nearest(operator, [...allowed]);
      return err("ONNX_OPERATOR_REFUSED", {
        operator: operator.slice(0, 100),
        node,
        hint: close === undefined ? "" : `; did you mean "${close}"?`,
      });
    }
    if (!imported.has(domain)) return err("ONNX_OPSET_MISSING", { domain });
    for (const subgraph of subgraphs) {
      const checked = checkGraph(subgraph, imported);
      if (!checked.ok) return checked;
    }
  }
  return ok(undefined);
}

function checkTensor({ name, type, dims, bytes, location }: OnnxTensor): Result<void> {
  const tensor = name || "(unnamed)";
  if (location !== undefined) {
    // ONNX Runtime takes this "path" as an address in its own memory.
    if (location.includes("_ORT_MEM_ADDR_")) return err("ONNX_MEMORY_ADDRESS", { tensor });
    return err("ONNX_EXTERNAL_DATA", { tensor, location: location || "(none)" });
  }
  const bits = ELEMENT_BITS[ELEMENT_TYPE_NAMES[type] ?? ""];
  if (bits === undefined) return err("ONNX_TENSOR_WRONG", { tensor, reason: `its element type is ${type}` });
  if (dims.some((size) => size < 0)) return err("ONNX_TENSOR_WRONG", { tensor, reason: `its shape is [${dims}]` });
  const elements = dims.reduce((product, size) => product * size, 1);
  if ((elements * bits) / 8 > TENSOR_BYTES_MAX) {
    return err("ONNX_TENSOR_TOO_LARGE", { tensor, dims, limitMb: TENSOR_BYTES_MAX / 2 ** 20 });
  }
  // However it is written, an element takes four bits at least: a shape cannot promise what the file does not hold.
  if (elements > 2 * bytes) {
    return err("ONNX_TENSOR_WRONG", { tensor, reason: `it has ${bytes} bytes for ${elements} elements` });
  }
  return ok(undefined);
}

const ELEMENT_BITS: Readonly<Record<string, number>> = {
  ...{ float32: 32, uint8: 8, int8: 8, uint16: 16, int16: 16, int32: 32, int64: 64, string: 64, bool: 8, float16: 16 },
  ...{ float64: 64, uint32: 32, uint64: 64, complex64: 64, complex128: 128, bfloat16: 16, float8e4m3fn: 8 },
  ...{ float8e4m3fnuz: 8, float8e5m2: 8, float8e5m2fnuz: 8, uint4: 4, int4: 4 },
};

function checkInputs(graph: OnnxGraph): Result<ModelInput[]> {
  const inputs: ModelInput[] = [];
  for (const { name, kind, type, shape } of graph.inputs) {
    if (graph.initialized.has(name)) continue;
    if (kind !== "tensor" || !isTensorType(type)) {
      return err("ONNX_INPUT_UNSUPPORTED", { input: name, kind: kind === "tensor" ? (type ?? "untyped") : kind });
    }
    const fixed = (shape ?? []).reduce<number>(
      (product, size) => (typeof size === "number" ? product * size : product),
      1,
    );
    if (fixed > INPUT_ELEMENTS_MAX) {
      return err("ONNX_INPUT_TOO_LARGE", { input: name, elements: fixed, limit: INPUT_ELEMENTS_MAX });
    }
    inputs.push({ name, type, ...(shape === undefined ? {} : { shape }) });
  }
  return inputs.length > 0 ? ok(inputs) : err("ONNX_INPUT_UNSUPPORTED", { input: "(none)", kind: "no input at all" });
}

function isFetchable({ kind, type }: OnnxValue): boolean {
  return kind === "tensor" && isTensorType(type);
}

function isTensorType(type: string | undefined): type is TensorType {
  return TENSOR_TYPES.some((known) => known === type);
}
