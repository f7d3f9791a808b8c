import { type Static, Type } from "typebox";
import { Name } from "../ids.ts";
import { runtimeReason } from "../onnx/runtime-reason.ts";
import { err, ok, type Result } from "../result.ts";
import { mapOf, validator } from "../schema.ts";
import { canonicalBytes } from "../trust/canonical.ts";
import type { Manifest } from "./manifest.ts";
import {
  buildTensors,
  type InputTensor,
  type OutputTensor,
  type OutputValue,
  readOutputs,
  type TensorManifest,
  type TensorVector,
  type VectorOutputs,
} from "./tensors.ts";

/** Largest golden.json. */
export const GOLDEN_BYTES_MAX = 8 * 1024 * 1024;
export const GOLDEN_CASES_MAX = 256;

const closed = { additionalProperties: false } as const;
/** JSON knows no NaN: a missing value is null. */
const Value = Type.Union([Type.Number(), Type.Null()]);
const OutputValueSchema = Type.Union([
  Type.Number(),
  Type.Boolean(),
  Type.String({ maxLength: 256 }),
  Type.Array(Type.Union([Type.Number(), Type.String({ maxLength: 256 })]), { maxItems: 1024 }),
]);

/** One vector as the model's features (and window) see it, and what the model must answer. */
export const GoldenCase = Type.Object(
  {
    features: Type.Array(Value, { maxItems: 10_000 }),
    /** Rows oldest first, each in the manifest's channel order. */
    window: Type.Optional(Type.Array(Type.Array(Value, { maxItems: 1_024 }), { maxItems: 100_000 })),
    /** By the manifest's output names. */
    outputs: mapOf(Name, OutputValueSchema, { maxProperties: 64 }),
  },
  closed,
);
export type GoldenCase = Static<typeof GoldenCase>;

/** golden.json: proof, carried with the model, that a machine computes what its maker computed. */
export const Golden = Type.Object(
  { v: Type.Literal(1), cases: Type.Array(GoldenCase, { minItems: 1, maxItems: GOLDEN_CASES_MAX }) },
  closed,
);
export type Golden = Static<typeof Golden>;

const goldenShape = validator("golden.json", Golden);

/** A run of a session: feeds these tensors and fetches the outputs the manifest binds. Throws what the runtime throws. */
export type RunTensors = (inputs: readonly InputTensor[]) => Promise<Readonly<Record<string, OutputTensor>>>;

/** How well a model answered its golden cases. */
export interface GoldenReport {
  readonly cases: number;
  /** Runs of the model: each case alone, then all in batches of the manifest's `maxBatch`. */
  readonly runs: number;
  /** Largest |got - expected| over all numbers. */
  readonly maxDifference: number;
}

/** Reads golden.json and checks it against its manifest. */
export function parseGolden(bytes: Uint8Array, manifest: TensorManifest): Result<Golden> {
  const golden = goldenShape.parse(bytes, GOLDEN_BYTES_MAX);
  if (!golden.ok) return golden;
  const wrong = (at: number, expected: string) => err("GOLDEN_WRONG", { case: at, expected });
  const names = new Set(manifest.outputs.map(({ name }) => name));
  const raw = manifest.tensors.some(({ source }) => source.kind === "window");
  for (const [at, { features, window, outputs }] of golden.value.cases.entries()) {
    if (features.length !== manifest.features.length) {
      return wrong(at, `${manifest.features.length} features, not ${features.length}`);
    }
    if (raw && (window === undefined || window.length === 0)) return wrong(at, "a window, which the model reads");
    const row = window?.find((one) => one.length !== manifest.channels.length);
    if (row !== undefined) return wrong(at, `rows of ${manifest.channels.length} channels, not ${row.length}`);
    for (const name of names) if (!Object.hasOwn(outputs, name)) return wrong(at, `an output ${name}`);
    for (const name of Object.keys(outputs)) if (!names.has(name)) return wrong(at, `no output ${name}`);
  }
  return golden;
}

/** The bytes of a golden.json for vectors and the outputs their maker computed. */
export function goldenBytes(
  vectors: readonly TensorVector[],
  outputs: readonly VectorOutputs["outputs"][],
): Uint8Array {
  const number = (value: number) => (Number.isFinite(value) ? value : null);
  const cases = vectors.map(({ features, window }, i) => ({
    features: Array.from(features, number),
    ...(window === undefined ? {} : { window: window.rows.map((row) => Array.from(row, number)) }),
    outputs: outputs[i]!,
  }));
  return canonicalBytes({ v: 1, cases });
}

/** The vector of a case. */
export function vectorOf({ features, window }: GoldenCase): TensorVector {
  const numbers = (values: readonly (number | null)[]) => Float64Array.from(values, (value) => value ?? Number.NaN);
  return { features: numbers(features), ...(window === undefined ? {} : { window: { rows: window.map(numbers) } }) };
}

/**
 * Runs a model over its golden cases, each alone and then in batches as large as the manifest allows (kernels differ by
 * batch size, and some models that declare a free batch fail at 2), and compares. `GOLDEN_MISMATCH` names the first
 * output that is off, `GOLDEN_RUN_FAILED` a run that failed.
 */
export async function runGolden(
  manifest: TensorManifest & Pick<Manifest, "maxBatch" | "tolerance">,
  golden: Golden,
  run: RunTensors,
): Promise<Result<GoldenReport>> {
  const sizes = manifest.maxBatch > 1 && golden.cases.length > 1 ? [1, manifest.maxBatch] : [1];
  let runs = 0;
  let maxDifference = 0;
  for (const size of sizes) {
    for (let from = 0; from < golden.cases.length; from += size) {
      const cases = golden.cases.slice(from, from + size);
      let results: Readonly<Record<string, OutputTensor>>;
      try {
        results = await run(buildTensors(manifest, cases.map(vectorOf)));
      } catch (cause) {
        return err("GOLDEN_RUN_FAILED", { case: from, batch: cases.length, reason: runtimeReason(cause) });
      }
      runs += 1;
      const got = readOutputs(manifest, results, cases.length);
      for (const [i, one] of cases.entries()) {
        const outputs = got[i]!;
        if (!outputs.ok) return outputs;
        const compared = compareGolden(manifest, outputs.value.outputs, one.outputs, from + i, cases.length);
        if (!compared.ok) return compared;
        maxDifference = Math.max(maxDifference, compared.value);
      }
    }
  }
  return ok({ cases: golden.cases.length, runs, maxDifference });
}

/** The largest difference between what a model gave for a case and what it must give, or `GOLDEN_MISMATCH`. */
export function compareGolden(
  { tolerance }: Pick<Manifest, "tolerance">,
  got: Readonly<Record<string, OutputValue>>,
  expected: Readonly<Record<string, OutputValue>>,
  at: number,
  batch = 1,
): Result<number> {
  let largest = 0;
  for (const [output, want] of Object.entries(expected)) {
    const gotten = Object.hasOwn(got, output) ? got[output] : undefined;
    const wants = Array.isArray(want) ? want : [want];
    const gots = Array.isArray(gotten) ? gotten : [gotten];
    const mismatch = (i: number) =>
      err("GOLDEN_MISMATCH", {
        case: at,
        batch,
        output: wants.length > 1 ? `${output}[${i}]` : output,
        actual: gots[i] ?? null,
        expected: wants[i] ?? null,
      });
    if (wants.length !== gots.length) return mismatch(Math.min(wants.length, gots.length));
    for (const [i, one] of wants.entries()) {
      const other = gots[i];
      if (typeof one !== "number" || typeof other !== "number") {
        if (one !== other) return mismatch(i);
        continue;
      }
      const difference = Math.abs(other - one);
      // Written so that a NaN on either side is a mismatch.
      if (!(difference <= tolerance.absolute + tolerance.relative * Math.abs(one))) return mismatch(i);
      largest = Math.max(largest, difference);
    }
  }
  return ok(largest);
}
