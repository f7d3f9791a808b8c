import { createHash } from "node:crypto";
import { compileFeatures } from "../features/program.ts";
import { err, ok, type Result } from "../result.ts";
import { canonicalBytes } from "../trust/canonical.ts";
import { parseUnit } from "../units.ts";
import { type Manifest, manifestShape, type TensorBinding } from "./manifest.ts";
import { elementsPerVector } from "./tensors.ts";

/** Most input elements of one run: 64 MB of float32. */
const RUN_ELEMENTS_MAX = 16 * 1024 * 1024;
/** Largest manifest.json. */
export const MANIFEST_BYTES_MAX = 4 * 1024 * 1024;

/** The manifest's canonical bytes: what its digest is taken of, and what manifest.json holds. */
export function manifestBytes(manifest: Manifest): Buffer {
  return canonicalBytes(manifest);
}

/** "sha256:…" of these bytes. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** The digest that names a manifest everywhere. */
export function manifestDigest(manifest: Manifest): string {
  return digestOf(manifestBytes(manifest));
}

/** Reads a manifest: its shape, then what its members say to each other. */
export function parseManifest(bytes: Uint8Array | string): Result<Manifest> {
  const manifest = manifestShape.parse(bytes, MANIFEST_BYTES_MAX);
  return manifest.ok ? checkManifest(manifest.value) : manifest;
}

/**
 * Whether the members of a manifest agree: features compile, tensors read features and channels that exist and have as
 * many elements as their shapes say, exactly one output is primary. `MANIFEST_WRONG` names the member.
 */
export function checkManifest(manifest: Manifest): Result<Manifest> {
  for (const { channel, unit } of manifest.channels) {
    const known = parseUnit(unit);
    if (!known.ok) return wrong(`channels/${channel}`, known.error.message);
  }
  const twice = firstTwice(manifest.channels.map(({ channel }) => channel));
  if (twice !== undefined) return wrong("channels", `${twice} stands there twice`);
  const program = compileFeatures(manifest);
  if (!program.ok) return program;
  const tensors = checkTensors(manifest);
  if (!tensors.ok) return tensors;
  const outputs = checkOutputs(manifest);
  if (!outputs.ok) return outputs;
  const { alert, compatibility } = manifest;
  if (alert !== undefined && alert.k > alert.n) return wrong("alert", `k ${alert.k} is more than n ${alert.n}`);
  if (firstTwice(compatibility.architectures) !== undefined)
    return wrong("compatibility/architectures", "one is twice");
  return ok(manifest);
}

function checkTensors(manifest: Manifest): Result<void> {
  const twice = firstTwice(manifest.tensors.map(({ input }) => input));
  if (twice !== undefined) return wrong("tensors", `the input ${twice} is bound twice`);
  let elements = 0;
  for (const tensor of manifest.tensors) {
    const checked = checkTensor(manifest, tensor);
    if (!checked.ok) return checked;
    elements += elementsPerVector(tensor.shape);
  }
  if (elements * manifest.maxBatch > RUN_ELEMENTS_MAX) {
    return wrong(
      "tensors",
      `${elements} elements for each of ${manifest.maxBatch} vectors are over ${RUN_ELEMENTS_MAX}`,
    );
  }
  return ok(undefined);
}

function checkTensor(manifest: Manifest, { input, type, shape, source }: TensorBinding): Result<void> {
  const at = `tensors/${input}`;
  if (shape.some((size, i) => size === "batch" && i > 0)) return wrong(at, '"batch" may stand in the first place only');
  const count = elementsPerVector(shape);
  if (shape[0] !== "batch" && source.kind !== "constant" && manifest.maxBatch > 1) {
    return wrong(at, `its shape has no "batch", so maxBatch must be 1, not ${manifest.maxBatch}`);
  }
  const elements = elementsOfSource(source);
  if (elements !== count)
    return wrong(at, `its shape holds ${count} elements for each vector, its source gives ${elements}`);
  if (source.kind === "features") {
    const names = new Set(manifest.features.map(({ name }) => name));
    const missing = source.features.find((name) => !names.has(name));
    return missing === undefined ? ok(undefined) : wrong(at, `there is no feature ${missing}`);
  }
  if (source.kind === "constant") {
    const expected = type === "string" ? "string" : type === "bool" ? "boolean" : "number";
    const odd = source.elements.find((element) => typeof element !== expected);
    return odd === undefined ? ok(undefined) : wrong(at, `${JSON.stringify(odd)} is no ${expected}`);
  }
  return checkWindowSource(manifest, at, source);
}

function elementsOfSource(source: TensorBinding["source"]): number {
  if (source.kind === "features") return source.features.length;
  return source.kind === "window" ? source.length * source.channels.length : source.elements.length;
}

function checkWindowSource(
  { channels, window }: Manifest,
  at: string,
  source: Extract<TensorBinding["source"], { kind: "window" }>,
): Result<void> {
  const names = new Set(channels.map(({ channel }) => channel));
  const missing = source.channels.find((channel) => !names.has(channel));
  if (missing !== undefined) return wrong(at, `there is no channel ${missing}`);
  for (const member of ["offset", "scale"] as const) {
    const values = source[member];
    if (values !== undefined && values.length !== source.channels.length) {
      return wrong(`${at}/${member}`, `${source.channels.length} numbers, one for each channel, not ${values.length}`);
    }
  }
  if (source.scale?.includes(0)) return wrong(`${at}/scale`, "a scale of 0 divides by nothing");
  if (window.kind === "count" && window.length < source.length) {
    return wrong(at, `it reads ${source.length} rows, and the window keeps ${window.length}`);
  }
  return ok(undefined);
}

function checkOutputs({ outputs }: Manifest): Result<void> {
  const twice = firstTwice(outputs.map(({ name }) => name));
  if (twice !== undefined) return wrong("outputs", `two are named ${twice}`);
  const primaries = outputs.filter(({ primary }) => primary === true);
  if (primaries.length !== 1) return wrong("outputs", `exactly one is primary, not ${primaries.length}`);
  for (const { name, range } of outputs) {
    if (range !== undefined && !(range[0] < range[1])) return wrong(`outputs/${name}/range`, "from low to high");
  }
  return ok(undefined);
}

function firstTwice(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return names.find((name) => seen.size === seen.add(name).size);
}

function wrong(path: string, reason: string) {
  return err("MANIFEST_WRONG", { path, reason });
}
