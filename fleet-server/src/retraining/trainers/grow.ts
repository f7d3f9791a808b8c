import { fillHistogram, type HistogramLayout, histogramLayout, subtractHistogram } from "./histogram.ts";
import type { BinnedMatrix } from "./matrix.ts";
import { bestSplit, type LeafSums, type Split, type SplitRules } from "./split.ts";

export interface GrowRules extends SplitRules {
  readonly leavesMax: number;
  readonly depthMax: number;
  readonly learningRate: number;
}

/** One tree in terms of bins; node 0 is the root. Leaves hold float32 values, as ONNX will. */
export interface BinnedTree {
  readonly nodes: number;
  readonly feature: Int32Array;
  readonly bin: Uint8Array;
  readonly missingLeft: Uint8Array;
  readonly left: Int32Array;
  readonly right: Int32Array;
  readonly value: Float32Array;
  readonly gain: Float64Array;
}

interface Leaf {
  readonly node: number;
  readonly depth: number;
  readonly from: number;
  readonly to: number;
  readonly sums: LeafSums;
  readonly histogram: Float64Array;
  readonly split: Split | undefined;
}

/**
 * Grows trees leaf by leaf, the leaf of largest gain first (Shi, "Best-first decision tree learning", 2007), over one
 * binned matrix; buffers are kept from tree to tree. The smaller child's histogram is summed from rows, the larger
 * one's is the parent's minus it (Ke et al., LightGBM, NIPS 2017).
 */
export class TreeGrower {
  readonly #matrix: BinnedMatrix;
  readonly #rules: GrowRules;
  readonly #layout: HistogramLayout;
  readonly #spare: Float64Array[] = [];
  readonly #order: Uint32Array;
  readonly #scratch: Uint32Array;
  readonly #gatheredG: Float64Array;
  readonly #gatheredH: Float64Array;

  /** `constantHessian`: every hessian is 1 (squared error without weights), which halves the work per bin. */
  constructor(matrix: BinnedMatrix, rules: GrowRules, constantHessian: boolean) {
    this.#matrix = matrix;
    this.#rules = rules;
    this.#layout = histogramLayout(matrix, constantHessian ? 2 : 3);
    this.#order = new Uint32Array(matrix.rows);
    this.#scratch = new Uint32Array(matrix.rows);
    this.#gatheredG = new Float64Array(matrix.rows);
    this.#gatheredH = new Float64Array(constantHessian ? 0 : matrix.rows);
  }

  /** A tree on these rows and features; adds each leaf's value to `scores` of the rows it was grown on. */
  grow(
    gradients: Float64Array,
    hessians: Float64Array,
    rows: Uint32Array,
    features: Uint32Array,
    scores: Float64Array,
  ): BinnedTree {
    const tree = emptyTree(this.#rules.leavesMax);
    const order = this.#order;
    order.set(rows);
    const root = this.#leaf(0, 0, 0, rows.length, undefined, gradients, hessians, features);
    const leaves: Leaf[] = [root];
    let nodes = 1;
    while (leaves.length < this.#rules.leavesMax) {
      const at = indexOfBest(leaves);
      if (at < 0) break;
      const parent = leaves[at]!;
      const split = parent.split!;
      const middle = this.#partition(parent, split);
      setBranch(tree, parent.node, split, nodes);
      const [left, right] = this.#children(parent, split, middle, nodes, gradients, hessians, features);
      leaves[at] = left;
      leaves.push(right);
      nodes += 2;
    }
    for (const leaf of leaves) {
      const value = Math.fround(this.#valueOf(leaf.sums));
      tree.value[leaf.node] = value;
      for (let i = leaf.from; i < leaf.to; i += 1) scores[order[i]!]! += value;
      this.#spare.push(leaf.histogram);
    }
    return { ...tree, nodes };
  }

  #valueOf({ gradient, hessian }: LeafSums): number {
    const denominator = hessian + this.#rules.l2;
    return denominator > 0 ? (-gradient / denominator) * this.#rules.learningRate : 0;
  }

  #leaf(
    node: number,
    depth: number,
    from: number,
    to: number,
    known: { readonly sums: LeafSums; readonly histogram: Float64Array } | undefined,
    gradients: Float64Array,
    hessians: Float64Array,
    features: Uint32Array,
  ): Leaf {
    const { sums, histogram } = known ?? this.#sum(from, to, gradients, hessians, features);
    const open = depth < this.#rules.depthMax && sums.rows >= 2 * this.#rules.minChildRows;
    const split = open ? bestSplit(histogram, this.#layout, this.#matrix, features, sums, this.#rules) : undefined;
    return { node, depth, from, to, sums, histogram, split };
  }

  /** Gathers a leaf's gradients into its order and sums them into a histogram. */
  #sum(from: number, to: number, gradients: Float64Array, hessians: Float64Array, features: Uint32Array) {
    const constant = this.#layout.stride === 2;
    const order = this.#order;
    const gatheredG = this.#gatheredG;
    const gatheredH = this.#gatheredH;
    let gradient = 0;
    let hessian = constant ? to - from : 0;
    for (let i = from; i < to; i += 1) {
      const g = gradients[order[i]!]!;
      gatheredG[i] = g;
      gradient += g;
    }
    if (!constant) {
      for (let i = from; i < to; i += 1) {
        const h = hessians[order[i]!]!;
        gatheredH[i] = h;
        hessian += h;
      }
    }
    const histogram = this.#spare.pop() ?? new Float64Array(this.#layout.length);
    fillHistogram(histogram, this.#layout, this.#matrix, features, { order, from, to }, gatheredG, gatheredH);
    return { sums: { gradient, hessian, rows: to - from }, histogram };
  }

  #children(
    parent: Leaf,
    split: Split,
    middle: number,
    node: number,
    gradients: Float64Array,
    hessians: Float64Array,
    features: Uint32Array,
  ): [Leaf, Leaf] {
    const depth = parent.depth + 1;
    const leftIsSmaller = middle - parent.from <= parent.to - middle;
    const [from, to] = leftIsSmaller ? [parent.from, middle] : [middle, parent.to];
    const small = this.#sum(from, to, gradients, hessians, features);
    subtractHistogram(parent.histogram, small.histogram, this.#layout, this.#matrix, features);
    const large = { sums: leftIsSmaller ? split.right : split.left, histogram: parent.histogram };
    const [left, right] = leftIsSmaller ? [small, large] : [large, small];
    return [
      this.#leaf(node, depth, parent.from, middle, left, gradients, hessians, features),
      this.#leaf(node + 1, depth, middle, parent.to, right, gradients, hessians, features),
    ];
  }

  /** Sorts a leaf's rows into left and right, each in its old order; the place where the right ones begin. */
  #partition(leaf: Leaf, split: Split): number {
    const { rows, bins } = this.#matrix;
    const column = bins.subarray(split.feature * rows, (split.feature + 1) * rows);
    const order = this.#order;
    const scratch = this.#scratch;
    const missingLeft = split.missingLeft ? 1 : 0;
    const cut = split.bin;
    let left = leaf.from;
    let right = 0;
    for (let i = leaf.from; i < leaf.to; i += 1) {
      const row = order[i]!;
      const bin = column[row]!;
      if (bin === 0 ? missingLeft === 1 : bin <= cut) {
        order[left] = row;
        left += 1;
      } else {
        scratch[right] = row;
        right += 1;
      }
    }
    order.set(scratch.subarray(0, right), left);
    return left;
  }
}

/** Adds a tree's leaf to the score of each of these rows. */
export function addTree(tree: BinnedTree, matrix: BinnedMatrix, rows: Uint32Array, scores: Float64Array): void {
  const { feature, bin, missingLeft, left, right, value } = tree;
  const { bins, rows: height } = matrix;
  for (let i = 0; i < rows.length; i += 1) {
    const row = rows[i]!;
    let node = 0;
    for (let f = feature[0]!; f >= 0; f = feature[node]!) {
      const b = bins[f * height + row]!;
      node = (b === 0 ? missingLeft[node] === 1 : b <= bin[node]!) ? left[node]! : right[node]!;
    }
    scores[row]! += value[node]!;
  }
}

function emptyTree(leavesMax: number): BinnedTree {
  const nodes = 2 * leavesMax - 1;
  return {
    nodes,
    feature: new Int32Array(nodes).fill(-1),
    bin: new Uint8Array(nodes),
    missingLeft: new Uint8Array(nodes),
    left: new Int32Array(nodes),
    right: new Int32Array(nodes),
    value: new Float32Array(nodes),
    gain: new Float64Array(nodes),
  };
}

function setBranch(tree: BinnedTree, node: number, split: Split, left: number): void {
  tree.feature[node] = split.feature;
  tree.bin[node] = split.bin;
  tree.missingLeft[node] = split.missingLeft ? 1 : 0;
  tree.left[node] = left;
  tree.right[node] = left + 1;
  tree.gain[node] = split.gain;
}

function indexOfBest(leaves: readonly Leaf[]): number {
  let best = -1;
  let gain = 0;
  for (const [i, { split }] of leaves.entries()) {
    if (split === undefined || split.gain <= gain) continue;
    best = i;
    gain = split.gain;
  }
  return best;
}
