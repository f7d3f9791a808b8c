import type { Bench } from "../bench.ts";
import { figureOf } from "../child.io.ts";
import { FEATURES, ROWS } from "./data.ts";

/** The built-in trainer. */
export const gbdtTrain: Bench = {
  what: `seconds to grow 300 gradient-boosted trees on ${ROWS.toLocaleString("en")} rows of ${FEATURES} features, one thread, the trainer's defaults`,
  over: "a raw loop that adds each tree's drawn rows of each drawn feature to histograms once, over the same arrays",
  unit: "s",
  goal: { of: "value", most: 8 },
  baselineFile: "gbdt/loop.ts",
  open: async () => ({
    value: () => figureOf("gbdt/train.ts"),
    baseline: () => figureOf("gbdt/loop.ts"),
    close: async () => undefined,
  }),
};
