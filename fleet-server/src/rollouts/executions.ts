import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import type { Tally } from "./machine.ts";
import type { RolloutPlan } from "./plan.ts";

export const EXECUTION_PHASES = [
  "queued",
  "inProgress",
  "succeeded",
  "failed",
  "timedOut",
  "inconclusive",
  "rejected",
  "stale",
  "superseded",
  "reverting",
  "reverted",
] as const;
export type ExecutionPhase = (typeof EXECUTION_PHASES)[number];

/** One device's part in a rollout. */
export interface Execution {
  readonly device: string;
  readonly wave: number;
  readonly phase: ExecutionPhase;
  readonly assignedAtMs: number | null;
  /** Version of the director document that asked for the new model, or lately for the earlier one. */
  readonly directorVersion: number | null;
  /** What ran before, to go back to; null when nothing did. */
  readonly previous: { readonly version: number; readonly digest: string } | null;
  readonly errorCode: string | null;
}

/** Why a device did not take what it was asked to run. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** What a device last said, and how long ago it was heard. */
export interface DeviceView {
  readonly reported: ReportedModel | undefined;
  readonly refusal?: Refusal | undefined;
  readonly silentMs: number | null;
}

/** Codes that mean "could not be tried", not "was tried and is bad": they make a wave inconclusive, not failed. */
const INCONCLUSIVE_CODES = new Set(["NO_LIVE_INFERENCES"]);

/** Refusals that say the device is not meant, not that anything is wrong with what it was sent. */
const NOT_MEANT_CODES = new Set(["RELEASE_OUTSIDE_COHORT"]);

/**
 * Where an execution stands by what the device reports. Success is proven, never assumed: the digest runs, golden
 * vectors matched, enough live inferences, soak passed, and it answers this very document or a newer one.
 */
export function judgeExecution(
  plan: RolloutPlan,
  execution: Execution,
  view: DeviceView,
  nowMs: number,
): { readonly phase: ExecutionPhase; readonly errorCode: string | null } {
  const unchanged = { phase: execution.phase, errorCode: execution.errorCode };
  if (execution.phase === "reverting") {
    const active = view.reported?.active?.digest;
    return { ...unchanged, phase: active === execution.previous?.digest ? "reverted" : "reverting" };
  }
  if (execution.phase !== "inProgress" && execution.phase !== "stale") return unchanged;
  const answer = answerOf(plan, execution, view.reported);
  if (answer) return answer;
  if (view.refusal) {
    const { code } = view.refusal;
    return { phase: NOT_MEANT_CODES.has(code) ? "rejected" : "failed", errorCode: code };
  }
  if (view.silentMs === null || view.silentMs > plan.staleAfterMs) return { phase: "stale", errorCode: null };
  if (nowMs - (execution.assignedAtMs ?? nowMs) > plan.inProgressTimeoutMs) {
    return { phase: "timedOut", errorCode: "EXECUTION_TIMED_OUT" };
  }
  return { phase: "inProgress", errorCode: view.reported?.error?.code ?? null };
}

function answerOf(plan: RolloutPlan, execution: Execution, reported: ReportedModel | undefined) {
  const target = reported?.target;
  if (!reported || !target || target.digest !== plan.manifestDigest) return undefined;
  if (target.directorVersion < (execution.directorVersion ?? Number.POSITIVE_INFINITY)) return undefined;
  const errorCode = reported.error?.code ?? null;
  switch (reported.outcome) {
    case "succeeded": {
      const proof = reported.evidence;
      const proven =
        reported.active?.digest === plan.manifestDigest &&
        proof?.goldenMatched === true &&
        proof.inferences >= plan.confirm.inferences &&
        proof.soakedMs >= plan.confirm.soakMs;
      return proven ? { phase: "succeeded" as const, errorCode: null } : undefined;
    }
    case "rejected":
      return { phase: "rejected" as const, errorCode };
    case "failed":
    case "rolledBack":
      return {
        phase: INCONCLUSIVE_CODES.has(errorCode ?? "") ? ("inconclusive" as const) : ("failed" as const),
        errorCode,
      };
    default:
      return undefined;
  }
}

/** Counts a wave's executions. One that is on its way back counts as superseded: it says nothing about success any more. */
export function tally(executions: readonly Pick<Execution, "phase">[]): Tally {
  const counts = {
    queued: 0,
    inProgress: 0,
    succeeded: 0,
    failed: 0,
    timedOut: 0,
    inconclusive: 0,
    rejected: 0,
    stale: 0,
    superseded: 0,
  };
  for (const { phase } of executions) counts[phase === "reverting" || phase === "reverted" ? "superseded" : phase]++;
  return counts;
}
