import type { CohortVerdict } from "../drift/verdict.ts";
import type { Outcome } from "../outcomes/outcomes.ts";
import type { Retraining, RetrainingPolicy } from "./job.ts";

/** What a policy is judged by. */
export interface PolicyFacts {
  readonly policy: RetrainingPolicy;
  /** Verdicts on the cohort under the model, and each as it was when its phase was entered, newest first. */
  readonly verdicts: readonly CohortVerdict[];
  readonly history: readonly CohortVerdict[];
  /** Outcomes of the cohort's assets that stand. */
  readonly outcomes: readonly Outcome[];
  /** Newest retraining of the model for the cohort. */
  readonly last: Retraining | undefined;
  readonly lastIsOpen: boolean;
}

/** Why a retraining begins now, or undefined. */
export interface PolicyStart {
  readonly sinceMs: number;
  readonly labelledAssets: number;
}

/**
 * A retraining begins when the cohort is called drifted and enough of its assets have failed since. Wrong data and a
 * single machine that stands out never begin one. After one that came to nothing it takes another labelled asset.
 */
export function startOf({
  policy,
  verdicts,
  history,
  outcomes,
  last,
  lastIsOpen,
}: PolicyFacts): PolicyStart | undefined {
  if (lastIsOpen) return undefined;
  // While the data themselves are wrong nothing can be learnt from them.
  if (verdicts.some(({ phase }) => phase === "quality")) return undefined;
  const drifted = calledOf(verdicts, history);
  if (drifted === undefined || drifted.sinceMs === null) return undefined;
  const { sinceMs } = drifted;
  const labelledAssets = labelledSince(outcomes, sinceMs, policy.holdoutAssets);
  if (labelledAssets < policy.labelledAssetsMin) return undefined;
  // Devices that have just taken a retrained version still say what they saw with the one before it.
  if (last?.phase === "released" && drifted.enteredAtMs <= last.updatedAtMs) return undefined;
  if (last !== undefined && last.phase !== "released" && labelledAssets <= last.labelledAssets) return undefined;
  return { sinceMs, labelledAssets };
}

/**
 * The call of drift that the models in use are still under. Machines that are repaired after a change make their baseline
 * in it, so that the charts come to rest: the change has become usual, and the model knows no more of it than before. It
 * is as old as it was when it was called: charts that were at rest meanwhile have seen it since then only.
 */
export function calledOf(
  verdicts: readonly CohortVerdict[],
  history: readonly CohortVerdict[],
): CohortVerdict | undefined {
  const inUse = new Set(verdicts.map(({ reference }) => reference));
  return [...history, ...verdicts].find(({ phase, reference }) => phase === "drifted" && inUse.has(reference));
}

/** How many assets that may be learnt from have failed since then. */
export function labelledSince(outcomes: readonly Outcome[], sinceMs: number, holdoutAssets: readonly string[]): number {
  const heldOut = new Set(holdoutAssets);
  const failed = outcomes.filter(
    ({ kind, atMs, asset, retracted }) =>
      kind === "failure" && retracted === null && atMs >= sinceMs && !heldOut.has(asset),
  );
  return new Set(failed.map(({ asset }) => asset)).size;
}
