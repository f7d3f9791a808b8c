import type { ScoreTransform } from "@bellwether/protocol/onnx/ensemble.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import { halvesOf, regimePlaces } from "./drift.ts";
import { type FeaturePlan, planFeatures } from "./features.ts";
import type { HistoryAsset, HistorySnapshot } from "./history/snapshot.ts";
import { type Evaluation, evaluate } from "./metrics.ts";
import type { TrainingOrder, TrainingProgress, TrainingRequest, TrainingSummary } from "./order.ts";
import { type BuiltPackage, buildPackage } from "./package.ts";
import { type PreparedRows, predictRows, prepareRows, rowsAt } from "./prepare.ts";
import { type AssetSplit, splitAssets } from "./split.ts";
import { checkTarget, isBinary, targetsOf } from "./targets.ts";
import { type GbdtModel, type TreeProgress, trainGbdt } from "./trainers/gbdt.ts";
import type { LossKind } from "./trainers/losses.ts";
import { GBDT_DEFAULTS, type GbdtParameters } from "./trainers/parameters.ts";

/** What a run makes. */
export interface TrainedModel {
  readonly package: BuiltPackage;
  readonly summary: TrainingSummary;
}

type GrowingStep = "evaluating" | "growing" | "calibrating";

export type OnProgress = (progress: TrainingProgress) => void;

/** The seed of a run that names none: the same request gives the same model. */
export const SEED_DEFAULT = 1;

/** What a run learns from and how, before anything is grown. */
export interface TrainingPlan {
  readonly seed: number;
  readonly parameters: GbdtParameters;
  readonly loss: LossKind;
  readonly split: AssetSplit;
  readonly features: FeaturePlan;
  /** Places of features a device needs though no tree may ask for them. */
  readonly wanted: readonly number[];
  readonly prepared: PreparedRows;
  readonly transform: ScoreTransform;
  /** Rows to measure a first model with, and rows the released model learns from. */
  readonly learntRows: Uint32Array;
  readonly finalRows: Uint32Array;
}

/**
 * Plans a run: target, split by asset, features, their rows. `more` are assets beside the snapshot's own whose rows are
 * prepared in the same way and not learnt from; they come after the snapshot's.
 */
export function planTraining(
  request: TrainingRequest,
  snapshot: HistorySnapshot,
  more: readonly HistoryAsset[] = [],
): Result<TrainingPlan> {
  const seed = request.seed ?? SEED_DEFAULT;
  const parameters: GbdtParameters = { ...GBDT_DEFAULTS, ...request.parameters };
  const checked = checkTarget(request.history, snapshot, request.target);
  if (!checked.ok) return checked;
  const known = snapshot.assets.filter((asset) => targetsOf(asset, request.target).some((y) => !Number.isNaN(y)));
  const split = splitAssets(
    request.history,
    known.map(({ asset }) => asset),
    request.holdoutAssets,
    snapshot.assets.map(({ asset }) => asset),
    seed,
  );
  if (!split.ok) return split;
  const { learnt, refit } = split.value;
  const features = planFeatures(request.history, snapshot, request.features ?? {}, learnt);
  if (!features.ok) return features;
  const wanted = regimePlaces(features.value, request.drift);
  if (!wanted.ok) return wanted;
  const prepared = prepareRows({ ...snapshot, assets: [...snapshot.assets, ...more] }, features.value, request.target);
  if (!prepared.ok) return prepared;
  const { groups } = prepared.value;
  const own = Uint32Array.from(groups.keys()).filter((row) => groups[row]! < snapshot.assets.length);
  const learntRows = own.filter((row) => learnt.has(snapshot.assets[groups[row]!]!.asset));
  return ok({
    seed,
    parameters,
    loss: isBinary(request.target) ? "logistic" : parameters.loss,
    split: split.value,
    features: features.value,
    wanted: wanted.value,
    prepared: prepared.value,
    transform: transformOf(request, prepared.value, learntRows),
    learntRows,
    finalRows: refit ? own : learntRows,
  });
}

/**
 * A training run from snapshot to model package: features, split by asset, a model measured on the held-out assets, the
 * released model, its package. The same snapshot and request give the same bytes.
 */
export function trainModel(
  order: TrainingOrder,
  snapshot: HistorySnapshot,
  onProgress: OnProgress,
): Result<TrainedModel> {
  const { request } = order;
  onProgress({ step: "preparing", done: 0 });
  const planned = planTraining(request, snapshot);
  if (!planned.ok) return planned;
  const { seed, parameters, loss, split, features, wanted, prepared, transform, learntRows, finalRows } = planned.value;
  const { heldOut, refit } = split;
  const grow = (rows: Uint32Array, step: GrowingStep, from: number, to: number) =>
    trainGbdt(rowsAt(prepared, rows), loss, parameters, seed, (progress) =>
      onProgress(progressOf(progress, step, from, to)),
    );
  const measured = grow(learntRows, "evaluating", 0.05, refit ? 0.35 : 0.5);
  const heldOutRows = Uint32Array.from(prepared.groups.keys()).filter((row) =>
    heldOut.has(snapshot.assets[prepared.groups[row]!]!.asset),
  );
  const evaluation = measure(measured, transform, prepared, learntRows, heldOutRows, isBinary(request.target));
  const model = refit ? grow(finalRows, "growing", 0.35, 0.6) : measured;
  const unseenScores = scoredUnseen(prepared, transform, finalRows, seed, (rows, half) =>
    grow(rows, "calibrating", 0.6 + 0.15 * half, 0.75 + 0.15 * half),
  );
  onProgress({ step: "packaging", done: 0.92 });
  const built = buildPackage({
    order,
    plan: features,
    model,
    transform,
    evaluation,
    prepared,
    rows: finalRows,
    unseenScores,
    wanted,
    snapshot,
    seed,
  });
  return ok({ package: built, summary: summaryOf(built, model, evaluation, features, prepared, finalRows, split) });
}

/**
 * Scores of these rows, each by a model of the other half of the assets: on the assets it learnt from, a model is surer
 * than it will be on any device.
 */
function scoredUnseen(
  prepared: PreparedRows,
  transform: ScoreTransform,
  rows: Uint32Array,
  seed: number,
  grow: (rows: Uint32Array, half: 0 | 1) => GbdtModel,
): Float64Array {
  const halves = halvesOf(prepared, rows, seed);
  const scores = new Float64Array(prepared.groups.length).fill(Number.NaN);
  for (const half of [0, 1] as const) {
    const [own, other] = [halves[half]!, halves[1 - half]!];
    // A single asset has no other half: it can only be scored by a model that saw it.
    const { ensemble } = grow(other.length > 0 ? other : own, half);
    const predicted = predictRows(ensemble, transform, prepared, own);
    for (const [i, row] of own.entries()) scores[row] = predicted[i]!;
  }
  return Float64Array.from(rows, (row) => scores[row]!);
}

/** Predictions stay within what was learnt: trees that correct each other may overshoot it. */
function transformOf({ target }: TrainingRequest, prepared: PreparedRows, learntRows: Uint32Array): ScoreTransform {
  if (isBinary(target)) return { kind: "logistic" };
  if (target.kind === "rul") return { kind: "identity", range: [0, Math.fround(target.cap)] };
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const row of learntRows) {
    low = Math.min(low, prepared.target[row]!);
    high = Math.max(high, prepared.target[row]!);
  }
  // A target that never changes has no extent, and the range of an output must have one.
  const reach = high > low ? 0 : Math.max(1, Math.abs(low));
  return { kind: "identity", range: [Math.fround(low - reach), Math.fround(high + reach)] };
}

function measure(
  model: GbdtModel,
  transform: ScoreTransform,
  prepared: PreparedRows,
  learntRows: Uint32Array,
  heldOutRows: Uint32Array,
  binary: boolean,
): Evaluation {
  let sum = 0;
  for (const row of learntRows) sum += prepared.target[row]!;
  return evaluate(
    predictRows(model.ensemble, transform, prepared, heldOutRows),
    Float64Array.from(heldOutRows, (row) => prepared.target[row]!),
    Int32Array.from(heldOutRows, (row) => prepared.groups[row]!),
    sum / learntRows.length,
    binary,
  );
}

function progressOf(
  { tree, trees, trainLoss, watchedLoss }: TreeProgress,
  step: GrowingStep,
  from: number,
  to: number,
): TrainingProgress {
  return {
    step,
    done: from + (to - from) * (tree / trees),
    tree,
    trees,
    ...(trainLoss === undefined ? {} : { loss: trainLoss }),
    ...(watchedLoss === undefined ? {} : { watchedLoss }),
  };
}

function summaryOf(
  built: BuiltPackage,
  model: GbdtModel,
  evaluation: Evaluation,
  plan: FeaturePlan,
  prepared: PreparedRows,
  finalRows: Uint32Array,
  { heldOut, refit }: { readonly heldOut: ReadonlySet<string>; readonly refit: boolean },
): TrainingSummary {
  const blind =
    built.drift === undefined
      ? ["Devices cannot watch this model for drift: the history has too few rows in a row for windows."]
      : [];
  const thinned = prepared.thinnedBy > 1 ? [`Every ${prepared.thinnedBy}th row was kept, to stay within memory.`] : [];
  return {
    rows: finalRows.length,
    assets: new Set(Array.from(finalRows, (row) => prepared.groups[row]!)).size,
    holdoutAssets: [...heldOut].toSorted(new Intl.Collator("en", { numeric: true }).compare),
    refit,
    thinnedBy: prepared.thinnedBy,
    evaluation,
    trees: model.ensemble.starts.length - 1,
    features: built.importance,
    notes: [...plan.notes, ...thinned, ...blind],
  };
}
