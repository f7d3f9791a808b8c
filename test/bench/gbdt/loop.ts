/**
 * The least any histogram trainer must do over the same arrays, in seconds: for each of 300 trees, every drawn row of
 * every drawn feature is added to its bin once. No sorting, no splits, no deeper levels.
 */
import { GBDT_DEFAULTS } from "../../../fleet-server/src/retraining/trainers/parameters.ts";
import { FEATURES, ROWS, trainingRows } from "./data.ts";

const { matrix, target } = trainingRows();
const bins = Uint8Array.from(matrix.values, (value) => Math.min(254, Math.floor(value * 50)));
const drawn = Uint32Array.from({ length: Math.round(ROWS * GBDT_DEFAULTS.rowFraction) }, (_, i) =>
  Math.floor(i / GBDT_DEFAULTS.rowFraction),
);
const features = Math.round(FEATURES * GBDT_DEFAULTS.featureFraction);
const sums = new Float64Array(2 * 256 * FEATURES);
const startMs = performance.now();
for (let tree = 0; tree < GBDT_DEFAULTS.trees; tree++) {
  for (let f = 0; f < features; f++) {
    for (let i = 0; i < drawn.length; i++) {
      const row = drawn[i]!;
      const at = 2 * (f * 256 + bins[f * ROWS + row]!);
      sums[at] = sums[at]! + target[row]!;
      sums[at + 1] = sums[at + 1]! + 1;
    }
  }
}
process.stdout.write(`${JSON.stringify({ figure: (performance.now() - startMs) / 1_000, sum: sums[0] })}\n`);
