import type { ErrorTable } from "./entry.ts";

/** Errors of drift sketches, cohorts' verdicts and the learning loop. */
export const DRIFT_ERRORS = {
  DRIFT_EDGES_DIFFER: {
    http: 422,
    sentence: "The drift sketch was made with another reference than its model's: {what}.",
    remedy: "It is left out. Look which model the device runs: only sketches of one reference can be added up.",
  },
} as const satisfies ErrorTable;
