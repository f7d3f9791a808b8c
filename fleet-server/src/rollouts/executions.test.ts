import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import { describe, expect, it } from "vitest";
import { type Execution, judgeExecution } from "./executions.ts";
import { planOf, type RolloutPlan } from "./plan.ts";

const digest = `sha256:${"a".repeat(64)}`;
const older = `sha256:${"b".repeat(64)}`;
const planned = planOf(
  {
    model: "m",
    version: "2",
    target: { selector: "" },
    confirm: { inferences: 20, soakSeconds: 10 },
    staleAfterMinutes: 1,
    timeoutConfig: { inProgressTimeoutInMinutes: 5 },
  },
  2,
  digest,
);
const plan = (planned.ok ? planned.value : undefined) as RolloutPlan;

const execution: Execution = {
  device: "d",
  wave: 0,
  phase: "inProgress",
  assignedAtMs: 0,
  directorVersion: 7,
  previous: { version: 1, digest: older },
  errorCode: null,
};
const proof = { goldenMatched: true, inferences: 20, errors: 0, p99LatencyUs: 100, soakedMs: 10_000 };
const succeeded: ReportedModel = {
  model: "m",
  phase: "idle",
  active: { version: 2, digest },
  target: { version: 2, digest, directorVersion: 7 },
  outcome: "succeeded",
  evidence: proof,
};
const error = (code: string) => ({ code, message: "", atMs: 0 });

describe("an execution", () => {
  it.each<[string, Partial<ReportedModel> | undefined, string]>([
    ["every proof is there", {}, "succeeded"],
    ["a newer document is answered", { target: { version: 2, digest, directorVersion: 9 } }, "succeeded"],
    ["nothing was reported", undefined, "inProgress"],
    ["an older document is answered", { target: { version: 2, digest, directorVersion: 6 } }, "inProgress"],
    ["another digest runs", { active: { version: 1, digest: older } }, "inProgress"],
    ["golden vectors did not match", { evidence: { ...proof, goldenMatched: false } }, "inProgress"],
    ["one inference is missing", { evidence: { ...proof, inferences: 19 } }, "inProgress"],
    ["the soak was cut short", { evidence: { ...proof, soakedMs: 9_999 } }, "inProgress"],
    ["it failed", { outcome: "failed", error: error("GOLDEN_MISMATCH") }, "failed"],
    ["it rolled back", { outcome: "rolledBack", error: error("INFERENCE_ERRORS") }, "failed"],
    ["it never had input", { outcome: "rolledBack", error: error("NO_LIVE_INFERENCES") }, "inconclusive"],
    ["it is incompatible", { outcome: "rejected", error: error("INCOMPATIBLE") }, "rejected"],
  ])("when %s", (_, change, phase) => {
    const { evidence: _evidence, ...bare } = { ...succeeded, ...change };
    const reported = change && ("evidence" in change || !change.error) ? { ...succeeded, ...change } : change && bare;
    expect(judgeExecution(plan, execution, { reported, silentMs: 0 }, 1_000).phase).toBe(phase);
  });

  it.each([
    ["RELEASE_OUTSIDE_COHORT", "rejected"],
    ["NOT_IN_TARGETS", "failed"],
    ["ENVELOPE_UNKNOWN_KEY", "failed"],
  ])("that is refused with %s is %s at once", (code, phase) => {
    const refused = { reported: undefined, refusal: { code, message: "no" }, silentMs: 0 };
    expect(judgeExecution(plan, execution, refused, 1)).toEqual({ phase, errorCode: code });
    const away = { ...execution, phase: "stale" as const };
    expect(judgeExecution(plan, away, { ...refused, silentMs: null }, 1)).toEqual({ phase, errorCode: code });
    // Proof outweighs it, and what has ended is not judged again.
    expect(judgeExecution(plan, execution, { ...refused, reported: succeeded }, 1).phase).toBe("succeeded");
    const done = { ...execution, phase: "succeeded" as const };
    expect(judgeExecution(plan, done, refused, 1).phase).toBe("succeeded");
  });

  it("leaves the count when the device is out of reach for long, and returns with it", () => {
    expect(judgeExecution(plan, execution, { reported: undefined, silentMs: 61_000 }, 70_000).phase).toBe("stale");
    const stale = { ...execution, phase: "stale" as const };
    expect(judgeExecution(plan, stale, { reported: undefined, silentMs: 0 }, 70_000).phase).toBe("inProgress");
    expect(judgeExecution(plan, stale, { reported: succeeded, silentMs: 0 }, 70_000).phase).toBe("succeeded");
  });

  it("times out", () => {
    expect(judgeExecution(plan, execution, { reported: undefined, silentMs: 0 }, 300_001)).toEqual({
      phase: "timedOut",
      errorCode: "EXECUTION_TIMED_OUT",
    });
  });

  it("is back when the earlier version runs again", () => {
    const reverting = { ...execution, phase: "reverting" as const };
    const judge = (reported: ReportedModel | undefined, from: Execution) =>
      judgeExecution(plan, from, { reported, silentMs: 0 }, 0).phase;
    expect(judge(succeeded, reverting)).toBe("reverting");
    expect(judge({ ...succeeded, active: { version: 1, digest: older } }, reverting)).toBe("reverted");
    expect(judge({ model: "m", phase: "idle" }, { ...reverting, previous: null })).toBe("reverted");
  });
});
