import type { ScoreTransform, TreeEnsemble } from "@bellwether/protocol/onnx/ensemble.ts";
import {
  ENSEMBLE_INPUT,
  ENSEMBLE_OPSETS,
  ENSEMBLE_OUTPUT,
  writeRegressor,
} from "@bellwether/protocol/onnx/tree-ensemble.ts";
import { goldenBytes } from "@bellwether/protocol/package/golden.ts";
import type { AlertRule, FeatureSpec, Manifest, OutputBinding } from "@bellwether/protocol/package/manifest.ts";
import { sample, seededRandom } from "@bellwether/protocol/random.ts";
import type { DriftReference } from "@bellwether/protocol/reference/drift-reference.ts";
import { referenceBytes, referenceProfile } from "@bellwether/protocol/reference/profile.ts";
import { driftReference } from "./drift.ts";
import type { FeaturePlan } from "./features.ts";
import type { HistorySnapshot } from "./history/snapshot.ts";
import type { Evaluation } from "./metrics.ts";
import type { TrainingOrder, TrainingRequest } from "./order.ts";
import { type PreparedRows, predictRows } from "./prepare.ts";
import type { GbdtModel } from "./trainers/gbdt.ts";

/** What the registry needs to make a version: the manifest but for what only it knows, and the files. */
export interface BuiltPackage {
  readonly manifest: Omit<Manifest, "version" | "files">;
  readonly files: { readonly model: Uint8Array; readonly golden: Uint8Array; readonly reference: Uint8Array };
  /** What devices will watch for drift; undefined when the history has too few rows in a row. */
  readonly drift: DriftReference | undefined;
  /** Features the trees use, largest share of the gain first. */
  readonly importance: { readonly name: string; readonly importance: number }[];
}

export const TRAINER = "bellwether-gbdt/1";
const GOLDEN_CASES = 32;
const REFERENCE_ROWS_MAX = 50_000;
/** Vectors in one run: an agent with many assets answers them at once. */
const BATCH_MAX = 256;

export interface PackageInput {
  readonly order: TrainingOrder;
  readonly plan: FeaturePlan;
  readonly model: GbdtModel;
  readonly transform: ScoreTransform;
  readonly evaluation: Evaluation;
  readonly prepared: PreparedRows;
  /** Rows the model learnt from: the reference of what is normal. */
  readonly rows: Uint32Array;
  /** What a model that never saw their assets says of these rows. */
  readonly unseenScores: Float64Array;
  /** Places in the plan of features a device needs though no tree may ask for them. */
  readonly wanted: readonly number[];
  readonly snapshot: HistorySnapshot;
  readonly seed: number;
}

/** The package of a trained model. Features and channels that nothing asks for are left out: a device saves their work. */
export function buildPackage(input: PackageInput): BuiltPackage {
  const { plan, model, transform, prepared, rows, seed, order } = input;
  const used = usedFeatures(model.ensemble, input.wanted);
  const features = used.map((f) => plan.manifest.features[f]!);
  const vector = (row: number) =>
    Float64Array.from(used, (f) => prepared.matrix.values[f * prepared.matrix.rows + row]!);
  const draw = (count: number, stream: number) => {
    const drawn = new Uint32Array(Math.min(count, rows.length));
    sample(rows, drawn.length, seededRandom(seed, stream), drawn);
    return drawn;
  };
  const golden = draw(GOLDEN_CASES, 3);
  const known = draw(REFERENCE_ROWS_MAX, 4);
  const predict = (of: Uint32Array) => predictRows(model.ensemble, transform, prepared, of);
  const output = outputOf(order.request, transform, input.evaluation);
  const expected = predict(golden);
  const drift = driftReference({ ...input, used, options: order.request.drift, scores: input.unseenScores });
  return {
    manifest: manifestOf(input, features, output),
    files: {
      model: modelBytes(model, transform, input.wanted),
      golden: goldenBytes(
        Array.from(golden, (row) => ({ features: vector(row) })),
        Array.from(expected, (value) => ({ [output.name]: value })),
      ),
      reference: referenceBytes(
        referenceProfile(
          features.map(({ name }) => name),
          Array.from(known, vector),
          predict(known),
          drift,
        ),
      ),
    },
    drift,
    importance: used
      .map((f) => ({ name: plan.manifest.features[f]!.name, importance: model.importance[f]! }))
      .toSorted((a, b) => b.importance - a.importance),
  };
}

/** The ONNX file of a model. */
export function modelBytes(model: GbdtModel, transform: ScoreTransform, wanted: readonly number[]): Uint8Array {
  return writeRegressor(narrowed(model.ensemble, usedFeatures(model.ensemble, wanted)), transform);
}

/** Features some tree asks for, in order; the first one where none does, because a tensor has at least one element. */
function usedFeatures({ feature }: TreeEnsemble, wanted: readonly number[]): number[] {
  const used = [...new Set([...feature, ...wanted])].filter((f) => f >= 0).toSorted((a, b) => a - b);
  return used.length > 0 ? used : [0];
}

function narrowed(ensemble: TreeEnsemble, used: readonly number[]): TreeEnsemble {
  const place = new Map(used.map((f, i) => [f, i]));
  return { ...ensemble, features: used.length, feature: ensemble.feature.map((f) => (f < 0 ? -1 : place.get(f)!)) };
}

function manifestOf(
  { order, plan, transform, evaluation, seed }: PackageInput,
  features: readonly FeatureSpec[],
  output: OutputBinding,
): BuiltPackage["manifest"] {
  const { request } = order;
  const read = new Set(features.map(({ channel }) => channel));
  const { channels, window, baseline, restart } = plan.manifest;
  const needed = channels.filter(({ channel }) => read.has(channel) || channel === restart?.counter);
  const alert = request.alert ?? alertOf(output, evaluation);
  return {
    v: 1,
    model: request.model,
    ...(request.description === undefined ? {} : { description: request.description }),
    // A manifest has at least one channel, even where the trees look at nothing but age.
    channels: needed.length > 0 ? needed : channels.slice(0, 1),
    window,
    features: [...features],
    ...(baseline !== undefined && features.some((f) => f.relativeToBaseline === true) ? { baseline } : {}),
    ...(restart === undefined ? {} : { restart }),
    tensors: [
      {
        input: ENSEMBLE_INPUT,
        type: "float32",
        shape: ["batch", features.length],
        source: { kind: "features", features: features.map(({ name }) => name) },
      },
    ],
    outputs: [output],
    ...(alert === undefined ? {} : { alert }),
    compatibility: { opset: ENSEMBLE_OPSETS[""], executionProviders: ["cpu"], architectures: ["x64", "arm64"] },
    limits: { p99LatencyMs: 100, memoryMb: 256 },
    // Float32 sums of some hundred leaves against float64 ones: FINDINGS measured 4.7e-5 relative.
    tolerance: { absolute: transform.kind === "logistic" ? 1e-4 : 1e-3 * scaleOf(transform), relative: 1e-4 },
    maxBatch: BATCH_MAX,
    lineage: {
      trainer: TRAINER,
      snapshot: order.snapshot,
      seed,
      run: order.run,
      ...(order.parent === undefined ? {} : { parent: order.parent }),
    },
  };
}

/** Size of the outputs: an absolute tolerance must not swallow a target that lives between 0 and 1. */
function scaleOf(transform: ScoreTransform): number {
  if (transform.kind === "logistic" || transform.range === undefined) return 1;
  return Math.min(1, Math.max(1e-6, transform.range[1] - transform.range[0]));
}

function outputOf({ target }: TrainingRequest, transform: ScoreTransform, evaluation: Evaluation): OutputBinding {
  const half = evaluation.intervalHalfWidth;
  const common = {
    output: ENSEMBLE_OUTPUT,
    primary: true,
    range: transform.kind === "logistic" ? ([0, 1] as [number, number]) : ([...transform.range!] as [number, number]),
    ...(half === null ? {} : { intervalHalfWidth: half }),
  };
  if (target.kind === "rul") {
    return { name: "rul", meaning: "rul", unit: target.in === "hours" ? "h" : "{row}", ...common };
  }
  if (target.kind === "binary") return { name: "probability", meaning: "probability", unit: "1", ...common };
  const meaning = target.meaning ?? "value";
  return { name: meaning, meaning, ...(target.unit === undefined ? {} : { unit: target.unit }), ...common };
}

/** An alert where the request asks for none of its own: little life left, or a likely failure, in three of five vectors. */
function alertOf(output: OutputBinding, evaluation: Evaluation): AlertRule | undefined {
  const debounce = { k: 3, n: 5 };
  if (output.meaning === "rul") return { direction: "below", threshold: 0.2 * output.range![1], ...debounce };
  const threshold = evaluation.f1Threshold;
  if (output.meaning !== "probability" || threshold === null || threshold === undefined) return undefined;
  return { direction: "above", threshold, ...debounce };
}
