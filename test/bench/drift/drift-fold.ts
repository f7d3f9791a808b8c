import type { Bench } from "../bench.ts";
import { figureOf } from "../child.io.ts";

/** The device's drift detector. */
export const driftFold: Bench = {
  what: "microseconds per feature and row of drift detection on the device: 24 features folded into cells and bins, windows of 60 judged",
  over: "a raw loop that adds each value of the same arrays to a sum, a sum of squares and an equally wide bin",
  unit: "us",
  goal: { of: "value", most: 0.1 },
  baselineFile: "drift/loop.ts",
  open: async () => ({
    value: () => figureOf("drift/fold.ts"),
    baseline: () => figureOf("drift/loop.ts"),
    close: async () => undefined,
  }),
};
