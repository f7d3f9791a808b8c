import { expect, test } from "vitest";
import type { CohortVerdict } from "../drift/verdict.ts";
import type { Outcome } from "../outcomes/outcomes.ts";
import type { Retraining } from "./job.ts";
import { type PolicyFacts, startOf } from "./policy.ts";

const SINCE = 1_000;
const policy: PolicyFacts["policy"] = {
  model: "m",
  cohort: "B",
  mode: "auto",
  holdoutAssets: ["held-out"],
  rollout: {},
  labelledAssetsMin: 3,
  updatedAtMs: 0,
  updatedBy: "somebody",
};
const verdict = (change: Partial<CohortVerdict>) =>
  ({ phase: "drifted", sinceMs: SINCE, enteredAtMs: 50, ...change }) as CohortVerdict;
const failure = (asset: string, change: Partial<Outcome> = {}): Outcome => ({
  id: 1,
  asset,
  kind: "failure",
  atMs: SINCE + 1,
  site: "plant",
  by: "somebody",
  recordedAtMs: 1,
  retracted: null,
  ...change,
});
const facts = (change: Partial<PolicyFacts> = {}): PolicyFacts => ({
  policy,
  verdicts: [verdict({})],
  history: [],
  outcomes: ["a", "b", "c"].map((asset) => failure(asset)),
  last: undefined,
  lastIsOpen: false,
  ...change,
});
const job = (change: Partial<Retraining>) => ({ labelledAssets: 3, updatedAtMs: 100, ...change }) as Retraining;

test("it begins when the cohort is called drifted and enough of its assets have failed since", () => {
  expect(startOf(facts())).toEqual({ sinceMs: SINCE, labelledAssets: 3 });
});

test.each<[string, Partial<PolicyFacts>]>([
  ["one is open", { lastIsOpen: true }],
  ["nothing is called", { verdicts: [] }],
  ["the cohort is stable", { verdicts: [verdict({ phase: "stable" })] }],
  ["the data are wrong", { verdicts: [verdict({ phase: "quality" })] }],
  ["one machine stands out alone", { verdicts: [verdict({ phase: "single" })] }],
  ["too few assets have failed", { outcomes: [failure("a"), failure("b"), failure("b", { atMs: SINCE + 9 })] }],
  ["one of them is held out", { outcomes: [failure("a"), failure("b"), failure("held-out")] }],
  [
    "one of them failed before the change",
    { outcomes: [failure("a"), failure("b"), failure("c", { atMs: SINCE - 1 })] },
  ],
  ["one was no failure", { outcomes: [failure("a"), failure("b"), failure("c", { kind: "inspection" })] }],
  ["one was taken back", { outcomes: [failure("a"), failure("b"), failure("c", { retracted: { by: "x", atMs: 2 } })] }],
  ["the last one came to nothing and no label was added", { last: job({ phase: "rejected" }) }],
  ["the verdict is of the version that was just replaced", { last: job({ phase: "released" }) }],
])("it does not begin when %s", (_, change) => {
  expect(startOf(facts(change))).toBeUndefined();
});

test("it still begins when the charts have come to rest in the change, as long as the model is the same", () => {
  const stable = [verdict({ phase: "stable", sinceMs: null, reference: "r1" })];
  const called = [verdict({ reference: "r1" })];
  expect(startOf(facts({ verdicts: stable, history: called }))).toEqual({ sinceMs: SINCE, labelledAssets: 3 });
  expect(startOf(facts({ verdicts: stable, history: [verdict({ reference: "r0" })] }))).toBeUndefined();
});

test("it learns from when the change was first seen, also where the charts have seen it anew since", () => {
  const now = [verdict({ reference: "r1", sinceMs: SINCE + 1_000 })];
  const called = [
    verdict({ reference: "r1" }),
    verdict({ reference: "r1", phase: "stable", sinceMs: null }),
    verdict({ reference: "r1", sinceMs: 1 }),
  ];
  expect(startOf(facts({ verdicts: now, history: called }))).toEqual({ sinceMs: SINCE, labelledAssets: 3 });
});

test("it begins again with another label, and when a retrained version drifts in its turn", () => {
  const four = ["a", "b", "c", "d"].map((asset) => failure(asset));
  expect(startOf(facts({ last: job({ phase: "rejected" }), outcomes: four }))).toMatchObject({ labelledAssets: 4 });
  const later = [verdict({ enteredAtMs: 101 })];
  expect(startOf(facts({ last: job({ phase: "released" }), verdicts: later }))).toBeDefined();
});
