import { describe, expect, it } from "vitest";
import type { GateDecision } from "./gates.ts";
import {
  advance,
  COMMANDS,
  command,
  created,
  type Observation,
  ROLLOUT_PHASES,
  type RolloutState,
  type Tally,
  TRANSITIONS,
} from "./machine.ts";
import { planOf, type RolloutPlan, type RolloutRequest } from "./plan.ts";

const digest = `sha256:${"a".repeat(64)}`;
const NOTHING: Tally = {
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

function plan(request: Partial<RolloutRequest> = {}): RolloutPlan {
  const planned = planOf(
    {
      model: "m",
      version: "1",
      target: { selector: "" },
      waves: [
        { name: "canary", targetPercentage: 20, soakMinutes: 1, errorAction: "REVERT" },
        { name: "rest", targetPercentage: 100, soakMinutes: 1 },
      ],
      gateTimeoutMinutes: 5,
      ...request,
    },
    1,
    digest,
  );
  if (!planned.ok) throw new Error(planned.error.message);
  return planned.value;
}

const gate = (verdict: GateDecision["verdict"], name = "score-shift"): GateDecision => ({
  gate: name,
  verdict,
  statistic: 1,
  n: 40,
  controlN: 40,
  threshold: 0.5,
  reason: "because",
});
const passing = ["inference-errors", "latency", "score-shift"].map((name) => gate("pass", name));

function observe(tally: Partial<Tally>, rest: Partial<Observation> = {}, other: Partial<Tally> = {}): Observation {
  return {
    tallies: [
      { ...NOTHING, ...tally },
      { ...NOTHING, ...other },
    ],
    gates: [],
    silentDevices: [],
    revertsPending: 0,
    ...rest,
  };
}

const MINUTE_MS = 60_000;

/** Runs observations, each `stepMs` after the one before, through the machine from "running". */
function run(steps: Observation[], request: Partial<RolloutRequest> = {}, stepMs = MINUTE_MS) {
  const rollout = plan(request);
  let state: RolloutState = { ...created(rollout), phase: "running" };
  let nowMs = 0;
  const effects: string[] = [];
  for (const observation of steps) {
    const step = advance(rollout, state, observation, nowMs);
    state = step.state;
    effects.push(...step.effects.map((effect) => effect.kind));
    nowMs += stepMs;
  }
  return { state, effects, wave: state.waves[0] };
}

describe("a plan", () => {
  it("asks devices for a shadow only where the request does, and gives it its time", () => {
    const confirm = { soakSeconds: 60, deadlineSeconds: 600 };
    const without = plan({ confirm });
    expect(without.confirm).not.toHaveProperty("shadow");
    const planned = plan({ confirm: { ...confirm, shadow: { seconds: 3_600 } } });
    expect(planned.confirm.shadow).toEqual({ inferences: 20, durationMs: 3_600_000 });
    // The shadow's own time, and as long again as a confirmation may wait for its inferences.
    expect(planned.inProgressTimeoutMs - without.inProgressTimeoutMs).toBe(3_600_000 + 600_000);
  });
});

describe("a rollout", () => {
  it("deploys, soaks, passes and goes on to the next wave", () => {
    const done = observe({ succeeded: 2 }, { gates: passing });
    const { state, effects } = run([observe({ queued: 2 }), observe({ inProgress: 2 }), done, done]);
    expect(state).toMatchObject({ phase: "running", waveIndex: 1 });
    expect(state.waves[0]).toMatchObject({ phase: "passed", reason: "every gate passed" });
    expect(effects).toEqual(["deploy", "recordGates", "recordGates"]);
  });

  it("finishes after its last wave", () => {
    const both = observe({ succeeded: 2 }, { gates: passing }, { succeeded: 8 });
    expect(run([both, both, both, both, both, both, both]).state.phase).toBe("finished");
  });

  it("keeps for every wave whether its devices were still heard when its soak ended", () => {
    const rollout = plan();
    const soaking = { ...created(rollout), phase: "running" as const };
    const state = {
      ...soaking,
      waves: soaking.waves.map((wave) => ({ ...wave, phase: "soaking" as const, soakStartedAtMs: 0 })),
    };
    const decided = (silentDevices: readonly string[], nowMs: number) => {
      const { effects } = advance(rollout, state, observe({ succeeded: 7 }, { silentDevices }), nowMs);
      return effects.flatMap((effect) => (effect.kind === "recordGates" ? effect.decisions : []));
    };
    expect(decided([], MINUTE_MS - 1)).toEqual([]);
    const base = { gate: "live-predictions", n: 7, controlN: 0, threshold: 0 };
    expect(decided([], MINUTE_MS)).toEqual([
      { ...base, verdict: "pass", statistic: 0, reason: "every device that succeeded sends predictions" },
    ]);
    expect(decided(["d1", "d2", "d3", "d4", "d5", "d6"], MINUTE_MS)).toEqual([
      {
        ...base,
        verdict: "inconclusive",
        statistic: 6,
        reason: "no predictions of late from d1, d2, d3, d4, d5 and 1 more",
      },
    ]);
  });

  it.each([
    ["a gate fails while deploying", [observe({ inProgress: 2 }, { gates: [gate("fail")] })], "reverting", "failed"],
    [
      "a gate fails while soaking",
      [observe({ succeeded: 2 }), observe({ succeeded: 2 }, { gates: [gate("fail")] })],
      "reverting",
      "failed",
    ],
    ["a device fails", [observe({ inProgress: 1, failed: 1 })], "reverting", "failed"],
    ["a device times out", [observe({ inProgress: 1, timedOut: 1 })], "reverting", "failed"],
    ["every device is out of reach", [observe({ stale: 2 })], "paused", "inconclusive"],
    ["every device is incompatible", [observe({ rejected: 2 })], "paused", "inconclusive"],
    ["no device had input", [observe({ inconclusive: 2 })], "paused", "inconclusive"],
    ["too few succeed", [observe({ succeeded: 1, inconclusive: 1 })], "paused", "inconclusive"],
    [
      "the canary falls silent",
      [observe({ succeeded: 2 }), observe({ succeeded: 2 }, { gates: passing, silentDevices: ["d1"] })],
      "paused",
      "inconclusive",
    ],
  ] as const)("stops when %s", (_, steps, phase, wave) => {
    const { state } = run([observe({ queued: 2 }), ...steps]);
    expect([state.phase, state.waves[0]?.phase, state.waveIndex]).toEqual([phase, wave, 0]);
    expect(state.reason).toContain("wave canary");
  });

  it("waits for a gate without data, and pauses when it gets none", () => {
    const mute = observe({ succeeded: 2 }, { gates: [...passing.slice(0, 2), gate("inconclusive")] });
    const waiting = run([observe({ queued: 2 }), ...Array(5).fill(mute)]);
    expect(waiting.state).toMatchObject({ phase: "running", waveIndex: 0 });
    const given = run([observe({ queued: 2 }), ...Array(9).fill(mute)]);
    expect([given.state.phase, given.wave?.phase]).toEqual(["paused", "inconclusive"]);
    expect(given.wave?.reason).toContain("score-shift");
  });

  it("never passes on gates that were not judged at all", () => {
    const { state } = run([observe({ queued: 2 }), ...Array(20).fill(observe({ succeeded: 2 }))]);
    expect([state.phase, state.waves[0]?.phase]).toEqual(["paused", "inconclusive"]);
  });

  it("trips again on new failures only after a person resumed", () => {
    const rollout = plan({ waves: [{ name: "all", targetPercentage: 100, soakMinutes: 1, errorAction: "PAUSE" }] });
    const one = observe({ inProgress: 9, failed: 1 });
    let state: RolloutState = { ...created(rollout), phase: "running" };
    state = advance(rollout, state, observe({ queued: 10 }), 0).state;
    state = advance(rollout, state, one, 1).state;
    expect(state.phase).toBe("paused");
    state = command(state, "resume", one, 2)?.state as RolloutState;
    expect(advance(rollout, state, one, 3).state).toMatchObject({ phase: "running" });
    expect(advance(rollout, state, observe({ inProgress: 8, failed: 2 }), 3).state.phase).toBe("paused");
  });

  it("aborts on failures over terminal executions, only after the minimum", () => {
    const abortConfig = {
      criteriaList: [
        {
          action: "REVERT" as const,
          failureType: "REJECTED" as const,
          minNumberOfExecutedThings: 4,
          thresholdPercentage: 50,
        },
      ],
    };
    const start = observe({ queued: 9 });
    expect(run([start, observe({ rejected: 3, inProgress: 5 })], { abortConfig }).state.phase).toBe("running");
    expect(run([start, observe({ rejected: 2, succeeded: 2, inProgress: 5 })], { abortConfig }).state.phase).toBe(
      "reverting",
    );
  });

  it("is reverted only when no device runs the new version any more", () => {
    const back = (revertsPending: number) => observe({ succeeded: 2 }, { revertsPending });
    const failed = observe({ failed: 1, inProgress: 1 });
    expect(run([observe({ queued: 2 }), failed, back(2), back(1)]).state.phase).toBe("reverting");
    expect(run([observe({ queued: 2 }), failed, back(2), back(0)]).state.phase).toBe("reverted");
  });

  it("answers every order in every phase as its table says", () => {
    for (const phase of ROLLOUT_PHASES) {
      for (const order of COMMANDS) {
        const step = command({ ...created(plan()), phase }, order, observe({}), 0);
        const allowed: Partial<Record<string, string>> = TRANSITIONS[phase];
        expect(step?.state.phase).toBe(allowed[order]);
      }
    }
  });
});
