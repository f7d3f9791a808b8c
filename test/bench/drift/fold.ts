/** Microseconds per feature and row of the device's detector: fold every vector, close and judge every window. */
import { AssetDetector } from "@bellwether/protocol/drift/detector.ts";
import { WindowFold } from "@bellwether/protocol/drift/fold.ts";
import { driftReference, NAMES, PASSES, ROWS, vectors } from "./data.ts";

const reference = driftReference();
const fold = new WindowFold(reference, NAMES);
const detector = new AssetDetector(reference, Number.MAX_VALUE);
const values = vectors();
const width = NAMES.length;
const rows = Array.from({ length: ROWS }, (_, row) => values.subarray(row * width, (row + 1) * width));
const startMs = performance.now();
for (let pass = 0; pass < PASSES; pass++) {
  for (let row = 0; row < ROWS; row++) {
    const vector = rows[row]!;
    fold.add(vector, vector[0]!);
    if (fold.vectors === reference.windowVectors) detector.step(fold.close(), row);
  }
}
const figure = ((performance.now() - startMs) * 1_000) / (PASSES * ROWS * reference.features.length);
process.stdout.write(`${JSON.stringify({ figure, windows: detector.windows })}\n`);
