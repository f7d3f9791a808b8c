import type { BinnedMatrix } from "./matrix.ts";

/**
 * Sums per bin of the rows of a leaf: three doubles a bin (gradient, hessian, rows), or two where every hessian is 1
 * and the row count says the same. All features of the tree stand one after another at `offsets`.
 */
export interface HistogramLayout {
  readonly stride: 2 | 3;
  /** Place of each feature's bin 0, in doubles; bin b stands at `offsets[f] + b * stride`. */
  readonly offsets: Int32Array;
  readonly length: number;
}

/** Layout for every feature of a matrix. */
export function histogramLayout(matrix: BinnedMatrix, stride: 2 | 3): HistogramLayout {
  const offsets = new Int32Array(matrix.features);
  let length = 0;
  for (let f = 0; f < matrix.features; f += 1) {
    offsets[f] = length;
    length += (matrix.edges[f]!.length + 2) * stride;
  }
  return { stride, offsets, length };
}

/** Rows of a leaf: places `from` to `to` of `order`, with their gradients gathered in that order. */
export interface LeafRows {
  readonly order: Uint32Array;
  readonly from: number;
  readonly to: number;
}

/** Fills `histogram` for these features from the rows of a leaf. */
export function fillHistogram(
  histogram: Float64Array,
  layout: HistogramLayout,
  matrix: BinnedMatrix,
  features: Uint32Array,
  leaf: LeafRows,
  gradients: Float64Array,
  hessians: Float64Array,
): void {
  for (let i = 0; i < features.length; i += 1) {
    const f = features[i]!;
    const from = layout.offsets[f]!;
    histogram.fill(0, from, from + (matrix.edges[f]!.length + 2) * layout.stride);
    const column = matrix.bins.subarray(f * matrix.rows, (f + 1) * matrix.rows);
    if (layout.stride === 2) addRows2(histogram, from, column, leaf.order, leaf.from, leaf.to, gradients);
    else addRows3(histogram, from, column, leaf.order, leaf.from, leaf.to, gradients, hessians);
  }
}

// The two hot loops of training: small, monomorphic, one typed array of each kind.
function addRows2(
  histogram: Float64Array,
  offset: number,
  column: Uint8Array,
  order: Uint32Array,
  from: number,
  to: number,
  gradients: Float64Array,
): void {
  for (let i = from; i < to; i += 1) {
    const at = offset + column[order[i]!]! * 2;
    histogram[at]! += gradients[i]!;
    histogram[at + 1]! += 1;
  }
}

function addRows3(
  histogram: Float64Array,
  offset: number,
  column: Uint8Array,
  order: Uint32Array,
  from: number,
  to: number,
  gradients: Float64Array,
  hessians: Float64Array,
): void {
  for (let i = from; i < to; i += 1) {
    const at = offset + column[order[i]!]! * 3;
    histogram[at]! += gradients[i]!;
    histogram[at + 1]! += hessians[i]!;
    histogram[at + 2]! += 1;
  }
}

/** Makes `parent` its other child's histogram: parent minus `child`, for these features. */
export function subtractHistogram(
  parent: Float64Array,
  child: Float64Array,
  layout: HistogramLayout,
  matrix: BinnedMatrix,
  features: Uint32Array,
): void {
  for (let i = 0; i < features.length; i += 1) {
    const f = features[i]!;
    const from = layout.offsets[f]!;
    const to = from + (matrix.edges[f]!.length + 2) * layout.stride;
    for (let at = from; at < to; at += 1) parent[at]! -= child[at]!;
  }
}
