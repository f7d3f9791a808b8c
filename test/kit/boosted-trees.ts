/** A small regression GBDT (histograms, squared error), so that tests can ask whether something can be learnt at all. */
export function fitBoostedTrees(
  x: readonly Float64Array[],
  y: readonly number[],
  { trees = 120, depth = 5, rate = 0.08, bins = 48, minLeaf = 25 } = {},
): (row: Float64Array) => number {
  const features = x[0]!.length;
  const edges = Array.from({ length: features }, (_, f) => edgesOf(x, f, bins));
  const binned = edges.map((e, f) => Uint8Array.from(x, (row) => binOf(e, row[f]!)));
  const base = y.reduce((sum, v) => sum + v, 0) / y.length;
  const residual = Float64Array.from(y, (v) => v - base);
  const forest: Node[] = [];
  const all = Int32Array.from(y, (_, i) => i);
  for (let t = 0; t < trees; t += 1) {
    const tree = grow(all, depth);
    forest.push(tree);
    for (let i = 0; i < y.length; i += 1) residual[i]! -= rate * descend(tree, (f) => binned[f]![i]!);
  }
  return (row) => {
    const bin = (f: number) => binOf(edges[f]!, row[f]!);
    return forest.reduce((sum, tree) => sum + rate * descend(tree, bin), base);
  };

  function grow(rows: Int32Array, left: number): Node {
    let sum = 0;
    for (const i of rows) sum += residual[i]!;
    const leaf: Node = { value: sum / rows.length };
    if (left === 0 || rows.length < 2 * minLeaf) return leaf;
    let best = { gain: 1e-9, feature: -1, bin: 0 };
    const sums = new Float64Array(bins + 1);
    const counts = new Int32Array(bins + 1);
    for (let f = 0; f < features; f += 1) {
      sums.fill(0);
      counts.fill(0);
      const column = binned[f]!;
      for (const i of rows) {
        sums[column[i]!]! += residual[i]!;
        counts[column[i]!]! += 1;
      }
      let sumLeft = 0;
      let countLeft = 0;
      for (let b = 0; b < bins; b += 1) {
        sumLeft += sums[b]!;
        countLeft += counts[b]!;
        const countRight = rows.length - countLeft;
        if (countLeft < minLeaf || countRight < minLeaf) continue;
        const gain = sumLeft ** 2 / countLeft + (sum - sumLeft) ** 2 / countRight - sum ** 2 / rows.length;
        if (gain > best.gain) best = { gain, feature: f, bin: b };
      }
    }
    if (best.feature < 0) return leaf;
    const column = binned[best.feature]!;
    const below = rows.filter((i) => column[i]! <= best.bin);
    const above = rows.filter((i) => column[i]! > best.bin);
    return { ...leaf, split: { ...best, below: grow(below, left - 1), above: grow(above, left - 1) } };
  }
}

interface Node {
  readonly value: number;
  readonly split?: { readonly feature: number; readonly bin: number; readonly below: Node; readonly above: Node };
}

function descend(tree: Node, bin: (feature: number) => number): number {
  let node = tree;
  while (node.split !== undefined)
    node = bin(node.split.feature) <= node.split.bin ? node.split.below : node.split.above;
  return node.value;
}

function edgesOf(x: readonly Float64Array[], feature: number, bins: number): Float64Array {
  const values = Float64Array.from(x, (row) => row[feature]!)
    .filter((v) => !Number.isNaN(v))
    .sort();
  const edges = new Set<number>();
  for (let b = 1; b < bins; b += 1) edges.add(values[Math.floor((b * values.length) / bins)]!);
  return Float64Array.from(edges);
}

/** Bin 0 holds missing values too: a tree may cut them off with the smallest. */
function binOf(edges: Float64Array, value: number): number {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return Number.isNaN(value) ? 0 : low;
}

/** Root mean square of the differences. */
export function rmse(predicted: readonly number[], actual: readonly number[]): number {
  return Math.sqrt(predicted.reduce((sum, p, i) => sum + (p - actual[i]!) ** 2, 0) / actual.length);
}
