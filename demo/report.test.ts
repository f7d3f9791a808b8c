import { describe, expect, it } from "vitest";
import { brokenPromises, type Expectation, type Report } from "./report.ts";

const kept: Report = {
  seed: 1,
  devices: 6,
  samples: { produced: 100, committed: 100, lost: 0, duplicated: 0 },
  model: { rmse: 10, rmseMean: 40 },
  rollouts: [
    { model: "m", version: 1, state: "finished", reverted: false, devicesTouched: 6 },
    { model: "m", version: 2, state: "reverted", reverted: true, devicesTouched: 2 },
  ],
  tamper: { refused: 2, codes: ["DIGEST_MISMATCH", "ENVELOPE_UNKNOWN_KEY"] },
  drift: { cohort: "B", calledAfterWindows: 4, falseCohorts: 0 },
  retraining: { cohort: "B", candidate: "pooled", rmseBefore: 30, rmseAfter: 10, ciUpperRatio: 0.5 },
  seconds: 120,
};
const expected: Expectation = { canaries: 2, changed: "B", retrained: { rmseMean: 40, outsideCohort: 0 } };
const [first, bad] = kept.rollouts as [Report["rollouts"][0], Report["rollouts"][0]];
const { samples, drift, retraining } = kept as Report & { retraining: NonNullable<Report["retraining"]> };

describe("the story's verdict", () => {
  it("finds nothing broken where everything held", () => {
    expect(brokenPromises(kept, expected)).toEqual([]);
    const quiet = { ...kept, drift: { cohort: null, calledAfterWindows: null, falseCohorts: 0 }, retraining: null };
    expect(brokenPromises(quiet, { ...expected, changed: null, retrained: null })).toEqual([]);
  });

  it.each<[string, Partial<Report>, Partial<Expectation>?]>([
    ["nothing was produced", { samples: { produced: 0, committed: 0, lost: 0, duplicated: 0 } }],
    ["1 samples were lost", { samples: { ...samples, committed: 99, lost: 1 } }],
    ["1 samples were stored twice", { samples: { ...samples, duplicated: 1 } }],
    ["not every sample arrived", { samples: { ...samples, committed: 99 } }],
    ["the model's error", { model: { rmse: 24.1, rmseMean: 40 } }],
    ["the model's error", { model: { rmse: Number.NaN, rmseMean: 40 } }],
    ["did not reach every device", { rollouts: [{ ...first, devicesTouched: 5 }, bad] }],
    ["did not reach every device", { rollouts: [{ ...first, state: "paused" }, bad] }],
    ["not stopped and taken back", { rollouts: [first, { ...bad, state: "finished", reverted: false }] }],
    ["not stopped and taken back", { rollouts: [first, { ...bad, reverted: false }] }],
    ["not stopped and taken back", { rollouts: [first] }],
    ["3 devices saw the worthless model", { rollouts: [first, { ...bad, devicesTouched: 3 }] }],
    ["no device ran the worthless model", { rollouts: [first, { ...bad, devicesTouched: 0 }] }],
    ["1 of 2 tampered things", { tamper: { refused: 1, codes: ["DIGEST_MISMATCH"] } }],
    ["drift was called on no cohort, not on B", { drift: { ...drift, cohort: null } }],
    ["drift was called on B, not on none", {}, { changed: null }],
    ["1 cohorts where nothing had changed", { drift: { ...drift, falseCohorts: 1 } }],
    ["before anything had changed", { drift: { ...drift, calledAfterWindows: 0 } }],
    ["was not retrained", { retraining: null }],
    ["retraining did not pay", { retraining: { ...retraining, rmseAfter: 30 } }],
    [
      "no better than always the mean",
      { retraining: { ...retraining, rmseAfter: 29 } },
      { retrained: { rmseMean: 29, outsideCohort: 0 } },
    ],
    ["not surely better", { retraining: { ...retraining, ciUpperRatio: 1 } }],
    ["1 devices outside the cohort", {}, { retrained: { rmseMean: 40, outsideCohort: 1 } }],
  ])("says: %s", (sentence, report, expectation = {}) => {
    const broken = brokenPromises({ ...kept, ...report }, { ...expected, ...expectation });
    expect(broken.join("\n")).toContain(sentence);
  });
});
