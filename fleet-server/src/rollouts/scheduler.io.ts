import type { Result } from "@bellwether/protocol/result.ts";
import type { ConfirmRule } from "@bellwether/protocol/trust/director.ts";
import type { ExecutionView, RolloutRecord } from "../store/rollouts.ts";
import type { Store } from "../store/store.ts";
import type { FindIncompatible } from "./compatibility.io.ts";
import { type Execution, judgeExecution, tally } from "./executions.ts";
import { type GateDecision, judgeGate } from "./gates.ts";
import { advance, type Effect, type Observation, type RolloutState, type WaveState } from "./machine.ts";
import type { WavePlan } from "./plan.ts";
import { waveOfLateJoiner } from "./waves.ts";

/** What one device is asked to run of one model; without a version it is asked to stop running it. */
export interface Assignment {
  readonly device: string;
  readonly model: string;
  readonly version: number | null;
  readonly rollout: string;
  readonly confirm: ConfirmRule;
}

/** What the scheduler needs of the other rooms. */
export interface SchedulerPorts {
  readonly store: Store;
  /** Signs and publishes a director document for the device; answers its version. */
  assign(assignment: Assignment): Promise<Result<{ readonly directorVersion: number }>>;
  /** Names of the devices a selector matches now. */
  matching(selector: string, sites?: readonly string[]): Promise<Result<readonly string[]>>;
  /** Which of these devices cannot run a version, by what they said of themselves. */
  readonly incompatible: FindIncompatible;
  /** Facts of a released version that gates need: what the manifest allows, and how its scores spread. */
  releaseFacts(
    model: string,
    digest: string,
  ): Promise<{ readonly limitLatencyMs: number | null; readonly scoreScale: number | null }>;
  now(): number;
  /** Told of everything that goes wrong: a failing tick is tried again at the next one. */
  report(problem: string, detail: unknown): void;
}

/** Looks at every open rollout at intervals. One tick at a time; a tick that fails leaves the rollout as it was kept. */
export interface Scheduler {
  /** Looks at all rollouts once; resolves when done. */
  tick(): Promise<void>;
  /** Observes one rollout as the next tick would, for orders given by people. */
  observe(rollout: RolloutRecord): Promise<Observation>;
  /** Carries out effects of an order given by people. */
  run(rollout: RolloutRecord, effects: readonly Effect[]): Promise<void>;
  start(everyMs: number): void;
  stop(): Promise<void>;
}

/** A scheduler over the given ports. */
export function createScheduler(ports: SchedulerPorts): Scheduler {
  let timer: NodeJS.Timeout | undefined;
  let underWay: Promise<void> = Promise.resolve();
  const observe = (rollout: RolloutRecord) => observeRollout(ports, rollout);
  const run = (rollout: RolloutRecord, effects: readonly Effect[]) => runEffects(ports, rollout, effects);

  async function look(rollout: RolloutRecord): Promise<void> {
    if (rollout.plan.selection === "CONTINUOUS") await admitLateJoiners(ports, rollout);
    if (rollout.state.phase === "finished") return deployQueued(ports, rollout, rollout.plan.waves.length - 1);
    const observation = await observe(rollout);
    const { state, effects } = advance(rollout.plan, rollout.state, observation, ports.now());
    // The state is kept before its effects run; the effects can be run again after a crash.
    if (!sameState(state, rollout.state)) {
      const kept = await ports.store.rollouts.save({
        id: rollout.id,
        state,
        readAtMs: rollout.updatedAtMs,
        nowMs: ports.now(),
      });
      if (!kept) return;
    }
    await run({ ...rollout, state }, effects);
    if (state.phase === "running") await deployQueued(ports, rollout, state.waveIndex);
  }

  async function tick(): Promise<void> {
    for (const rollout of await ports.store.rollouts.open({})) {
      try {
        await look(rollout);
      } catch (cause) {
        // One rollout in trouble must not hold up the others.
        ports.report(`rollout ${rollout.id}`, cause);
      }
    }
  }

  const next = (): Promise<void> => {
    underWay = underWay.then(tick).catch((cause) => ports.report("rollouts", cause));
    return underWay;
  };
  return {
    tick: next,
    observe,
    run,
    start(everyMs) {
      const again = () => {
        timer = setTimeout(() => void next().then(() => timer && again()), everyMs);
      };
      again();
    },
    async stop() {
      clearTimeout(timer);
      timer = undefined;
      await underWay;
    },
  };
}

function sameState(a: RolloutState, b: RolloutState): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

async function observeRollout(ports: SchedulerPorts, rollout: RolloutRecord): Promise<Observation> {
  const nowMs = ports.now();
  const views = await ports.store.rollouts.executions({ id: rollout.id });
  const executions = await refresh(ports, rollout, views, nowMs);
  const { waveIndex } = rollout.state;
  const wave = rollout.state.waves[waveIndex] as WaveState;
  const judged = wave.phase === "deploying" || wave.phase === "soaking";
  return {
    tallies: rollout.plan.waves.map((_, index) => tally(executions.filter((execution) => execution.wave === index))),
    gates: judged && rollout.state.phase === "running" ? await judgeGates(ports, rollout, executions, nowMs) : [],
    silentDevices: wave.phase === "soaking" ? await silentDevices(ports, rollout, wave, nowMs) : [],
    revertsPending: executions.filter((execution) => needsRevert(execution, nowMs, rollout)).length,
  };
}

/** Judges every execution anew and keeps what changed. */
async function refresh(
  ports: SchedulerPorts,
  rollout: RolloutRecord,
  views: readonly ExecutionView[],
  nowMs: number,
): Promise<ExecutionView[]> {
  const executions: ExecutionView[] = [];
  const changes: { device: string; phase: Execution["phase"]; errorCode: string | null }[] = [];
  for (const view of views) {
    const silentMs = view.lastSeenAtMs === null ? null : nowMs - view.lastSeenAtMs;
    const verdict = judgeExecution(rollout.plan, view, { ...view, silentMs }, nowMs);
    if (verdict.phase !== view.phase || verdict.errorCode !== view.errorCode) {
      changes.push({ device: view.device, ...verdict });
    }
    executions.push({ ...view, ...verdict });
  }
  if (changes.length > 0) await ports.store.rollouts.saveExecutions({ id: rollout.id, changes, nowMs });
  return executions;
}

/** A device that may still run the new version. One out of reach for long has the earlier version as its newest desired state. */
function needsRevert(execution: ExecutionView, nowMs: number, rollout: RolloutRecord): boolean {
  if (execution.assignedAtMs === null || execution.phase === "reverted" || execution.phase === "superseded")
    return false;
  const silentMs = execution.lastSeenAtMs === null ? Number.POSITIVE_INFINITY : nowMs - execution.lastSeenAtMs;
  return !(execution.phase === "reverting" && silentMs > rollout.plan.staleAfterMs);
}

async function judgeGates(
  ports: SchedulerPorts,
  rollout: RolloutRecord,
  executions: readonly ExecutionView[],
  nowMs: number,
): Promise<GateDecision[]> {
  const { plan, state } = rollout;
  const wave = state.waves[state.waveIndex] as WaveState;
  const rows = await ports.store.rollouts.evidence({
    rollout: rollout.id,
    model: plan.model,
    digest: plan.manifestDigest,
    wave: state.waveIndex,
    sinceMs: wave.startedAtMs ?? nowMs,
    untilMs: nowMs,
  });
  const predecessor = executions.find(
    (execution) =>
      execution.wave === state.waveIndex && execution.previous && execution.previous.digest !== plan.manifestDigest,
  )?.previous;
  const own = await ports.releaseFacts(plan.model, plan.manifestDigest);
  const scoreScale = predecessor ? (await ports.releaseFacts(plan.model, predecessor.digest)).scoreScale : null;
  const evidence = {
    ...rows,
    p95LatencyMs: rows.p95LatencyUs === null ? null : rows.p95LatencyUs / 1000,
    limitLatencyMs: own.limitLatencyMs,
    hasPredecessor: predecessor !== undefined && predecessor !== null,
    scoreScale,
  };
  return (plan.waves[state.waveIndex] as WavePlan).gates.map((gate) => judgeGate(gate, evidence));
}

/** No shorter: a wave without a soak would be judged on the time since the last tick. */
const SILENCE_MIN_MS = 5_000;

/** Silent: nothing in the second half of the soak. A wave is judged on what its devices do now, not on what they did. */
async function silentDevices(
  ports: SchedulerPorts,
  rollout: RolloutRecord,
  wave: WaveState,
  nowMs: number,
): Promise<string[]> {
  const soakStartedAtMs = wave.soakStartedAtMs ?? nowMs;
  const { soakMs } = rollout.plan.waves[rollout.state.waveIndex] as WavePlan;
  if (nowMs - soakStartedAtMs < soakMs) return [];
  return ports.store.rollouts.silent({
    id: rollout.id,
    wave: rollout.state.waveIndex,
    digest: rollout.plan.manifestDigest,
    sinceMs: Math.min(soakStartedAtMs + soakMs / 2, nowMs - SILENCE_MIN_MS),
  });
}

/** How long a device that was left out stays so before it is asked about again: its agent or its sensors may change. */
const INCOMPATIBLE_AGAIN_MS = 60_000;

async function admitLateJoiners(ports: SchedulerPorts, rollout: RolloutRecord): Promise<void> {
  const matching = await ports.matching(rollout.plan.selector, rollout.plan.sites);
  if (!matching.ok) return ports.report(`rollout ${rollout.id}`, matching.error);
  const { id, plan } = rollout;
  const nowMs = ports.now();
  const leftOut = await ports.store.rollouts.incompatible({ id });
  const known = new Set([
    ...(await ports.store.rollouts.executions({ id })).map((view) => view.device),
    ...leftOut.filter(({ atMs }) => nowMs - atMs < INCOMPATIBLE_AGAIN_MS).map(({ device }) => device),
  ]);
  const devices = matching.value.filter((device) => !known.has(device));
  if (devices.length === 0) return;
  const { model, manifestDigest } = plan;
  const incompatible = await ports.incompatible({ model, manifestDigest, devices });
  const out = new Set(incompatible.map(({ device }) => device));
  const executions = devices
    .filter((device) => !out.has(device))
    .map((device) => ({ device, wave: waveOfLateJoiner(id, device, plan.waves) }));
  await ports.store.rollouts.addExecutions({ id, executions, incompatible, nowMs });
}

async function runEffects(ports: SchedulerPorts, rollout: RolloutRecord, effects: readonly Effect[]): Promise<void> {
  for (const effect of effects) {
    if (effect.kind === "recordGates") {
      const { wave, decisions, sinceMs } = effect;
      await ports.store.rollouts.recordGates({ id: rollout.id, wave, decisions, sinceMs, nowMs: ports.now() });
    } else if (effect.kind === "deploy") {
      await deployQueued(ports, rollout, effect.wave);
    } else if (effect.kind === "requeue") {
      await requeueFailed(ports, rollout, effect.wave);
    } else {
      await revertTouched(ports, rollout);
    }
  }
}

async function requeueFailed(ports: SchedulerPorts, rollout: RolloutRecord, wave: number): Promise<void> {
  const views = await ports.store.rollouts.executions({ id: rollout.id });
  const changes = views
    .filter((view) => view.wave === wave && ["failed", "timedOut", "inconclusive", "rejected"].includes(view.phase))
    .map((view) => ({ device: view.device, phase: "queued" as const, errorCode: null }));
  if (changes.length > 0) await ports.store.rollouts.saveExecutions({ id: rollout.id, changes, nowMs: ports.now() });
}

/** Devices asked in one tick: more would hold the tick up for long, the next one goes on. */
const ASSIGNMENTS_PER_TICK_MAX = 10_000;
/** Devices asked side by side: what is stored of them is one commit. */
const ASSIGNED_AT_ONCE = 250;

/** Asks the queued devices of all waves up to this one, no more in a minute than the plan allows. */
async function deployQueued(ports: SchedulerPorts, rollout: RolloutRecord, wave: number): Promise<void> {
  const nowMs = ports.now();
  const views = await ports.store.rollouts.executions({ id: rollout.id });
  const lately = views.filter((view) => view.assignedAtMs !== null && nowMs - view.assignedAtMs < 60_000).length;
  const room = Math.min(ASSIGNMENTS_PER_TICK_MAX, rollout.plan.maximumPerMinute - lately);
  const queued = views.filter((view) => view.phase === "queued" && view.wave <= wave).slice(0, Math.max(0, room));
  await assignAll(queued, (view) =>
    assignOne(ports, rollout, view, rollout.plan.version, "inProgress", view.reported?.active ?? null),
  );
}

async function revertTouched(ports: SchedulerPorts, rollout: RolloutRecord): Promise<void> {
  const views = await ports.store.rollouts.executions({ id: rollout.id });
  const touched = views.filter(
    (view) => view.assignedAtMs !== null && !["reverting", "reverted", "superseded"].includes(view.phase),
  );
  await assignAll(touched.slice(0, ASSIGNMENTS_PER_TICK_MAX), (view) =>
    assignOne(ports, rollout, view, view.previous?.version ?? null, "reverting", view.previous),
  );
}

/** Lots of devices that are on their way: while what is stored of one is committed, the documents of another are signed. */
const LOTS_AT_ONCE = 2;

async function assignAll(views: readonly ExecutionView[], assign: (view: ExecutionView) => Promise<void>) {
  let at = 0;
  const lane = async () => {
    while (at < views.length) {
      const lot = views.slice(at, at + ASSIGNED_AT_ONCE);
      at += lot.length;
      await Promise.all(lot.map(assign));
    }
  };
  await Promise.all(Array.from({ length: LOTS_AT_ONCE }, lane));
}

async function assignOne(
  ports: SchedulerPorts,
  rollout: RolloutRecord,
  view: ExecutionView,
  version: number | null,
  phase: "inProgress" | "reverting",
  previous: Execution["previous"],
): Promise<void> {
  const answer = await ports.assign({
    device: view.device,
    model: rollout.plan.model,
    version,
    rollout: rollout.id,
    confirm: rollout.plan.confirm,
  });
  if (!answer.ok) return ports.report(`rollout ${rollout.id}, device ${view.device}`, answer.error);
  await ports.store.rollouts.assigned({
    id: rollout.id,
    device: view.device,
    phase,
    directorVersion: answer.value.directorVersion,
    previous,
    nowMs: ports.now(),
  });
}
