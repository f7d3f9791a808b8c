import type { DriftReference } from "@bellwether/protocol/reference/drift-reference.ts";
import { CHANNELS, FEATURES, reference, valuesAt } from "../agent/model.ts";

export const ROWS = 30_720;
/** Times the rows are gone through. */
export const PASSES = 20;
export const NAMES: readonly string[] = FEATURES;

/** The vectors of one asset, row by row in one array: the signals of the benchmarks of the agent. */
export function vectors(): Float64Array {
  const values = new Float64Array(ROWS * CHANNELS.length);
  for (let row = 0; row < ROWS; row++) values.set(Object.values(valuesAt(0, row)), row * CHANNELS.length);
  return values;
}

/** What the device compares them with. */
export function driftReference(): DriftReference {
  const { drift } = reference();
  if (drift === undefined) throw new Error("the bench's reference has no drift part");
  return drift;
}
