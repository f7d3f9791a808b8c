/**
 * Boosted decision trees as flat arrays: node i of any tree is a leaf where `feature[i]` is -1. A branch sends a value
 * v to `left[i]` when v <= threshold[i], a missing value (NaN) to the left when `missingLeft[i]` is 1. Thresholds and
 * leaves are float32, as ONNX stores them. The raw score is `base` plus the leaf of every tree.
 */
export interface TreeEnsemble {
  readonly features: number;
  readonly base: number;
  /** First node (the root) of each tree, and after the last tree the number of nodes. */
  readonly starts: Int32Array;
  readonly feature: Int32Array;
  readonly threshold: Float32Array;
  readonly left: Int32Array;
  readonly right: Int32Array;
  readonly missingLeft: Uint8Array;
  readonly value: Float32Array;
}

/** How a raw score becomes the model's output. */
export type ScoreTransform =
  /** As it is, or held between two bounds ("RUL is never below 0 nor above the cap"). */
  | { readonly kind: "identity"; readonly range?: readonly [number, number] }
  /** 1 / (1 + exp(-score)): the probability of the positive class. */
  | { readonly kind: "logistic" };

/** Raw score of one row of float32 features. */
export function rawScore(ensemble: TreeEnsemble, row: Float32Array): number {
  const { starts, feature, threshold, left, right, missingLeft, value } = ensemble;
  let sum = ensemble.base;
  for (let tree = 0; tree < starts.length - 1; tree += 1) {
    let node = starts[tree]!;
    for (let f = feature[node]!; f >= 0; f = feature[node]!) {
      const x = row[f]!;
      const goesLeft = Number.isNaN(x) ? missingLeft[node] === 1 : x <= threshold[node]!;
      node = goesLeft ? left[node]! : right[node]!;
    }
    sum += value[node]!;
  }
  return sum;
}

/** Applies the transform to a raw score. */
export function transformed(score: number, transform: ScoreTransform): number {
  if (transform.kind === "logistic") return 1 / (1 + Math.exp(-score));
  const [low, high] = transform.range ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  return Math.min(high, Math.max(low, score));
}
