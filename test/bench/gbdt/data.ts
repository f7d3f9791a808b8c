import { seededRandom } from "@bellwether/protocol/random.ts";
import type { TrainingRows } from "../../../fleet-server/src/retraining/trainers/gbdt.ts";

/** As many rows and features as NASA's FD001 has with the built-in features. */
export const ROWS = 20_631;
export const FEATURES = 43;

/** Rows of a wear-like target with noise; the same on every machine. */
export function trainingRows(): TrainingRows {
  const random = seededRandom(1, 0);
  const values = new Float32Array(ROWS * FEATURES);
  const target = new Float64Array(ROWS);
  for (let row = 0; row < ROWS; row++) {
    const wear = (row % 200) / 200;
    target[row] = 125 * (1 - wear) + 10 * (random.next() - 0.5);
    for (let f = 0; f < FEATURES; f++) values[f * ROWS + row] = wear * (f % 5) + random.next();
  }
  return {
    matrix: { rows: ROWS, features: FEATURES, values },
    target,
    groups: Int32Array.from({ length: ROWS }, (_, row) => Math.floor(row / 200)),
  };
}
