import type { TreeEnsemble } from "@bellwether/protocol/onnx/ensemble.ts";
import { type Random, sample, seededRandom, shuffle } from "@bellwether/protocol/random.ts";
import { addTree, type BinnedTree, TreeGrower } from "./grow.ts";
import { type Loss, type LossKind, lossOf } from "./losses.ts";
import { type BinnedMatrix, binMatrix, type FeatureMatrix } from "./matrix.ts";
import type { GbdtParameters } from "./parameters.ts";

/** What is learnt from: rows of features, a number for each, and which asset each row belongs to. */
export interface TrainingRows {
  readonly matrix: FeatureMatrix;
  /** 0 or 1 for the logistic loss. */
  readonly target: Float64Array;
  /** Asset of each row as a small number: early stopping watches whole assets, never rows of an asset it learnt from. */
  readonly groups: Int32Array;
  readonly weights?: Float64Array;
}

/** Where training stands after a tree; losses are roots of the mean square for the squared loss, means otherwise. */
export interface TreeProgress {
  readonly tree: number;
  readonly trees: number;
  readonly trainLoss: number | undefined;
  readonly watchedLoss: number | undefined;
}

export interface GbdtModel {
  readonly ensemble: TreeEnsemble;
  readonly loss: LossKind;
  /** Share of the total gain by feature; sums to 1, or is all 0 where nothing could be split. */
  readonly importance: Float64Array;
  /** Loss on the watched assets after each tree; empty without early stopping. */
  readonly watched: readonly number[];
}

/** Trees between two looks at the training loss: it costs a pass over the rows. */
const TREES_PER_LOOK = 10;
/** A tree that may look at two or three features only learns no interaction: small feature sets are not thinned. */
const DRAWN_FEATURES_MIN = 10;

/**
 * Histogram gradient-boosted trees: the same rows, parameters and seed give the same model, bit by bit. With early
 * stopping the number of trees is the best one on assets held back, and the model is then grown on all rows.
 */
export function trainGbdt(
  rows: TrainingRows,
  kind: LossKind,
  parameters: GbdtParameters,
  seed: number,
  onTree: (progress: TreeProgress) => void = () => {},
): GbdtModel {
  const binned = binMatrix(rows.matrix, parameters.bins);
  const loss = lossOf(kind, parameters.huberDelta);
  const all = Uint32Array.from({ length: rows.matrix.rows }, (_, i) => i);
  const { earlyStopping } = parameters;
  if (earlyStopping === undefined) {
    return boost(rows, binned, loss, parameters, seed, all, new Uint32Array(0), onTree);
  }
  const [learnt, watched] = splitByGroup(rows.groups, earlyStopping.assetFraction, seededRandom(seed, 1));
  if (watched.length === 0) return boost(rows, binned, loss, parameters, seed, all, watched, onTree);
  const first = boost(rows, binned, loss, parameters, seed, learnt, watched, onTree);
  const best = indexOfLeast(first.watched) + 1;
  const final = boost(rows, binned, loss, { ...parameters, trees: best }, seed, all, new Uint32Array(0), onTree);
  return { ...final, watched: first.watched };
}

function boost(
  rows: TrainingRows,
  binned: BinnedMatrix,
  loss: Loss,
  parameters: GbdtParameters,
  seed: number,
  learnt: Uint32Array,
  watched: Uint32Array,
  onTree: (progress: TreeProgress) => void,
): GbdtModel {
  const { target, weights } = rows;
  const random = seededRandom(seed);
  const base = Math.fround(loss.base(target, learnt, weights));
  const scores = new Float64Array(binned.rows).fill(base);
  const gradients = new Float64Array(binned.rows);
  const hessians = new Float64Array(binned.rows);
  const rules = { ...parameters, leavesMax: parameters.leaves, depthMax: parameters.depth };
  const grower = new TreeGrower(binned, rules, loss.constantHessian && weights === undefined);
  const draw = rowSampler(learnt, binned.rows, parameters.rowFraction, random);
  const drawFeatures = featureSampler(binned, parameters.featureFraction, random);
  const trees: BinnedTree[] = [];
  const watchedLosses: number[] = [];
  while (trees.length < parameters.trees) {
    loss.derive(target, scores, learnt, weights, gradients, hessians);
    const { drawn, others } = draw();
    const tree = grower.grow(gradients, hessians, drawn, drawFeatures(), scores);
    addTree(tree, binned, others, scores);
    trees.push(tree);
    if (watched.length > 0) {
      addTree(tree, binned, watched, scores);
      watchedLosses.push(loss.mean(target, scores, watched, weights));
    }
    const look = trees.length % TREES_PER_LOOK === 0 || trees.length === parameters.trees;
    onTree({
      tree: trees.length,
      trees: parameters.trees,
      trainLoss: look ? loss.mean(target, scores, learnt, weights) : undefined,
      watchedLoss: watchedLosses.at(-1),
    });
    if (watched.length > 0 && isStale(watchedLosses, parameters.earlyStopping!.rounds)) break;
  }
  return {
    ensemble: ensembleOf(trees, binned, base),
    loss: loss.kind,
    importance: importanceOf(trees, binned.features),
    watched: watchedLosses,
  };
}

function isStale(losses: readonly number[], rounds: number): boolean {
  return losses.length - 1 - indexOfLeast(losses) >= rounds;
}

function indexOfLeast(numbers: readonly number[]): number {
  let best = 0;
  for (let i = 1; i < numbers.length; i += 1) if (numbers[i]! < numbers[best]!) best = i;
  return best;
}

/** Draws each tree's rows, and names the learnt rows it leaves out, whose scores the tree must still move. */
function rowSampler(learnt: Uint32Array, rows: number, fraction: number, random: Random) {
  const count = Math.max(1, Math.round(learnt.length * fraction));
  if (count === learnt.length) return () => ({ drawn: learnt, others: new Uint32Array(0) });
  const drawn = new Uint32Array(count);
  const others = new Uint32Array(learnt.length - count);
  const isDrawn = new Uint8Array(rows);
  return () => {
    sample(learnt, count, random, drawn);
    isDrawn.fill(0);
    for (let i = 0; i < count; i += 1) isDrawn[drawn[i]!] = 1;
    let at = 0;
    for (let i = 0; i < learnt.length; i += 1) {
      if (isDrawn[learnt[i]!] === 1) continue;
      others[at] = learnt[i]!;
      at += 1;
    }
    return { drawn, others };
  };
}

/** Draws each tree's features among those that have anything to split. */
function featureSampler(binned: BinnedMatrix, fraction: number, random: Random): () => Uint32Array {
  const useful = Uint32Array.from(
    Array.from({ length: binned.features }, (_, f) => f).filter((f) => binned.edges[f]!.length > 0 || hasMissing(f)),
  );
  const count = Math.min(useful.length, Math.max(DRAWN_FEATURES_MIN, Math.round(useful.length * fraction)));
  if (count === useful.length) return () => useful;
  const drawn = new Uint32Array(count);
  return () => {
    sample(useful, count, random, drawn);
    return drawn;
  };
  function hasMissing(f: number): boolean {
    return binned.bins.subarray(f * binned.rows, (f + 1) * binned.rows).includes(0);
  }
}

/** Rows of whole groups apart: [learnt, watched]. Of one group alone nothing can be held back. */
export function splitByGroup(groups: Int32Array, fraction: number, random: Random): [Uint32Array, Uint32Array] {
  const names = shuffle(
    [...new Set(groups)].toSorted((a, b) => a - b),
    random,
  );
  const apart = new Set(names.slice(0, Math.max(1, Math.round(names.length * fraction))));
  const all = Array.from(groups.keys());
  if (apart.size === names.length) return [Uint32Array.from(all), new Uint32Array(0)];
  return [
    Uint32Array.from(all.filter((row) => !apart.has(groups[row]!))),
    Uint32Array.from(all.filter((row) => apart.has(groups[row]!))),
  ];
}

function ensembleOf(trees: readonly BinnedTree[], matrix: BinnedMatrix, base: number): TreeEnsemble {
  const starts = new Int32Array(trees.length + 1);
  for (const [i, tree] of trees.entries()) starts[i + 1] = starts[i]! + tree.nodes;
  const nodes = starts[trees.length]!;
  const ensemble = {
    features: matrix.features,
    base,
    starts,
    feature: new Int32Array(nodes).fill(-1),
    threshold: new Float32Array(nodes),
    left: new Int32Array(nodes),
    right: new Int32Array(nodes),
    missingLeft: new Uint8Array(nodes),
    value: new Float32Array(nodes),
  };
  for (const [i, tree] of trees.entries()) {
    const start = starts[i]!;
    for (let node = 0; node < tree.nodes; node += 1) {
      const at = start + node;
      const feature = tree.feature[node]!;
      ensemble.value[at] = tree.value[node]!;
      if (feature < 0) continue;
      ensemble.feature[at] = feature;
      // A cut after the last bin parts the known from the missing.
      ensemble.threshold[at] = matrix.edges[feature]![tree.bin[node]! - 1] ?? Number.POSITIVE_INFINITY;
      ensemble.missingLeft[at] = tree.missingLeft[node]!;
      ensemble.left[at] = start + tree.left[node]!;
      ensemble.right[at] = start + tree.right[node]!;
    }
  }
  return ensemble;
}

function importanceOf(trees: readonly BinnedTree[], features: number): Float64Array {
  const gains = new Float64Array(features);
  let total = 0;
  for (const tree of trees) {
    for (let node = 0; node < tree.nodes; node += 1) {
      if (tree.feature[node]! < 0) continue;
      gains[tree.feature[node]!]! += tree.gain[node]!;
      total += tree.gain[node]!;
    }
  }
  return total > 0 ? gains.map((gain) => gain / total) : gains;
}
