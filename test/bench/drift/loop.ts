/**
 * The least a drift statistic can be, over the same arrays, in microseconds per feature and row: every value is added to a
 * sum, a sum of squares and one of 32 equally wide bins. No regimes, no health, no frozen edges, no missing values, no
 * verdict.
 */
import { NAMES, PASSES, ROWS, vectors } from "./data.ts";

const BINS = 32;
const width = NAMES.length;
const values = vectors();
const sum = new Float64Array(width);
const sumSq = new Float64Array(width);
const counts = new Int32Array(width * BINS);
const startMs = performance.now();
for (let pass = 0; pass < PASSES; pass++) {
  for (let row = 0; row < ROWS; row++) {
    for (let f = 0; f < width; f++) {
      const value = values[row * width + f]!;
      sum[f]! += value;
      sumSq[f]! += value * value;
      counts[f * BINS + Math.max(0, Math.min(BINS - 1, ((value + 2) * (BINS / 4)) | 0))]! += 1;
    }
  }
}
const figure = ((performance.now() - startMs) * 1_000) / (PASSES * ROWS * width);
process.stdout.write(`${JSON.stringify({ figure, sum: sum[0], sumSq: sumSq[0], count: counts[0] })}\n`);
