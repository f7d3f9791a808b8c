import { AssetFeatures } from "@bellwether/protocol/features/asset.ts";
import { compileFeatures } from "@bellwether/protocol/features/program.ts";
import { rawScore, type ScoreTransform, type TreeEnsemble, transformed } from "@bellwether/protocol/onnx/ensemble.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import type { FeaturePlan } from "./features.ts";
import type { HistoryAsset, HistorySnapshot } from "./history/snapshot.ts";
import { livesOf, type TargetSpec, targetsOf } from "./targets.ts";
import { type FeatureMatrix, rowsOf } from "./trainers/matrix.ts";

/** Feature vectors with targets; groups are indices into the snapshot's assets. */
export interface PreparedRows {
  readonly matrix: FeatureMatrix;
  readonly target: Float64Array;
  readonly groups: Int32Array;
  /** Rows of one life of one asset, in the order of time, stand together and have the same number here. */
  readonly lives: Int32Array;
  /** Which row of its asset's history each one is. */
  readonly historyRows: Int32Array;
  /** Every n-th row was kept, to stay within memory; 1 = all. */
  readonly thinnedBy: number;
}

/** Most numbers of a training matrix: 256 MB of float32, and a quarter of that again in bins. */
export const MATRIX_CELLS_MAX = 64 * 1024 * 1024;

/**
 * The vectors of every row whose target is known, by the very code of the agent: rows go through the same windows,
 * baselines and restarts as on a device, those without a target too, because they fill the windows.
 */
export function prepareRows(
  snapshot: HistorySnapshot,
  plan: FeaturePlan,
  target: TargetSpec,
  cellsMax = MATRIX_CELLS_MAX,
): Result<PreparedRows> {
  const program = compileFeatures(plan.manifest);
  if (!program.ok) return program;
  const features = plan.manifest.features.length;
  const targets = snapshot.assets.map((asset) => targetsOf(asset, target));
  const known = targets.reduce((sum, column) => sum + countKnown(column, 1), 0);
  const thinnedBy = Math.max(1, Math.ceil((known * features) / cellsMax));
  const rows = targets.reduce((sum, column) => sum + countKnown(column, thinnedBy), 0);
  const values = new Float32Array(rows * features);
  const target_ = new Float64Array(rows);
  const groups = new Int32Array(rows);
  const lives = new Int32Array(rows);
  const historyRows = new Int32Array(rows);
  let at = 0;
  let life = 0;
  for (const [group, asset] of snapshot.assets.entries()) {
    const column = targets[group]!;
    const state = new AssetFeatures(program.value);
    const ends = new Set(livesOf(asset).map(({ last }) => last));
    let restarts = 0;
    eachVector(asset, plan, state, (row, vector) => {
      if (state.restarts > restarts || ends.has(row - 1)) life += 1;
      restarts = state.restarts;
      if (!isKept(column, row, thinnedBy)) return;
      for (let f = 0; f < features; f += 1) values[f * rows + at] = vector[f]!;
      target_[at] = column[row]!;
      groups[at] = group;
      lives[at] = life;
      historyRows[at] = row;
      at += 1;
    });
    life += 1;
  }
  return ok({ matrix: { rows, features, values }, target: target_, groups, lives, historyRows, thinnedBy });
}

/** Counted from the end: the last rows before a failure are the ones to keep. */
function isKept(column: Float64Array, row: number, thinnedBy: number): boolean {
  return !Number.isNaN(column[row]!) && (column.length - 1 - row) % thinnedBy === 0;
}

function countKnown(column: Float64Array, thinnedBy: number): number {
  let count = 0;
  for (let row = 0; row < column.length; row += 1) if (isKept(column, row, thinnedBy)) count += 1;
  return count;
}

function eachVector(
  asset: HistoryAsset,
  plan: FeaturePlan,
  state: AssetFeatures,
  take: (row: number, vector: Float64Array) => void,
): void {
  const columns = plan.sources.map((source) => asset.channels[source]!);
  const scratch = new Float64Array(columns.length);
  for (let row = 0; row < asset.timesMs.length; row += 1) {
    for (let c = 0; c < columns.length; c += 1) scratch[c] = columns[c]![row]!;
    const vector = state.push(asset.timesMs[row]!, scratch);
    // The window is due at every row (hop 1 from the first one on), so each row has its vector.
    if (vector === undefined) throw new Error("a window of hop 1 left a row without a vector");
    take(row, vector);
  }
}

/** The rows at these indices, as the trees take them. */
export function rowsAt(prepared: PreparedRows, rows: Uint32Array) {
  return {
    matrix: rowsOf(prepared.matrix, rows),
    target: Float64Array.from(rows, (row) => prepared.target[row]!),
    groups: Int32Array.from(rows, (row) => prepared.groups[row]!),
  };
}

/** Predictions for these rows of a matrix. */
export function predictRows(
  ensemble: TreeEnsemble,
  transform: ScoreTransform,
  { matrix }: Pick<PreparedRows, "matrix">,
  rows: Uint32Array,
): Float64Array {
  const row = new Float32Array(matrix.features);
  return Float64Array.from(rows, (r) => {
    for (let f = 0; f < matrix.features; f += 1) row[f] = matrix.values[f * matrix.rows + r]!;
    return transformed(rawScore(ensemble, row), transform);
  });
}
