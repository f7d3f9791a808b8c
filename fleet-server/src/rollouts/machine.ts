import { type GateDecision, judgeSilence } from "./gates.ts";
import type { FailureType, RolloutPlan, WavePlan } from "./plan.ts";

export const ROLLOUT_PHASES = [
  "creating",
  "waitingForApproval",
  "ready",
  "running",
  "paused",
  "stopping",
  "stopped",
  "reverting",
  "reverted",
  "finished",
] as const;
export type RolloutPhase = (typeof ROLLOUT_PHASES)[number];

export const WAVE_PHASES = ["pending", "deploying", "soaking", "passed", "failed", "inconclusive"] as const;
export type WavePhase = (typeof WAVE_PHASES)[number];

export const COMMANDS = ["approve", "deny", "start", "pause", "resume", "stop", "revert", "retry"] as const;
export type RolloutCommand = (typeof COMMANDS)[number];

/** What people may order, and where it leads. What is not here is refused with `ROLLOUT_COMMAND_REFUSED`. */
export const TRANSITIONS = {
  creating: {},
  waitingForApproval: { approve: "ready", deny: "stopped" },
  ready: { start: "running", stop: "stopped" },
  running: { pause: "paused", stop: "stopping", revert: "reverting" },
  paused: { resume: "running", retry: "running", stop: "stopping", revert: "reverting" },
  stopping: { revert: "reverting" },
  stopped: { revert: "reverting" },
  reverting: {},
  reverted: {},
  finished: { revert: "reverting" },
} as const satisfies Record<RolloutPhase, Partial<Record<RolloutCommand, RolloutPhase>>>;

/** Phases in which the scheduler still has something to do by itself; the compiler holds the list complete. */
export const RESUMES = {
  creating: "assignTargets",
  waitingForApproval: "wait",
  ready: "wait",
  running: "advance",
  paused: "watch",
  stopping: "drain",
  stopped: "none",
  reverting: "revert",
  reverted: "none",
  finished: "none",
} as const satisfies Record<RolloutPhase, "assignTargets" | "wait" | "advance" | "watch" | "drain" | "revert" | "none">;

export interface WaveState {
  readonly name: string;
  readonly phase: WavePhase;
  readonly startedAtMs?: number;
  readonly soakStartedAtMs?: number;
  readonly endedAtMs?: number;
  readonly reason?: string;
  /** Failures a person has seen and accepted by resuming: only new ones trip again. */
  readonly acknowledgedFailures: number;
  readonly acknowledgedGates: readonly string[];
}

export interface RolloutState {
  readonly phase: RolloutPhase;
  readonly waveIndex: number;
  readonly waves: readonly WaveState[];
  /** Why it stands where it stands, in a sentence. */
  readonly reason?: string;
}

/** How many executions of a wave stand where. */
export interface Tally {
  readonly queued: number;
  readonly inProgress: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly timedOut: number;
  readonly inconclusive: number;
  readonly rejected: number;
  readonly stale: number;
  readonly superseded: number;
}

/** What the scheduler saw since the last step. */
export interface Observation {
  readonly tallies: readonly Tally[];
  /** Fresh decisions on the current wave. */
  readonly gates: readonly GateDecision[];
  /** Devices of the current wave that succeeded and then sent no prediction of late. */
  readonly silentDevices: readonly string[];
  /** Devices that have had the model and do not run the earlier one again yet. */
  readonly revertsPending: number;
}

export type Effect =
  | { readonly kind: "deploy"; readonly wave: number }
  | { readonly kind: "requeue"; readonly wave: number }
  | { readonly kind: "revert" }
  | {
      readonly kind: "recordGates";
      readonly wave: number;
      readonly decisions: readonly GateDecision[];
      /** When this round of judging began: a resumed or repeated wave must not write over what ended it before. */
      readonly sinceMs: number;
    };

export interface Step {
  readonly state: RolloutState;
  readonly effects: readonly Effect[];
}

/** The state a new rollout begins in, its targets already in waves. */
export function created(plan: RolloutPlan): RolloutState {
  return {
    phase: plan.requireApproval ? "waitingForApproval" : "ready",
    waveIndex: 0,
    waves: plan.waves.map((wave) => ({
      name: wave.name,
      phase: "pending",
      acknowledgedFailures: 0,
      acknowledgedGates: [],
    })),
  };
}

/** Where an order leads, or undefined when this phase knows no such order. */
export function command(
  state: RolloutState,
  order: RolloutCommand,
  observation: Observation,
  nowMs: number,
): Step | undefined {
  const allowed: Partial<Record<RolloutCommand, RolloutPhase>> = TRANSITIONS[state.phase];
  const phase = allowed[order];
  if (phase === undefined) return undefined;
  const next: RolloutState = { ...state, phase, reason: `ordered: ${order}` };
  if (order === "resume") return { state: acknowledge(next, observation, nowMs), effects: [] };
  if (order === "retry") return { state: redeploy(next, nowMs), effects: [{ kind: "requeue", wave: next.waveIndex }] };
  if (phase === "reverting") return { state: next, effects: [{ kind: "revert" }] };
  return { state: next, effects: [] };
}

/** One tick of the clock over what was observed. The same observation twice changes nothing the second time. */
export function advance(plan: RolloutPlan, state: RolloutState, observation: Observation, nowMs: number): Step {
  switch (RESUMES[state.phase]) {
    case "advance":
      return advanceWave(plan, state, observation, nowMs);
    case "drain":
      return observation.tallies.every((tally) => tally.inProgress === 0)
        ? { state: { ...state, phase: "stopped" }, effects: [] }
        : { state, effects: [] };
    case "revert":
      return observation.revertsPending === 0
        ? { state: { ...state, phase: "reverted" }, effects: [] }
        : { state, effects: [{ kind: "revert" }] };
    default:
      return { state, effects: [] };
  }
}

function advanceWave(plan: RolloutPlan, state: RolloutState, observation: Observation, nowMs: number): Step {
  const index = state.waveIndex;
  const wave = state.waves[index] as WaveState;
  const wavePlan = plan.waves[index] as WavePlan;
  const tally = observation.tallies[index] as Tally;
  const abort = abortOf(plan, observation.tallies);
  if (abort) return abort === "REVERT" ? revert(state, ABORTED) : halt(state, "stopping", ABORTED);

  if (wave.phase === "pending") {
    return {
      state: withWave(state, index, { ...wave, phase: "deploying", startedAtMs: nowMs }),
      effects: [{ kind: "deploy", wave: index }],
    };
  }
  if (wave.phase === "passed") return nextWave(plan, state);
  const silence = judgeSilence(observation.silentDevices, tally.succeeded);
  const soaked = wave.phase === "soaking" && soakedMsOf(wave, nowMs) >= wavePlan.soakMs;
  const decisions = soaked ? [...observation.gates, silence] : observation.gates;
  const sinceMs = wave.soakStartedAtMs ?? wave.startedAtMs ?? nowMs;
  const record: Effect[] = decisions.length > 0 ? [{ kind: "recordGates", wave: index, decisions, sinceMs }] : [];
  const step = judgeWave(plan, wavePlan, wave, tally, { ...observation, silence }, nowMs);
  return settle(plan, withWave(state, index, step), wavePlan, step, record);
}

/** Where a deploying or soaking wave goes. */
function judgeWave(
  plan: RolloutPlan,
  wavePlan: WavePlan,
  wave: WaveState,
  tally: Tally,
  observation: Observation & { readonly silence: GateDecision },
  nowMs: number,
): WaveState {
  const end = (phase: "passed" | "failed" | "inconclusive", reason: string): WaveState => ({
    ...wave,
    phase,
    reason,
    endedAtMs: nowMs,
  });
  const failedGate = observation.gates.find(
    (gate) => gate.verdict === "fail" && !wave.acknowledgedGates.includes(gate.gate),
  );
  if (failedGate) return end("failed", `gate ${failedGate.gate}: ${failedGate.reason}`);
  const failures = tally.failed + tally.timedOut - wave.acknowledgedFailures;
  const eligible = eligibleOf(tally) - wave.acknowledgedFailures;
  if (failures > 0 && failures / Math.max(1, eligible) >= wavePlan.errorFraction) {
    return end("failed", `${failures} of ${eligible} devices failed`);
  }
  if (wave.phase === "deploying") {
    // A device out of reach stays in the count until it is stale: absence must not look like success.
    if (tally.queued + tally.inProgress > 0) return wave;
    if (eligible <= 0 && tally.succeeded === 0) return end("inconclusive", "no device of this wave could be judged");
    if (tally.succeeded / Math.max(1, eligible) < wavePlan.successFraction) {
      return end("inconclusive", `${tally.succeeded} of ${eligible} devices succeeded, too few to go on`);
    }
    return { ...wave, phase: "soaking", soakStartedAtMs: nowMs };
  }
  const soakedMs = soakedMsOf(wave, nowMs);
  if (soakedMs < wavePlan.soakMs) return wave;
  if (observation.silence.verdict !== "pass") return end("inconclusive", observation.silence.reason);
  const waiting = wavePlan.gates.filter(
    (gate) =>
      !wave.acknowledgedGates.includes(gate.name) &&
      observation.gates.find((decision) => decision.gate === gate.name)?.verdict !== "pass",
  );
  if (waiting.length === 0) return end("passed", "every gate passed");
  if (soakedMs < wavePlan.soakMs + plan.gateTimeoutMs) return wave;
  const names = waiting.map((gate) => gate.name).join(", ");
  return end("inconclusive", `no verdict from ${names} within the time allowed`);
}

function soakedMsOf(wave: WaveState, nowMs: number): number {
  return nowMs - (wave.soakStartedAtMs ?? nowMs);
}

function settle(plan: RolloutPlan, state: RolloutState, wavePlan: WavePlan, wave: WaveState, effects: Effect[]): Step {
  const reason = `wave ${wave.name} ${wave.phase}: ${wave.reason ?? ""}`;
  if (wave.phase === "failed" && wavePlan.errorAction === "REVERT") {
    const step = revert(state, reason);
    return { state: step.state, effects: [...effects, ...step.effects] };
  }
  if (wave.phase === "failed" || wave.phase === "inconclusive") {
    return { state: halt(state, "paused", reason).state, effects };
  }
  if (wave.phase !== "passed") return { state, effects };
  const step = wavePlan.successAction === "PAUSE" ? halt(state, "paused", reason) : nextWave(plan, state);
  return { state: step.state, effects: [...effects, ...step.effects] };
}

function nextWave(plan: RolloutPlan, state: RolloutState): Step {
  if (state.waveIndex === plan.waves.length - 1) {
    return { state: { ...state, phase: "finished", reason: "every wave passed" }, effects: [] };
  }
  return { state: { ...state, phase: "running", waveIndex: state.waveIndex + 1 }, effects: [] };
}

const ABORTED = "aborted: the abort criteria were met";

/** AWS IoT Jobs: failures / terminal executions, >=, only after the minimum. */
function abortOf(plan: RolloutPlan, tallies: readonly Tally[]): "CANCEL" | "REVERT" | undefined {
  const sum = (member: keyof Tally) => tallies.reduce((total, tally) => total + tally[member], 0);
  const terminal = sum("succeeded") + sum("failed") + sum("timedOut") + sum("rejected");
  const counts: Record<FailureType, number> = {
    FAILED: sum("failed"),
    REJECTED: sum("rejected"),
    TIMED_OUT: sum("timedOut"),
    ALL: sum("failed") + sum("rejected") + sum("timedOut"),
  };
  return plan.abort.find(
    (criterion) => terminal >= criterion.minExecuted && counts[criterion.failureType] / terminal >= criterion.fraction,
  )?.action;
}

/** Devices that can succeed at all: not out of reach for too long, not incompatible, not taken over by a newer rollout. */
function eligibleOf(tally: Tally): number {
  return tally.queued + tally.inProgress + tally.succeeded + tally.failed + tally.timedOut + tally.inconclusive;
}

function acknowledge(state: RolloutState, observation: Observation, nowMs: number): RolloutState {
  const wave = state.waves[state.waveIndex] as WaveState;
  if (wave.phase !== "failed" && wave.phase !== "inconclusive") return state;
  const tally = observation.tallies[state.waveIndex] as Tally;
  const failedGates = observation.gates.filter((gate) => gate.verdict === "fail").map((gate) => gate.gate);
  const { endedAtMs: _ended, reason: _reason, ...rest } = wave;
  return withWave(state, state.waveIndex, {
    ...rest,
    phase: tally.queued + tally.inProgress > 0 ? "deploying" : "soaking",
    soakStartedAtMs: nowMs,
    acknowledgedFailures: tally.failed + tally.timedOut + tally.inconclusive,
    acknowledgedGates: [...new Set([...wave.acknowledgedGates, ...failedGates])],
  });
}

function redeploy(state: RolloutState, nowMs: number): RolloutState {
  const wave = state.waves[state.waveIndex] as WaveState;
  return withWave(state, state.waveIndex, {
    name: wave.name,
    phase: "deploying",
    startedAtMs: nowMs,
    acknowledgedFailures: 0,
    acknowledgedGates: wave.acknowledgedGates,
  });
}

function revert(state: RolloutState, reason: string): Step {
  return { state: { ...state, phase: "reverting", reason }, effects: [{ kind: "revert" }] };
}

function halt(state: RolloutState, phase: RolloutPhase, reason: string): Step {
  return { state: { ...state, phase, reason }, effects: [] };
}

function withWave(state: RolloutState, index: number, wave: WaveState): RolloutState {
  return { ...state, waves: state.waves.map((old, at) => (at === index ? wave : old)) };
}
