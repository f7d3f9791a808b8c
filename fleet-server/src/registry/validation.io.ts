import { readFile } from "node:fs/promises";
import { checkOnnx } from "@bellwether/protocol/onnx/static-check.ts";
import { checkBindings } from "@bellwether/protocol/package/bindings.ts";
import { digestOf, parseManifest } from "@bellwether/protocol/package/check.ts";
import { type Golden, parseGolden, runGolden, vectorOf } from "@bellwether/protocol/package/golden.ts";
import type { BlobReference, Manifest } from "@bellwether/protocol/package/manifest.ts";
import { buildTensors } from "@bellwether/protocol/package/tensors.ts";
import { parseReference } from "@bellwether/protocol/reference/profile.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { ValidationReport } from "../store/registry.ts";
import { type OpenModel, openModel } from "./session.io.ts";

/** Where the files of a package are. */
export interface PackageFiles {
  readonly manifest: string;
  readonly model: string;
  readonly golden: string;
  readonly reference: string;
  readonly card?: string;
}

/** What validation finds out; the parent adds what the child took. */
export type Findings = Omit<ValidationReport, "peakBytes" | "wallMs">;

/** Runs of one vector that are timed, and the time they may take together. */
const TIMED_RUNS = 200;
const TIMED_MS = 2_000;

/**
 * Judges a package as a device will: digests, manifest, static check, bindings, load, golden vectors. Runs a stranger's
 * model, so only inside a limited child.
 */
export async function validatePackage(files: PackageFiles): Promise<Result<Findings>> {
  const read = await readPackage(files);
  if (!read.ok) return read;
  const { manifest, model, golden, reference, nodes } = read.value;
  const opened = await openModel(model, manifest);
  if (!opened.ok) return opened;
  try {
    const outputs = [...new Set(manifest.outputs.map(({ output }) => output))];
    const proven = await runGolden(manifest, golden, (inputs) => opened.value.run(inputs, outputs));
    if (!proven.ok) return proven;
    return ok({
      ...proven.value,
      opset: manifest.compatibility.opset,
      nodes,
      loadMs: opened.value.loadMs,
      ...(await timed(opened.value, manifest, golden, outputs)),
      scoreStd: reference.score?.std ?? null,
    });
  } finally {
    await opened.value.close();
  }
}

/** Reads and checks everything of a package that can be checked without running it. */
async function readPackage(files: PackageFiles) {
  const manifest = parseManifest(await readFile(files.manifest));
  if (!manifest.ok) return manifest;
  const { files: named } = manifest.value;
  const model = await readPinned(files.model, "model.onnx", named.model);
  if (!model.ok) return model;
  const checked = checkOnnx(model.value);
  if (!checked.ok) return checked;
  const bound = checkBindings(manifest.value, checked.value);
  if (!bound.ok) return bound;
  const goldenFile = await readPinned(files.golden, "golden.json", named.golden);
  if (!goldenFile.ok) return goldenFile;
  const golden = parseGolden(goldenFile.value, manifest.value);
  if (!golden.ok) return golden;
  const referenceFile = await readPinned(files.reference, "reference.json", named.reference);
  if (!referenceFile.ok) return referenceFile;
  const reference = parseReference(referenceFile.value);
  if (!reference.ok) return reference;
  const names = new Set(manifest.value.features.map(({ name }) => name));
  const stranger = Object.keys(reference.value.features).find((name) => !names.has(name));
  if (stranger !== undefined) {
    return err("REFERENCE_WRONG", { name: stranger, expected: "profiles of the manifest's own features only" });
  }
  const { drift } = reference.value;
  const unknown = [...(drift?.features ?? []), ...(drift?.regimes.features ?? [])].find((name) => !names.has(name));
  if (unknown !== undefined) {
    return err("REFERENCE_WRONG", { name: unknown, expected: "drift charts of the manifest's own features only" });
  }
  return ok({
    manifest: manifest.value,
    model: model.value,
    golden: golden.value,
    reference: reference.value,
    nodes: checked.value.nodes,
  });
}

async function readPinned(path: string, file: string, { digest, length }: BlobReference): Promise<Result<Buffer>> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch {
    return err("BLOB_MISSING", { file, digest, length });
  }
  const actual = digestOf(bytes);
  return actual === digest ? ok(bytes) : err("BLOB_DIGEST_MISMATCH", { actual, expected: digest });
}

/** Latency of one vector on this machine: an indication, devices measure their own. */
async function timed(model: OpenModel, manifest: Manifest, golden: Golden, outputs: readonly string[]) {
  const inputs = buildTensors(manifest, [vectorOf(golden.cases[0]!)]);
  const timesUs: number[] = [];
  const endMs = performance.now() + TIMED_MS;
  while (timesUs.length < TIMED_RUNS && performance.now() < endMs) {
    const startMs = performance.now();
    await model.run(inputs, outputs);
    timesUs.push((performance.now() - startMs) * 1_000);
  }
  timesUs.sort((a, b) => a - b);
  const quantile = (q: number) => Math.round(timesUs[Math.min(timesUs.length - 1, Math.floor(q * timesUs.length))]!);
  return { p50LatencyUs: quantile(0.5), p99LatencyUs: quantile(0.99) };
}
