/**
 * Training rows as columns of float32, because that is what the ONNX model will see: a threshold chosen between two
 * float32 numbers sends every row to the same side in training and on a device.
 */
export interface FeatureMatrix {
  readonly rows: number;
  readonly features: number;
  /** Feature f of row r stands at `f * rows + r`; NaN = missing. */
  readonly values: Float32Array;
}

/** A matrix out of vectors, all of one length. */
export function matrixOf(vectors: readonly ArrayLike<number>[], features: number): FeatureMatrix {
  const rows = vectors.length;
  const values = new Float32Array(rows * features);
  for (let r = 0; r < rows; r += 1) {
    const vector = vectors[r]!;
    for (let f = 0; f < features; f += 1) values[f * rows + r] = vector[f]!;
  }
  return { rows, features, values };
}

/** The rows of a matrix at these indices. */
export function rowsOf(matrix: FeatureMatrix, rows: Uint32Array): FeatureMatrix {
  const values = new Float32Array(rows.length * matrix.features);
  for (let f = 0; f < matrix.features; f += 1) {
    const from = f * matrix.rows;
    const to = f * rows.length;
    for (let i = 0; i < rows.length; i += 1) values[to + i] = matrix.values[from + rows[i]!]!;
  }
  return { rows: rows.length, features: matrix.features, values };
}

/** Matrix in bins: bin 0 holds the missing values, bins 1 to `edges[f].length + 1` the others in rising order. */
export interface BinnedMatrix {
  readonly rows: number;
  readonly features: number;
  /** Column-major like the matrix. */
  readonly bins: Uint8Array;
  /** Per feature the thresholds between its bins: a value of bin b + 1 is <= edges[b] and > edges[b - 1]. */
  readonly edges: readonly Float32Array[];
}

export const BINS_MAX = 255;

/** Cuts every feature into at most `binsMax` bins (missing included) of about equal mass. */
export function binMatrix(matrix: FeatureMatrix, binsMax: number): BinnedMatrix {
  const { rows, features, values } = matrix;
  const bins = new Uint8Array(rows * features);
  const edges: Float32Array[] = [];
  for (let f = 0; f < features; f += 1) {
    const column = values.subarray(f * rows, (f + 1) * rows);
    const cut = edgesOf(column, binsMax - 1);
    edges.push(cut);
    fillBins(column, cut, bins.subarray(f * rows, (f + 1) * rows));
  }
  return { rows, features, bins, edges };
}

/** Thresholds of a column: one between every two neighbours where there are few distinct values, else by equal mass. */
export function edgesOf(column: Float32Array, binsMax: number): Float32Array {
  // Typed arrays sort numbers by value with NaN last.
  const sorted = column.slice().sort();
  let n = sorted.length;
  while (n > 0 && Number.isNaN(sorted[n - 1]!)) n -= 1;
  let distinct = n === 0 ? 0 : 1;
  for (let i = 1; i < n; i += 1) if (sorted[i] !== sorted[i - 1]) distinct += 1;
  const edges: number[] = [];
  const everyValue = distinct <= binsMax;
  let inBin = 0;
  let left = n;
  for (let i = 0; i < n - 1 && edges.length < binsMax - 1; i += 1) {
    inBin += 1;
    if (sorted[i] === sorted[i + 1]) continue;
    // What is left is shared among the bins that are left, so one very common value does not starve the others.
    if (!everyValue && inBin < left / (binsMax - edges.length)) continue;
    edges.push(between(sorted[i]!, sorted[i + 1]!));
    left -= inBin;
    inBin = 0;
  }
  return Float32Array.from(edges);
}

/** A float32 t with low <= t < high, in the middle where one lies there. */
export function between(low: number, high: number): number {
  const middle = Math.fround(low + (high - low) / 2);
  return middle >= low && middle < high ? middle : low;
}

function fillBins(column: Float32Array, edges: Float32Array, bins: Uint8Array): void {
  for (let r = 0; r < column.length; r += 1) {
    const value = column[r]!;
    if (Number.isNaN(value)) continue;
    let low = 0;
    let high = edges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value <= edges[middle]!) high = middle;
      else low = middle + 1;
    }
    bins[r] = low + 1;
  }
}
