import type { HistogramLayout } from "./histogram.ts";
import type { BinnedMatrix } from "./matrix.ts";

/** Sums over the rows of a leaf. */
export interface LeafSums {
  readonly gradient: number;
  readonly hessian: number;
  readonly rows: number;
}

/** The best cut of a leaf: bins 1 to `bin` go left, and the missing values where `missingLeft` says. */
export interface Split {
  readonly feature: number;
  readonly bin: number;
  readonly missingLeft: boolean;
  readonly gain: number;
  readonly left: LeafSums;
  readonly right: LeafSums;
}

export interface SplitRules {
  readonly l2: number;
  readonly minChildRows: number;
  readonly minChildHessian: number;
  readonly minGain: number;
}

/** The best cut seen so far in a scan, and what the scan must know; one object, reused, of plain numbers. */
interface Scan {
  gain: number;
  bin: number;
  missingLeft: boolean;
  gradient: number;
  hessian: number;
  rows: number;
}

/**
 * Best cut over these features by the second-order gain of Chen and Guestrin (XGBoost, KDD 2016, eq. 7). Missing values
 * are tried on both sides; where a leaf has none they follow the larger child, so that a gap on a device takes the
 * commoner way. Ties go to the first feature and bin: the same rows give the same tree.
 */
export function bestSplit(
  histogram: Float64Array,
  layout: HistogramLayout,
  matrix: BinnedMatrix,
  features: Uint32Array,
  total: LeafSums,
  rules: SplitRules,
): Split | undefined {
  const parent = (total.gradient * total.gradient) / (total.hessian + rules.l2);
  const scan: Scan = { gain: parent + rules.minGain, bin: 0, missingLeft: false, gradient: 0, hessian: 0, rows: 0 };
  let feature = -1;
  for (let i = 0; i < features.length; i += 1) {
    const f = features[i]!;
    const before = scan.gain;
    const bins = matrix.edges[f]!.length + 1;
    const offset = layout.offsets[f]!;
    const missing = histogram[offset + layout.stride - 1]! > 0;
    scanBins(histogram, offset, layout.stride, bins, total, rules, scan, false, missing);
    if (missing) scanBins(histogram, offset, layout.stride, bins, total, rules, scan, true, missing);
    else if (scan.gain > before) scan.missingLeft = scan.rows * 2 > total.rows;
    if (scan.gain > before) feature = f;
  }
  if (feature < 0) return undefined;
  const left = { gradient: scan.gradient, hessian: scan.hessian, rows: scan.rows };
  return {
    feature,
    bin: scan.bin,
    missingLeft: scan.missingLeft,
    gain: scan.gain - parent,
    left,
    right: {
      gradient: total.gradient - left.gradient,
      hessian: total.hessian - left.hessian,
      rows: total.rows - left.rows,
    },
  };
}

/** One pass over a feature's bins, with the missing values on one side; `scan.gain` is without the parent's share. */
function scanBins(
  sums: Float64Array,
  offset: number,
  stride: number,
  bins: number,
  total: LeafSums,
  rules: SplitRules,
  scan: Scan,
  missingLeft: boolean,
  missing: boolean,
): void {
  const { l2, minChildRows, minChildHessian } = rules;
  const { gradient, hessian, rows } = total;
  const rowsAt = stride - 1;
  // With two numbers a bin every hessian is 1: the row count is the hessian.
  const hessianAt = 1;
  let best = scan.gain;
  let g = missingLeft ? sums[offset]! : 0;
  let h = missingLeft ? sums[offset + hessianAt]! : 0;
  let n = missingLeft ? sums[offset + rowsAt]! : 0;
  // The last bin has nothing on its right but the missing values.
  const last = missing && !missingLeft ? bins : bins - 1;
  for (let b = 1; b <= last; b += 1) {
    const at = offset + b * stride;
    const inBin = sums[at + rowsAt]!;
    if (inBin === 0) continue;
    g += sums[at]!;
    h += sums[at + hessianAt]!;
    n += inBin;
    if (n < minChildRows || h < minChildHessian) continue;
    if (rows - n < minChildRows || hessian - h < minChildHessian) break;
    const rest = gradient - g;
    const gain = (g * g) / (h + l2) + (rest * rest) / (hessian - h + l2);
    if (gain <= best) continue;
    best = gain;
    scan.bin = b;
    scan.missingLeft = missingLeft;
    scan.gradient = g;
    scan.hessian = h;
    scan.rows = n;
  }
  scan.gain = best;
}
