import { err, ok, type Result } from "../result.ts";
import { Slab } from "../slab.ts";
import type { Manifest, OutputBinding, TensorBinding, TensorType } from "./manifest.ts";

/** What a tensor's elements are stored in. Booleans are bytes of 0 and 1. */
export type TensorElements =
  | Float32Array
  | Float64Array
  | Float16Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array
  | string[];

/** One input tensor of a run. */
export interface InputTensor {
  readonly name: string;
  readonly type: TensorType;
  readonly dims: readonly number[];
  readonly data: TensorElements;
}

/** One fetched output of a run, as ONNX Runtime gives it. */
export interface OutputTensor {
  readonly dims: readonly number[];
  readonly data: ArrayLike<number | bigint | boolean | string>;
  /** ONNX Runtime's element type; "bool" elements are bytes. */
  readonly type?: string;
}

/** One vector as tensors are built from it: the manifest's features in order, and the raw window where one is bound. */
export interface TensorVector {
  readonly features: Float64Array;
  /** Rows oldest first, each in the manifest's channel order; NaN = missing. */
  readonly window?: { readonly rows: readonly Float64Array[] };
}

/** A value of one output for one vector. */
export type OutputValue = number | boolean | string | (number | string)[];

/** What one vector's run gave: the primary output as a number, and every bound output by its own name. */
export interface VectorOutputs {
  readonly primary: number;
  readonly outputs: Record<string, OutputValue>;
}

/** The manifest's members that say how vectors become tensors and results become outputs. */
export type TensorManifest = Pick<Manifest, "model" | "channels" | "features" | "tensors" | "outputs">;

/** Longest array and text of an output, as inference records hold them. */
export const OUTPUT_ELEMENTS_MAX = 1024;
export const OUTPUT_TEXT_MAX = 256;

/** A value that a whole-number or boolean tensor cannot hold. The vector it came from cannot be run. */
export class NotRepresentable extends RangeError {}

type Fill = (vectors: readonly TensorVector[]) => TensorElements;

// Compiling looks every name up; the hot path only copies. Manifests live as long as their sessions.
const compiled = new WeakMap<TensorManifest, readonly { binding: TensorBinding; fill: Fill }[]>();

/**
 * The input tensors of one run over these vectors. A shape without "batch" takes exactly one vector unless its source is
 * constant. Throws {@link NotRepresentable} where a missing value meets a type that has none.
 */
export function buildTensors(manifest: TensorManifest, vectors: readonly TensorVector[]): InputTensor[] {
  let plan = compiled.get(manifest);
  if (plan === undefined) {
    plan = manifest.tensors.map((binding) => ({ binding, fill: fillOf(manifest, binding) }));
    compiled.set(manifest, plan);
  }
  return plan.map(({ binding, fill }) => ({
    name: binding.input,
    type: binding.type,
    dims: binding.shape.map((size) => (size === "batch" ? vectors.length : size)),
    data: fill(vectors),
  }));
}

/** Elements that one vector gives to this tensor: the product of its fixed dimensions. */
export function elementsPerVector(shape: TensorBinding["shape"]): number {
  return shape.reduce<number>((product, size) => (size === "batch" ? product : product * size), 1);
}

function fillOf(manifest: TensorManifest, { input, type, shape, source }: TensorBinding): Fill {
  const count = elementsPerVector(shape);
  const batched = shape[0] === "batch";
  if (source.kind === "constant") {
    return (vectors) => {
      const data = elementsOf(type, count * (batched ? vectors.length : 1));
      for (let i = 0; i < data.length; i++) put(data, type, i, source.elements[i % count]!);
      return data;
    };
  }
  const write = source.kind === "features" ? featureWriter(manifest, source.features) : windowWriter(manifest, source);
  // Filled and copied before the next run: vectors are written one after the other, and nothing awaits between.
  const scratch = new Float64Array(count);
  const slab = new Slab();
  return (vectors) => {
    if (!batched && vectors.length !== 1) throw new Error(`the input ${input} has no batch: one vector per run`);
    const length = count * vectors.length;
    const data = type === "float32" ? slab.float32(length) : elementsOf(type, length);
    for (let row = 0; row < vectors.length; row++) {
      write(vectors[row]!, scratch);
      const at = row * count;
      // Element by element: `set` between types of a different width costs more than these few.
      if (data instanceof Float32Array) for (let i = 0; i < count; i++) data[at + i] = scratch[i]!;
      else if (data instanceof Float64Array) data.set(scratch, at);
      else for (let i = 0; i < count; i++) put(data, type, at + i, scratch[i]!);
    }
    return data;
  };
}

type VectorWriter = (vector: TensorVector, into: Float64Array) => void;

function featureWriter({ features }: TensorManifest, names: readonly string[]): VectorWriter {
  const index = new Map(features.map(({ name }, i) => [name, i]));
  const from = Int32Array.from(names, (name) => index.get(name)!);
  return (vector, into) => {
    for (let i = 0; i < from.length; i++) into[i] = vector.features[from[i]!]!;
  };
}

type WindowSource = Extract<TensorBinding["source"], { kind: "window" }>;

function windowWriter({ channels }: TensorManifest, source: WindowSource): VectorWriter {
  const index = new Map(channels.map(({ channel }, i) => [channel, i]));
  const from = source.channels.map((channel) => index.get(channel)!);
  const width = from.length;
  const { length, offset, scale, padding } = source;
  const byTime = source.order !== "channel-time";
  return ({ window }, into) => {
    const rows = window?.rows ?? [];
    const first = Math.max(0, rows.length - length);
    const pad = length - (rows.length - first);
    for (let c = 0; c < width; c++) {
      const at = (t: number) => (byTime ? t * width + c : c * length + t);
      let value = Number.NaN;
      // Rows that fall out of the tensor still say what a channel's last value was.
      for (let r = 0; r < rows.length; r++) {
        const raw = rows[r]![from[c]!]!;
        if (!Number.isNaN(raw)) value = (raw - (offset?.[c] ?? 0)) / (scale?.[c] ?? 1);
        if (r >= first) into[at(pad + r - first)] = value;
      }
      const edge = padding === "zero" ? 0 : pad < length ? into[at(pad)]! : Number.NaN;
      for (let t = 0; t < pad; t++) into[at(t)] = edge;
    }
  };
}

/** An array of zeros for tensors of this type. */
export function elementsOf(type: TensorType, length: number): TensorElements {
  switch (type) {
    case "float32":
      return new Float32Array(length);
    case "float64":
      return new Float64Array(length);
    case "float16":
      return new Float16Array(length);
    case "int64":
      return new BigInt64Array(length);
    case "uint64":
      return new BigUint64Array(length);
    case "int32":
      return new Int32Array(length);
    case "uint32":
      return new Uint32Array(length);
    case "int16":
      return new Int16Array(length);
    case "uint16":
      return new Uint16Array(length);
    case "int8":
      return new Int8Array(length);
    case "uint8":
    case "bool":
      return new Uint8Array(length);
    case "string":
      return new Array<string>(length).fill("");
  }
}

/** Writes one element, cast to the tensor's type. */
function put(data: TensorElements, type: TensorType, at: number, element: number | boolean | string): void {
  if (type === "string") {
    (data as string[])[at] = String(element);
    return;
  }
  const value = Number(element);
  if (type === "float32" || type === "float64" || type === "float16") {
    (data as Float32Array | Float64Array | Float16Array)[at] = value;
    return;
  }
  if (!Number.isFinite(value)) throw new NotRepresentable(`${element} has no form in ${type}`);
  if (type === "bool") (data as Uint8Array)[at] = value === 0 ? 0 : 1;
  else if (type === "int64" || type === "uint64")
    (data as BigInt64Array)[at] = BigInt(clamped(type, Math.trunc(value)));
  else (data as Int32Array)[at] = clamped(type, Math.trunc(value));
}

const RANGES: Partial<Record<TensorType, readonly [number, number]>> = {
  // The largest doubles below 2^63 and 2^64.
  int64: [-(2 ** 63), 2 ** 63 - 1024],
  uint64: [0, 2 ** 64 - 2048],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int16: [-32_768, 32_767],
  uint16: [0, 65_535],
  int8: [-128, 127],
  uint8: [0, 255],
};

/** Saturates: a sensor over its range must not come out at the other end of it. */
function clamped(type: TensorType, value: number): number {
  const [low, high] = RANGES[type]!;
  return Math.min(high, Math.max(low, value));
}

/**
 * What a run over `batch` vectors gave, vector by vector: the primary output and all bound outputs, or the code of what
 * is wrong with them (`OUTPUT_NOT_FINITE`, `OUTPUT_OUT_OF_RANGE`, `OUTPUT_SHAPE_WRONG`).
 */
export function readOutputs(
  manifest: TensorManifest,
  results: Readonly<Record<string, OutputTensor>>,
  batch: number,
): Result<VectorOutputs>[] {
  const vectors: Result<VectorOutputs>[] = [];
  for (let row = 0; row < batch; row++) vectors.push(readVector(manifest, results, batch, row));
  return vectors;
}

function readVector(
  { model, outputs }: TensorManifest,
  results: Readonly<Record<string, OutputTensor>>,
  batch: number,
  row: number,
): Result<VectorOutputs> {
  const values: Record<string, OutputValue> = {};
  let primary: number | undefined;
  for (const binding of outputs) {
    const value = readOne(model, binding, results[binding.output], batch, row);
    if (!value.ok) return value;
    values[binding.name] = value.value;
    if (binding.primary === true) primary = asNumber(value.value);
  }
  if (primary === undefined) {
    const output = outputs.find((binding) => binding.primary === true)?.output ?? "(none)";
    return err("OUTPUT_SHAPE_WRONG", { model, output, expected: "one number for each vector" });
  }
  return ok({ primary, outputs: values });
}

function asNumber(value: OutputValue): number | undefined {
  return typeof value === "number" || typeof value === "boolean" ? Number(value) : undefined;
}

function readOne(
  model: string,
  { output, index, range }: OutputBinding,
  tensor: OutputTensor | undefined,
  batch: number,
  row: number,
): Result<OutputValue> {
  const wrong = (expected: string) => err("OUTPUT_SHAPE_WRONG", { model, output, expected });
  if (tensor === undefined) return wrong("a tensor");
  const { dims, data } = tensor;
  if (batch > 1 && dims[0] !== batch) return wrong(`[${batch}, …], not [${dims.join(", ")}]`);
  const width = data.length / batch;
  if (index !== undefined && index >= width) return wrong(`more than ${index} elements for each vector, not ${width}`);
  const from = row * width + (index ?? 0);
  const count = index === undefined ? width : 1;
  if (count < 1 || count > OUTPUT_ELEMENTS_MAX) {
    return wrong(`1 to ${OUTPUT_ELEMENTS_MAX} elements for each vector, not ${count}`);
  }
  const only = data[from];
  if (count === 1 && typeof only === "number" && tensor.type !== "bool" && isInside(only, range)) return ok(only);
  const elements: (number | string)[] = [];
  for (let i = from; i < from + count; i++) {
    const element = data[i]!;
    if (typeof element === "string") {
      elements.push(element.slice(0, OUTPUT_TEXT_MAX));
      continue;
    }
    const value = Number(element);
    if (!Number.isFinite(value)) return err("OUTPUT_NOT_FINITE", { model, output });
    if (range !== undefined && !(value >= range[0] && value <= range[1])) {
      return err("OUTPUT_OUT_OF_RANGE", { model, output, value, low: range[0], high: range[1] });
    }
    elements.push(value);
  }
  if (count > 1) return ok(elements);
  return ok(tensor.type === "bool" || typeof only === "boolean" ? elements[0] === 1 : elements[0]!);
}

function isInside(value: number, range: OutputBinding["range"]): boolean {
  return Number.isFinite(value) && (range === undefined || (value >= range[0] && value <= range[1]));
}
