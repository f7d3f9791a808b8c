import type { TreeEnsemble } from "@bellwether/protocol/onnx/ensemble.ts";
import { rawScore, type ScoreTransform, transformed } from "@bellwether/protocol/onnx/ensemble.ts";
import type { PreparedRows } from "./prepare.ts";
import { rowsAt } from "./prepare.ts";
import type { GbdtModel } from "./trainers/gbdt.ts";
import { trainGbdt } from "./trainers/gbdt.ts";
import type { LossKind } from "./trainers/losses.ts";
import type { GbdtParameters } from "./trainers/parameters.ts";

/**
 * Ways to a model for a cohort that has changed, the simplest first. stale: the champion as it is; new-baseline: the
 * champion on features moved back by what the cohort's healthy values moved; pooled: learnt anew from the old history
 * and the cohort; pooled-new-baseline: the same with the cohort's features moved back; residual: the champion and trees
 * for what it gets wrong on the cohort; cohort-only: learnt from the cohort alone.
 */
export const CANDIDATES = ["new-baseline", "pooled", "pooled-new-baseline", "residual", "cohort-only"] as const;
export type CandidateName = (typeof CANDIDATES)[number];

/** What candidates are made of: rows of the old history and of the cohort, in one matrix. */
export interface CandidateInput {
  readonly prepared: PreparedRows;
  readonly champion: GbdtModel;
  readonly loss: LossKind;
  readonly parameters: GbdtParameters;
  readonly transform: ScoreTransform;
  readonly seed: number;
  /** Rows of the old history, and rows of the cohort that may be learnt from. */
  readonly base: Uint32Array;
  readonly cohort: Uint32Array;
  /** Whether a target is that of a healthy machine. */
  readonly isHealthy: (target: number) => boolean;
}

/** Trees that only mend: fewer of them, so that little data does not undo much. */
const RESIDUAL_TREES = 0.3;
/** Healthy rows on both sides below which nothing is moved. */
const HEALTHY_ROWS_MIN = 20;

/** Makes one candidate. The same input gives the same model. */
export function makeCandidate(name: CandidateName, input: CandidateInput): GbdtModel {
  const { prepared, champion, loss, parameters, seed, base, cohort } = input;
  const grow = (rows: PreparedRows, which: Uint32Array) => trainGbdt(rowsAt(rows, which), loss, parameters, seed);
  switch (name) {
    case "new-baseline":
      return { ...champion, ensemble: moved(champion.ensemble, movesOf(input)) };
    case "pooled":
      return grow(prepared, joined(base, cohort));
    case "pooled-new-baseline": {
      const moves = movesOf(input);
      const model = grow(movedRows(prepared, cohort, moves), joined(base, cohort));
      return { ...model, ensemble: moved(model.ensemble, moves) };
    }
    case "residual":
      return residual(input);
    case "cohort-only":
      return grow(prepared, cohort);
  }
}

/** How far each feature's healthy mean lies in the cohort from where it lay in the old history; 0 where too little is known. */
function movesOf({ prepared, base, cohort, isHealthy }: CandidateInput): Float64Array {
  const { matrix, target } = prepared;
  const healthy = (rows: Uint32Array) => rows.filter((row) => isHealthy(target[row]!));
  const [old, now] = [healthy(base), healthy(cohort)];
  return Float64Array.from({ length: matrix.features }, (_, f) => {
    const column = matrix.values.subarray(f * matrix.rows, (f + 1) * matrix.rows);
    const [before, after] = [meanOf(column, old), meanOf(column, now)];
    return before === undefined || after === undefined ? 0 : after - before;
  });
}

function meanOf(column: Float32Array, rows: Uint32Array): number | undefined {
  let sum = 0;
  let n = 0;
  for (const row of rows) {
    if (Number.isNaN(column[row]!)) continue;
    sum += column[row]!;
    n += 1;
  }
  return n < HEALTHY_ROWS_MIN ? undefined : sum / n;
}

/** An ensemble that does on x what this one does on x - move: every threshold moves along. */
function moved(ensemble: TreeEnsemble, moves: Float64Array): TreeEnsemble {
  const threshold = ensemble.threshold.map((at, node) => {
    const feature = ensemble.feature[node]!;
    return feature < 0 ? at : at + moves[feature]!;
  });
  return { ...ensemble, threshold };
}

/** The same rows, those of the cohort moved back. */
function movedRows(prepared: PreparedRows, cohort: Uint32Array, moves: Float64Array): PreparedRows {
  const { matrix } = prepared;
  const values = Float32Array.from(matrix.values);
  for (let f = 0; f < matrix.features; f += 1) {
    for (const row of cohort) values[f * matrix.rows + row]! -= moves[f]!;
  }
  return { ...prepared, matrix: { ...matrix, values } };
}

function residual({ prepared, champion, loss, parameters, seed, cohort }: CandidateInput): GbdtModel {
  const raw = rawScores(champion.ensemble, prepared, cohort);
  const rows = rowsAt(prepared, cohort);
  const target = rows.target.map((y, i) => y - raw[i]!);
  const trees = Math.max(1, Math.round(RESIDUAL_TREES * parameters.trees));
  // Residuals of a probability are learnt as numbers: a step of the trees' own boosting would need its loss.
  const kind = loss === "logistic" ? "squared" : loss;
  const mend = trainGbdt({ ...rows, target }, kind, { ...parameters, trees }, seed);
  return { ...champion, ensemble: together(champion.ensemble, mend.ensemble), importance: mend.importance };
}

function together(a: TreeEnsemble, b: TreeEnsemble): TreeEnsemble {
  const nodes = a.feature.length;
  const childOf = (child: number) => child + nodes;
  return {
    features: a.features,
    base: Math.fround(a.base + b.base),
    starts: Int32Array.from([...a.starts.subarray(0, -1), ...b.starts.map(childOf)]),
    feature: Int32Array.from([...a.feature, ...b.feature]),
    threshold: Float32Array.from([...a.threshold, ...b.threshold]),
    left: Int32Array.from([...a.left, ...b.left.map((child, i) => (b.feature[i]! < 0 ? child : childOf(child)))]),
    right: Int32Array.from([...a.right, ...b.right.map((child, i) => (b.feature[i]! < 0 ? child : childOf(child)))]),
    missingLeft: Uint8Array.from([...a.missingLeft, ...b.missingLeft]),
    value: Float32Array.from([...a.value, ...b.value]),
  };
}

function rawScores(ensemble: TreeEnsemble, { matrix }: PreparedRows, rows: Uint32Array): Float64Array {
  const row = new Float32Array(matrix.features);
  return Float64Array.from(rows, (r) => {
    for (let f = 0; f < matrix.features; f += 1) row[f] = matrix.values[f * matrix.rows + r]!;
    return rawScore(ensemble, row);
  });
}

/** What a model says of these rows. */
export function saysOf(
  model: GbdtModel,
  transform: ScoreTransform,
  prepared: PreparedRows,
  rows: Uint32Array,
): Float64Array {
  return rawScores(model.ensemble, prepared, rows).map((score) => transformed(score, transform));
}

function joined(a: Uint32Array, b: Uint32Array): Uint32Array {
  return Uint32Array.from([...a, ...b]);
}
