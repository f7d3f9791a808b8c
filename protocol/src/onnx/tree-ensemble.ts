import type { ScoreTransform, TreeEnsemble } from "./ensemble.ts";
import { type Attribute, type GraphNode, writeModel } from "./write.ts";

/** Graph names of a written ensemble. */
export const ENSEMBLE_INPUT = "features";
/** Output of a regression or of a probability: [batch, 1]. */
export const ENSEMBLE_OUTPUT = "prediction";
/** Outputs of a classifier: [batch] int64 (0 or 1) and [batch, 2] float32. */
export const CLASSIFIER_OUTPUTS = { label: "label", probabilities: "probabilities" } as const;

/** Operator sets of the written models: ai.onnx 17 and ai.onnx.ml 3 (ONNX 1.12, ONNX Runtime 1.12 and later). */
export const ENSEMBLE_OPSETS = { "": 17, "ai.onnx.ml": 3 } as const;

const PRODUCER = "bellwether";

/**
 * An ensemble as an ONNX file: input `features` float32 [batch, n], output `prediction` float32 [batch, 1], already
 * transformed (held in its range, or a probability).
 */
export function writeRegressor(ensemble: TreeEnsemble, transform: ScoreTransform): Uint8Array {
  const leaves = leavesOf(ensemble);
  const range = transform.kind === "identity" ? transform.range : undefined;
  const isPlain = transform.kind === "identity" && range === undefined;
  const trees: GraphNode = {
    operator: "TreeEnsembleRegressor",
    domain: "ai.onnx.ml",
    inputs: [ENSEMBLE_INPUT],
    outputs: [isPlain ? ENSEMBLE_OUTPUT : "score"],
    attributes: {
      ...nodeAttributes(ensemble),
      aggregate_function: { text: "SUM" },
      base_values: { floats: Float32Array.of(ensemble.base) },
      n_targets: { int: 1 },
      post_transform: { text: "NONE" },
      target_ids: { ints: new Int32Array(leaves.nodes.length) },
      target_nodeids: { ints: leaves.nodes },
      target_treeids: { ints: leaves.trees },
      target_weights: { floats: leaves.weights },
    },
  };
  const after = (operator: string, inputs: readonly string[]): GraphNode => {
    return { operator, domain: "", inputs, outputs: [ENSEMBLE_OUTPUT], attributes: {} };
  };
  const held = range === undefined ? [] : [after("Clip", ["score", "low", "high"])];
  const scalar = (name: string, value: number) => ({ name, dims: [], values: Float32Array.of(value) });
  return writeModel({
    name: "tree_ensemble",
    producer: PRODUCER,
    opsets: ENSEMBLE_OPSETS,
    nodes: [trees, ...(transform.kind === "logistic" ? [after("Sigmoid", ["score"])] : held)],
    inputs: [{ name: ENSEMBLE_INPUT, type: "float32", shape: ["batch", ensemble.features] }],
    outputs: [{ name: ENSEMBLE_OUTPUT, type: "float32", shape: ["batch", 1] }],
    constants: range === undefined ? [] : [scalar("low", range[0]), scalar("high", range[1])],
  });
}

/**
 * A binary ensemble as an ONNX classifier: `label` 0 or 1 (1 from probability 0.5 on) and `probabilities` of both. Both
 * classes carry weights: with one, runtimes guess from the weights' signs whether they are scores or probabilities.
 */
export function writeClassifier(ensemble: TreeEnsemble): Uint8Array {
  const leaves = leavesOf(ensemble);
  const count = 2 * leaves.nodes.length;
  const twice = (ids: Int32Array) => Int32Array.from({ length: count }, (_, i) => ids[i >> 1]!);
  const weights = Float32Array.from({ length: count }, (_, i) => {
    const leaf = i >> 1;
    // The base goes into the first tree: with two base values ONNX Runtime (1.27) mistakes class 0 for class 1.
    const weight = leaves.weights[leaf]! + (leaves.trees[leaf] === 0 ? ensemble.base : 0);
    return i % 2 === 0 ? -weight : weight;
  });
  const { label, probabilities } = CLASSIFIER_OUTPUTS;
  const trees: GraphNode = {
    operator: "TreeEnsembleClassifier",
    domain: "ai.onnx.ml",
    inputs: [ENSEMBLE_INPUT],
    outputs: [label, probabilities],
    attributes: {
      ...nodeAttributes(ensemble),
      class_ids: { ints: Int32Array.from({ length: count }, (_, i) => i % 2) },
      class_nodeids: { ints: twice(leaves.nodes) },
      class_treeids: { ints: twice(leaves.trees) },
      class_weights: { floats: weights },
      classlabels_int64s: { ints: [0, 1] },
      post_transform: { text: "LOGISTIC" },
    },
  };
  return writeModel({
    name: "tree_ensemble",
    producer: PRODUCER,
    opsets: ENSEMBLE_OPSETS,
    nodes: [trees],
    inputs: [{ name: ENSEMBLE_INPUT, type: "float32", shape: ["batch", ensemble.features] }],
    outputs: [
      { name: label, type: "int64", shape: ["batch"] },
      { name: probabilities, type: "float32", shape: ["batch", 2] },
    ],
    constants: [],
  });
}

/** The attributes that both operators share: every node of every tree, numbered within its tree. */
function nodeAttributes(ensemble: TreeEnsemble): Record<string, Attribute> {
  const { starts, feature, threshold, missingLeft } = ensemble;
  const nodes = feature.length;
  const treeIds = new Int32Array(nodes);
  const nodeIds = new Int32Array(nodes);
  const trueIds = new Int32Array(nodes);
  const falseIds = new Int32Array(nodes);
  for (let tree = 0; tree < starts.length - 1; tree += 1) {
    const start = starts[tree]!;
    for (let at = start; at < starts[tree + 1]!; at += 1) {
      treeIds[at] = tree;
      nodeIds[at] = at - start;
      if (feature[at]! < 0) continue;
      trueIds[at] = ensemble.left[at]! - start;
      falseIds[at] = ensemble.right[at]! - start;
    }
  }
  return {
    nodes_falsenodeids: { ints: falseIds },
    nodes_featureids: { ints: feature.map((f) => Math.max(0, f)) },
    nodes_missing_value_tracks_true: { ints: missingLeft },
    nodes_modes: { texts: Array.from(feature, (f) => (f < 0 ? "LEAF" : "BRANCH_LEQ")) },
    nodes_nodeids: { ints: nodeIds },
    nodes_treeids: { ints: treeIds },
    nodes_truenodeids: { ints: trueIds },
    nodes_values: { floats: threshold },
  };
}

function leavesOf({ starts, feature, value }: TreeEnsemble) {
  const count = feature.reduce((sum, f) => sum + (f < 0 ? 1 : 0), 0);
  const leaves = { nodes: new Int32Array(count), trees: new Int32Array(count), weights: new Float32Array(count) };
  let leaf = 0;
  for (let tree = 0; tree < starts.length - 1; tree += 1) {
    for (let at = starts[tree]!; at < starts[tree + 1]!; at += 1) {
      if (feature[at]! >= 0) continue;
      leaves.nodes[leaf] = at - starts[tree]!;
      leaves.trees[leaf] = tree;
      leaves.weights[leaf] = value[at]!;
      leaf += 1;
    }
  }
  return leaves;
}
