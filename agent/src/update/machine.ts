import { type ErrorCode, type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { DeploymentEvidence, ShadowFindings, UpdatePhase } from "@bellwether/protocol/messages/device.ts";
import type { DirectedModel } from "@bellwether/protocol/trust/director.ts";

/** A model package on this device's disk that was verified. */
export interface Slot {
  readonly version: number;
  readonly digest: string;
}

/** What the director wants, with the version of the document that said so. */
export interface Target extends DirectedModel {
  readonly directorVersion: number;
}

export type Outcome = "succeeded" | "failed" | "rejected" | "rolledBack";

/** Where one model of the device stands. Kept on disk before any effect of a step runs. */
export interface ModelState {
  readonly model: string;
  readonly phase: UpdatePhase;
  /** What serves; while `confirming` not yet confirmed. */
  readonly active?: Slot;
  /** The verified one before it, to go back to without the network. */
  readonly previous?: Slot;
  readonly target?: Target;
  /** A wish that came while the machine could not turn; taken up when it can. */
  readonly pending?: Target;
  readonly outcome?: Outcome;
  readonly error?: Problem & { readonly atMs: number };
  readonly progress?: number;
  readonly evidence?: DeploymentEvidence;
  /** What the target's self-test found. */
  readonly selfTest?: SelfTestFindings;
  /** What the target did as a shadow, so far or in the end. */
  readonly shadow?: ShadowFindings;
  /** Evidence of digests that succeeded here: a revert to one of them needs no second proof. */
  readonly proofs: Readonly<Record<string, DeploymentEvidence>>;
  /** Digests that failed here, with the wish that asked for them: the same wish is not tried again. */
  readonly quarantined: Readonly<Record<string, number>>;
  readonly attempts: number;
  readonly confirmingSinceMs?: number;
  /** When the target began to run as a shadow in this life of the agent. */
  readonly shadowingSinceMs?: number;
  /** Restarts while the target ran, as a shadow or on trial; a model that takes the agent down must not be tried for ever. */
  readonly interruptions: number;
}

/** What a self-test that was passed found. */
export interface SelfTestFindings {
  readonly goldenMaxError: number;
}

/** Live figures of the active model since it was activated. */
export interface LiveFigures {
  readonly digest: string;
  readonly inferences: number;
  readonly errors: number;
  readonly medianLatencyUs: number;
  readonly p99LatencyUs: number;
  readonly firstAtMs?: number;
  readonly lastAtMs?: number;
}

/** What a candidate did as a shadow since its session was opened. */
export interface ShadowFigures extends Omit<ShadowFindings, "startedAtMs" | "endedAtMs"> {
  readonly digest: string;
  readonly medianLatencyUs: number;
}

export type UpdateEvent =
  | { readonly kind: "desired"; readonly target: Target }
  | { readonly kind: "progress"; readonly digest: string; readonly fraction: number }
  | { readonly kind: "downloaded"; readonly digest: string }
  | { readonly kind: "verified"; readonly digest: string }
  | { readonly kind: "selfTested"; readonly digest: string; readonly findings: SelfTestFindings }
  | { readonly kind: "shadowStarted"; readonly digest: string }
  | { readonly kind: "shadow"; readonly figures: ShadowFigures; readonly limitP99Us: number }
  | { readonly kind: "activated"; readonly digest: string }
  /**
   * A step failed. `again`: for want of the network or of room, so it is worth another try. `rejected`: it does not fit
   * here. `reached`: the fraction a download came to.
   */
  | {
      readonly kind: "stepFailed";
      readonly digest: string;
      readonly problem: Problem;
      readonly again?: boolean;
      readonly rejected?: boolean;
      readonly reached?: number;
    }
  | { readonly kind: "live"; readonly figures: LiveFigures; readonly limitP99Us: number }
  /** The active model, or the one beside it, made the agent hang or die, or its slot is unreadable. */
  | { readonly kind: "activeBroken"; readonly digest: string; readonly problem: Problem }
  | { readonly kind: "rolledBack" }
  /** The wall clock was set: what has lasted until now has not become longer or shorter by it. */
  | { readonly kind: "clockJumped"; readonly byMs: number }
  | { readonly kind: "resumed" };

export type UpdateEffect =
  | { readonly kind: "download"; readonly target: Target; readonly delayMs: number }
  | { readonly kind: "verify"; readonly target: Target }
  | { readonly kind: "selfTest"; readonly target: Target }
  /**
   * Serve what `runningOf` says now. Answered by `activated` or `shadowStarted`, or else `stepFailed`; by `rolledBack`
   * on the way back; by nothing where only a shadow ends.
   */
  | { readonly kind: "serve"; readonly answer: "activated" | "shadowStarted" | "rolledBack" | "nothing" }
  | { readonly kind: "cleanUp" };

type StepFailed = Extract<UpdateEvent, { kind: "stepFailed" }>;
type SelfTested = Extract<UpdateEvent, { kind: "selfTested" }>;

export interface UpdateStep {
  readonly state: ModelState;
  readonly effects: readonly UpdateEffect[];
}

const RETRY_BASE_MS = 1_000;
const RETRY_MAX_MS = 300_000;
const INTERRUPTIONS_MAX = 3;
const KEPT_MAX = 8;

/** A model nobody has asked for yet. */
export function idleModel(model: string): ModelState {
  return { model, phase: "idle", proofs: {}, quarantined: {}, attempts: 0, interruptions: 0 };
}

/** What runs of one model: beside what serves either what it replaced, or what may replace it. */
export interface Running {
  readonly slot: Slot;
  readonly predecessor?: Slot;
  readonly shadow?: Slot;
}

/** What should serve in a state: the active slot, and its predecessor beside it while it is being confirmed. */
export function runningOf(state: ModelState): Running | undefined {
  if (state.phase === "rollingBack") return state.previous && { slot: state.previous };
  if (state.phase === "shadowing" && state.active && state.target) {
    return { slot: state.active, shadow: { version: state.target.version, digest: state.target.manifestDigest } };
  }
  if (state.phase === "activating" && state.target) {
    const slot = { version: state.target.version, digest: state.target.manifestDigest };
    return state.active ? { slot, predecessor: state.active } : { slot };
  }
  if (!state.active) return undefined;
  if (state.phase === "confirming" && state.previous) return { slot: state.active, predecessor: state.previous };
  return { slot: state.active };
}

/** What may serve when the agent starts: verified before, whatever the update was doing when the power failed. */
export function runningAtStart(state: ModelState): Running | undefined {
  const alone = state.phase === "activating" || state.phase === "shadowing";
  return alone ? state.active && { slot: state.active } : runningOf(state);
}

type Handlers = {
  readonly [Kind in UpdateEvent["kind"]]?: (
    state: ModelState,
    event: Extract<UpdateEvent, { kind: Kind }>,
    nowMs: number,
  ) => UpdateStep;
};

/** Every transition. An event that has no entry in a phase belongs to an earlier life of the update and changes nothing. */
const TABLE: Readonly<Record<UpdatePhase, Handlers>> = {
  idle: { desired: begin, activeBroken: fallBack, resumed: stay },
  failed: { desired: begin, activeBroken: fallBack, resumed: stay },
  downloading: {
    desired: beginInstead,
    progress: (state, event) => (isTarget(state, event.digest) ? getOn(state, event.fraction) : to(state)),
    downloaded: forTarget((state, target) =>
      to({ ...state, phase: "verifying", progress: 1 }, { kind: "verify", target }),
    ),
    stepFailed: forTarget<StepFailed>(retryOrFail),
    activeBroken: fallBack,
    resumed: (state) =>
      state.target ? to({ ...state, attempts: 0 }, { kind: "download", target: state.target, delayMs: 0 }) : to(state),
  },
  verifying: {
    desired: beginInstead,
    verified: forTarget((state, target) => to({ ...state, phase: "selfTesting" }, { kind: "selfTest", target })),
    stepFailed: forTarget<StepFailed>(retryOrFail),
    activeBroken: fallBack,
    resumed: (state) => (state.target ? to(state, { kind: "verify", target: state.target }) : to(state)),
  },
  selfTesting: {
    desired: beginInstead,
    selfTested: forTarget<SelfTested>((state, target, { findings }) => {
      const tested = { ...state, selfTest: findings };
      return needsShadow(tested, target)
        ? to({ ...tested, phase: "shadowing", interruptions: 0 }, { kind: "serve", answer: "shadowStarted" })
        : activate(tested);
    }),
    stepFailed: forTarget<StepFailed>(retryOrFail),
    activeBroken: fallBack,
    resumed: (state) => (state.target ? to(state, { kind: "selfTest", target: state.target }) : to(state)),
  },
  shadowing: {
    desired: (state, event, nowMs) => endShadow(beginInstead(state, event, nowMs)),
    shadowStarted: forTarget((state, _target, { atMs }) => to({ ...state, shadowingSinceMs: atMs })),
    shadow: judgeShadow,
    clockJumped: (state, { byMs }) =>
      to(state.shadowingSinceMs === undefined ? state : { ...state, shadowingSinceMs: state.shadowingSinceMs + byMs }),
    stepFailed: forTarget<StepFailed>((state, target, event) => endShadow(retryOrFail(state, target, event))),
    activeBroken: (state, event, nowMs) =>
      state.target && isTarget(state, event.digest)
        ? endShadow(retryOrFail(state, state.target, { ...event, kind: "stepFailed", atMs: nowMs }))
        : fallBack(state, event, nowMs),
    resumed: (state, _event, nowMs) => {
      const { shadowingSinceMs: _since, shadow: _before, ...rest } = state;
      return state.interruptions >= INTERRUPTIONS_MAX
        ? failShadow(state, problem("SHADOW_INTERRUPTED", { times: state.interruptions }), nowMs)
        : to({ ...rest, interruptions: state.interruptions + 1 }, { kind: "serve", answer: "shadowStarted" });
    },
  },
  activating: {
    desired: remember,
    activated: forTarget(confirmFrom),
    stepFailed: forTarget<StepFailed>(retryOrFail),
    resumed: (state) => to(state, { kind: "serve", answer: "activated" }),
  },
  confirming: {
    desired: (state, { target }, nowMs) =>
      sameWish(state.target, target)
        ? adopt(state, target)
        : rollBack({ ...state, pending: target }, "UPDATE_SUPERSEDED", {}, nowMs),
    live: confirm,
    clockJumped: (state, { byMs }) =>
      to(
        state.confirmingSinceMs === undefined ? state : { ...state, confirmingSinceMs: state.confirmingSinceMs + byMs },
      ),
    activeBroken: (state, event, nowMs) =>
      isDiskFault(event.problem) ? fallBack(state, event, nowMs) : rollBackWith(state, event.problem, nowMs),
    resumed: (state, _event, nowMs) =>
      state.interruptions >= INTERRUPTIONS_MAX
        ? rollBack(state, "CONFIRM_INTERRUPTED", { times: state.interruptions }, nowMs)
        : to({ ...state, interruptions: state.interruptions + 1, confirmingSinceMs: nowMs }),
  },
  rollingBack: {
    desired: remember,
    rolledBack: (state, _event, nowMs) => {
      const { active: _left, previous, pending, confirmingSinceMs: _since, ...rest } = state;
      const back: ModelState = {
        ...rest,
        ...(previous ? { active: previous } : {}),
        phase: "failed",
        outcome: "rolledBack",
      };
      return pending
        ? withCleanUp(begin(back, { kind: "desired", target: pending }, nowMs))
        : to(back, { kind: "cleanUp" });
    },
    resumed: (state) => to(state, { kind: "serve", answer: "rolledBack" }),
  },
};

/** One step of one model's update. Pure: the runner keeps the state, then runs the effects. */
export function step(state: ModelState, event: UpdateEvent, nowMs: number): UpdateStep {
  // The compiler cannot relate a kind to its handler through a variable; the table's own type has checked each entry.
  const handler = TABLE[state.phase][event.kind] as
    | ((s: ModelState, e: UpdateEvent, n: number) => UpdateStep)
    | undefined;
  return handler ? handler(state, event, nowMs) : to(state);
}

function to(state: ModelState, ...effects: UpdateEffect[]): UpdateStep {
  return { state, effects };
}

function stay(state: ModelState): UpdateStep {
  return to(state);
}

function isTarget(state: ModelState, digest: string): boolean {
  return state.target?.manifestDigest === digest;
}

/** Handles an event of the present target; one of a target that was given up is history. */
function forTarget<E extends { readonly digest: string }>(
  run: (state: ModelState, target: Target, event: E & { readonly atMs: number }) => UpdateStep,
): (state: ModelState, event: E, nowMs: number) => UpdateStep {
  return (state, event, nowMs) =>
    state.target && isTarget(state, event.digest) ? run(state, state.target, { ...event, atMs: nowMs }) : to(state);
}

function sameWish(a: Target | undefined, b: Target): boolean {
  return a?.manifestDigest === b.manifestDigest && wishOf(a) === wishOf(b);
}

/** The document that first asked for it: a renewed document is the same wish, a new assignment is a new one. */
function wishOf(target: Target): number {
  return target.assignedIn ?? target.directorVersion;
}

function adopt(state: ModelState, target: Target): UpdateStep {
  return to({ ...state, target });
}

function remember(state: ModelState, { target }: { target: Target }): UpdateStep {
  return sameWish(state.target, target) ? adopt(state, target) : to({ ...state, pending: target });
}

function beginInstead(state: ModelState, event: { kind: "desired"; target: Target }, nowMs: number): UpdateStep {
  return sameWish(state.target, event.target) ? adopt(state, event.target) : begin(state, event, nowMs);
}

function begin(state: ModelState, { target }: { kind: "desired"; target: Target }, _nowMs: number): UpdateStep {
  const {
    pending: _pending,
    error: _error,
    outcome: _outcome,
    progress: _progress,
    evidence: _evidence,
    selfTest: _selfTest,
    shadow: _shadow,
    shadowingSinceMs: _shadowing,
    ...rest
  } = state;
  const digest = target.manifestDigest;
  if (state.active?.digest === digest) {
    const evidence = state.proofs[digest];
    return to({ ...rest, phase: "idle", target, outcome: "succeeded", ...(evidence ? { evidence } : {}) });
  }
  const failedWish = state.quarantined[digest];
  if (failedWish !== undefined && failedWish >= wishOf(target)) {
    const given =
      state.phase === "idle" || state.phase === "failed"
        ? {}
        : { phase: "failed" as const, outcome: "failed" as const };
    return to({ ...state, ...given, target });
  }
  return to(
    { ...rest, phase: "downloading", target, attempts: 0, interruptions: 0 },
    { kind: "download", target, delayMs: 0 },
  );
}

function getOn(state: ModelState, fraction: number): UpdateStep {
  return to(fraction > (state.progress ?? 0) ? { ...state, progress: fraction } : state);
}

/**
 * A line that is down or cut every minute, and a full disk, pass: nothing but the director ends a wish for their sake.
 * The tries become rarer as long as none brings the download further.
 */
function retryOrFail(state: ModelState, target: Target, event: StepFailed & { readonly atMs: number }): UpdateStep {
  if (event.rejected) return fail({ ...state, outcome: "rejected" }, event.problem, event.atMs);
  // What the disk did to the files says nothing of the model.
  if (!event.again && !isDiskFault(event.problem)) return fail(state, event.problem, event.atMs);
  const { reached = 0 } = event;
  const { progress = 0 } = state;
  const attempts = reached > progress ? 1 : state.attempts + 1;
  const delayMs = Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** (attempts - 1));
  const error = { ...event.problem, atMs: event.atMs };
  return to(
    { ...state, phase: "downloading", attempts, error, progress: Math.max(reached, progress) },
    { kind: "download", target, delayMs },
  );
}

/** The target is given up before it ever served; what served goes on. */
function fail(state: ModelState, why: Problem, atMs: number): UpdateStep {
  const outcome = state.outcome === "rejected" ? "rejected" : "failed";
  const next = quarantine({ ...state, phase: "failed", outcome, error: { ...why, atMs } });
  const { pending, ...rest } = next;
  return pending ? withCleanUp(begin(rest, { kind: "desired", target: pending }, atMs)) : to(next, { kind: "cleanUp" });
}

function withCleanUp({ state, effects }: UpdateStep): UpdateStep {
  return { state, effects: [...effects, { kind: "cleanUp" }] };
}

function activate(state: ModelState): UpdateStep {
  return to({ ...state, phase: "activating" }, { kind: "serve", answer: "activated" });
}

/** Without a model to stand beside there is no shadow, and what proved itself here needs none. */
function needsShadow({ active, proofs }: ModelState, { confirm, manifestDigest }: Target): boolean {
  return confirm.shadow !== undefined && active !== undefined && proofs[manifestDigest] === undefined;
}

/** The candidate leaves; what serves goes on serving, so that nothing but its own record changes. */
function endShadow({ state, effects }: UpdateStep): UpdateStep {
  if (state.phase === "shadowing") return { state, effects };
  const { shadowingSinceMs: _since, ...rest } = state;
  const outcome = rest.phase === "failed" ? { outcome: "rolledBack" as const } : {};
  return { state: { ...rest, ...outcome }, effects: [{ kind: "serve", answer: "nothing" }, ...effects] };
}

function failShadow(state: ModelState, why: Problem, atMs: number): UpdateStep {
  return endShadow(fail(state, why, atMs));
}

/**
 * Judges a candidate by what it did beside the model that serves. Errors or latency beyond what is allowed end it early
 * (latency as in `confirm`); it may serve after enough inferences and the whole time; without them it never does.
 */
function judgeShadow(state: ModelState, event: Extract<UpdateEvent, { kind: "shadow" }>, nowMs: number): UpdateStep {
  const { target, shadowingSinceMs } = state;
  const { digest, medianLatencyUs, ...figures } = event.figures;
  if (!target || !isTarget(state, digest) || shadowingSinceMs === undefined) return to(state);
  const { confirm } = target;
  const { inferences: needed, durationMs } = confirm.shadow ?? { inferences: 0, durationMs: 0 };
  const shadow: ShadowFindings = { ...figures, startedAtMs: shadowingSinceMs, endedAtMs: nowMs };
  const judged: ModelState = { ...state, shadow };
  const { inferences, errors, p99LatencyUs: p99Us } = figures;
  const { limitP99Us: limitUs } = event;
  const total = inferences + errors;
  if (tooManyErrors(figures, needed, confirm.errorFraction)) {
    return failShadow(judged, problem("SHADOW_ERRORS", { errors, total, allowed: confirm.errorFraction }), nowMs);
  }
  const ranMs = nowMs - shadowingSinceMs;
  const deadlineMs = durationMs + confirm.deadlineMs;
  const enough = inferences >= needed;
  const slow = enough && p99Us > limitUs;
  if (slow && (medianLatencyUs > limitUs || ranMs >= deadlineMs)) {
    return failShadow(judged, problem("SHADOW_TOO_SLOW", { p99Us, limitUs }), nowMs);
  }
  if (enough && !slow && ranMs >= durationMs) {
    const { shadowingSinceMs: _since, ...rest } = judged;
    return activate(rest);
  }
  if (ranMs < deadlineMs) return to(judged);
  const code: ErrorCode = total === 0 ? "NO_LIVE_INFERENCES" : "SHADOW_DEADLINE";
  return failShadow(judged, problem(code, { inferences, needed, deadlineMs }), nowMs);
}

/** Judged once enough ran, or as soon as there are more errors than enough may have. */
function tooManyErrors(
  { inferences, errors }: Pick<LiveFigures, "inferences" | "errors">,
  needed: number,
  errorFraction: number,
): boolean {
  const total = inferences + errors;
  return (total >= needed || errors > errorFraction * needed) && errors > errorFraction * total;
}

function confirmFrom(state: ModelState, target: Target, event: { readonly atMs: number }): UpdateStep {
  const { active, previous: _older, ...rest } = state;
  const next: ModelState = {
    ...rest,
    phase: "confirming",
    active: { version: target.version, digest: target.manifestDigest },
    ...(active ? { previous: active } : {}),
    confirmingSinceMs: event.atMs,
    interruptions: 0,
  };
  return state.pending ? rollBack(next, "UPDATE_SUPERSEDED", {}, event.atMs) : to(next);
}

/**
 * Judges a new model on live inferences. Errors beyond what is allowed end it early, and so does latency where half of the
 * runs are over the limit. Where only the tail is, the device may have been busy for a moment, which says nothing of the
 * model: there is no success until enough runs inside the limit outweigh it, and at the deadline it counts. Success needs
 * enough inferences and the whole soak; without any inference it never comes, however long it waits.
 */
function confirm(state: ModelState, event: Extract<UpdateEvent, { kind: "live" }>, nowMs: number): UpdateStep {
  const { figures, limitP99Us } = event;
  const { target, confirmingSinceMs = nowMs } = state;
  if (!target || figures.digest !== target.manifestDigest) return to(state);
  const { inferences: needed, soakMs, deadlineMs, errorFraction } = target.confirm;
  const soakedMs = nowMs - confirmingSinceMs;
  const total = figures.inferences + figures.errors;
  const { firstAtMs, lastAtMs } = figures;
  const evidence: DeploymentEvidence = {
    goldenMatched: true,
    ...state.selfTest,
    inferences: figures.inferences,
    errors: figures.errors,
    p99LatencyUs: figures.p99LatencyUs,
    ...(firstAtMs === undefined ? {} : { firstInferenceAtMs: firstAtMs }),
    ...(lastAtMs === undefined ? {} : { lastInferenceAtMs: lastAtMs }),
    soakStartedAtMs: confirmingSinceMs,
    soakEndedAtMs: nowMs,
    soakedMs,
  };
  const judged: ModelState = { ...state, evidence, progress: Math.min(1, figures.inferences / needed) };
  if (tooManyErrors(figures, needed, errorFraction)) {
    return rollBack(judged, "INFERENCE_ERRORS", { errors: figures.errors, total, allowed: errorFraction }, nowMs);
  }
  const enough = figures.inferences >= needed;
  const slow = enough && figures.p99LatencyUs > limitP99Us;
  if (slow && (figures.medianLatencyUs > limitP99Us || soakedMs >= deadlineMs)) {
    return rollBack(judged, "LATENCY_EXCEEDED", { p99Us: figures.p99LatencyUs, limitUs: limitP99Us }, nowMs);
  }
  if (enough && !slow && soakedMs >= soakMs) return succeed(judged, evidence);
  if (soakedMs < deadlineMs) return to(judged);
  const code: ErrorCode = figures.inferences === 0 ? "NO_LIVE_INFERENCES" : "CONFIRM_DEADLINE";
  return rollBack(judged, code, { inferences: figures.inferences, needed, deadlineMs }, nowMs);
}

function succeed(state: ModelState, evidence: DeploymentEvidence): UpdateStep {
  const { confirmingSinceMs: _since, error: _error, active, ...rest } = state;
  const proofs = active ? keepNewest({ ...state.proofs, [active.digest]: evidence }) : state.proofs;
  return to(
    { ...rest, ...(active ? { active } : {}), proofs, phase: "idle", outcome: "succeeded", evidence },
    { kind: "serve", answer: "activated" },
    { kind: "cleanUp" },
  );
}

function rollBack(state: ModelState, code: ErrorCode, detail: Record<string, unknown>, nowMs: number): UpdateStep {
  return rollBackWith(state, problem(code, detail), nowMs);
}

function rollBackWith(state: ModelState, why: Problem, nowMs: number): UpdateStep {
  const superseded = why.code === "UPDATE_SUPERSEDED";
  const next: ModelState = { ...state, phase: "rollingBack", error: { ...why, atMs: nowMs } };
  return to(superseded ? next : quarantine(next), { kind: "serve", answer: "rolledBack" });
}

/**
 * A model broke after it was activated: back to the verified one before it, and the broken digest is not taken up again.
 * What the disk did to its files says nothing of the model, though: a fresh copy is fetched, where it is still wanted.
 */
function fallBack(state: ModelState, event: Extract<UpdateEvent, { kind: "activeBroken" }>, nowMs: number): UpdateStep {
  if (state.active?.digest !== event.digest) return to(state);
  const { outcome: _noLonger, ...rest } = state;
  const { target } = state;
  const underWay = state.phase !== "idle" && state.phase !== "failed";
  const rotten = isDiskFault(event.problem);
  const wanted = target && (underWay || (rotten && isTarget(state, event.digest))) ? target : undefined;
  const next: ModelState = {
    ...rest,
    ...(wanted ? { pending: wanted } : {}),
    quarantined: rotten ? state.quarantined : { ...state.quarantined, [event.digest]: target ? wishOf(target) : 0 },
    phase: "rollingBack",
    error: { ...event.problem, atMs: nowMs },
  };
  return to(next, { kind: "serve", answer: "rolledBack" });
}

function isDiskFault({ code }: Problem): boolean {
  return code === "SLOT_CHANGED" || code === "SLOT_UNREADABLE";
}

function quarantine(state: ModelState): ModelState {
  if (!state.target) return state;
  const quarantined = keepNewest({ ...state.quarantined, [state.target.manifestDigest]: wishOf(state.target) });
  return { ...state, quarantined };
}

function keepNewest<T>(entries: Readonly<Record<string, T>>): Readonly<Record<string, T>> {
  return Object.fromEntries(Object.entries(entries).slice(-KEPT_MAX));
}
