import { join } from "node:path";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { ReportedMessage, ReportedModel } from "@bellwether/protocol/messages/device.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { machineTime } from "@bellwether/protocol/process/time.io.ts";
import type { Time } from "@bellwether/protocol/process/time.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import { claimsOf } from "@bellwether/protocol/trust/director.ts";
import { askMetadata, askServerTime, type IntakePorts, takeDocument } from "./director-intake.io.ts";
import { downloadBlob } from "./download.io.ts";
import { type InTurn, inTurn } from "./in-turn.ts";
import {
  downloadPackage,
  type InstallPorts,
  type InstallResult,
  isInstalled,
  readManifest,
  verifyPackage,
} from "./install.io.ts";
import {
  idleModel,
  type LiveFigures,
  type ModelState,
  type Running,
  runningAtStart,
  runningOf,
  type SelfTestFindings,
  type ShadowFigures,
  step,
  type Target,
  type UpdateEffect,
  type UpdateEvent,
} from "./machine.ts";
import { RESUME } from "./resume.ts";
import { type SelfTestLimits, selfTest } from "./selftest.io.ts";
import { openSlots } from "./slots.io.ts";
import { bundledDocument, bundleSource, type UpdateSource } from "./source.io.ts";

/** A model to serve, by the folders of its verified packages. */
export interface Serving {
  readonly model: string;
  readonly slotDir: string;
  readonly predecessorSlotDir?: string;
  readonly shadowSlotDir?: string;
}

/** Why a model could not be opened, if it could not; what served before goes on. */
export interface ServeOutcome {
  readonly problem?: Problem;
  /** The candidate beside it did not open. */
  readonly shadowProblem?: Problem;
}

/** What updates need of the rest of the agent. */
export interface UpdaterPorts extends UpdateSource {
  readonly stateDir: string;
  readonly device: string;
  readonly rootMetadata: string;
  /** The device's own labels: what a retraining role's cohort is judged by. */
  labels(): Readonly<Record<string, string>>;
  compatible(manifest: Manifest): Result<void>;
  /** Serves this model so from the next row on, or no more. Other models go on as they are, however long it takes. */
  serve(model: string, serving: Serving | undefined): Promise<ServeOutcome>;
  /** Live figures of the models that serve now. */
  figures(): Promise<readonly (LiveFigures & { readonly model: string; readonly shadow?: ShadowFigures })[]>;
  report(reported: Pick<ReportedMessage, "directorVersion" | "models" | "refusals">): void;
  /** What came is not what was released, or not for this device: whoever looks after security hears of it. */
  onForged(problem: Problem, model?: string): void;
  now(): number;
  /** Whether something that knows the time set the clock. */
  clockSynced(): boolean;
  log(level: "info" | "warn" | "error", message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** What an updater does to the world: `machineOf` on a real device. */
export interface UpdaterMachine
  extends Pick<IntakePorts, "askMetadata" | "askTime">,
    Pick<InstallPorts, "download" | "slots"> {
  readonly time: Pick<Time, "after" | "monoMs">;
  /** Loads a slot's model and runs its golden vectors, where a hang or a crash does no harm. */
  selfTest(slotDir: string, limits: SelfTestLimits, signal: AbortSignal): Promise<Result<SelfTestFindings>>;
}

/** The device itself: its disk, its network, and threads and children for what must not harm the agent. */
export function machineOf(stateDir: string, spawner: RoleSpawner<"metadata" | "selftest">): UpdaterMachine {
  return {
    slots: openSlots(stateDir),
    download: downloadBlob,
    time: machineTime,
    askMetadata: (request) => askMetadata(spawner, request),
    askTime: askServerTime,
    selfTest: (slotDir, limits, signal) => selfTest(spawner, slotDir, limits, signal),
  };
}

/** Keeps the device's models as the director wants them, and a verified one serving whatever happens. */
export interface Updater {
  /** What may serve now, before any network: verified packages only. */
  servingAtStart(): Serving[];
  /** Takes up what was under way; call once the pipeline runs. */
  start(): void;
  onDesired(bytes: Uint8Array): void;
  /**
   * Somebody brought a bundle: its document for this device is judged as one from the server is, and what it wants is
   * taken from there. Answers when the document was taken or refused.
   */
  onBundle(folder: string): Promise<Result<BundleTaken>>;
  /** The watchdog found that a model's session hung or broke. */
  onBroken(model: string, digest: string, problem: Problem): void;
  states(): readonly ModelState[];
  stop(): Promise<void>;
}

/** A bundle's document that was taken. */
export interface BundleTaken {
  readonly directorVersion: number;
  readonly models: readonly string[];
}

type Refusal = ReportedMessage["refusals"][number];

const LIVE_EVERY_MS = 500;
const INTAKE_RETRY_MS = [1_000, 2_000, 5_000, 15_000, 60_000];
const REFUSALS_MAX = 16;
const DOCUMENT_BYTES_MAX = 131_072;
/** A minute of a processor is far more than any model that serves needs; a busy machine may take ten to give it. */
const SELF_TEST_CPU_MS = 60_000;
const SELF_TEST_WALL_MS = 600_000;
/** A model that starves this often in a row is given up: it may be the one that waits for something. */
const SELF_TESTS_STARVED_MAX = 3;
/** A wall clock that departs this far from the monotonic one was set. */
const CLOCK_JUMP_MS = 1_000;
/** How long a disk that would not keep a step is left alone. */
const DISK_RETRY_MS = 2_000;
/** A step of an update failed because what came is not what was released. */
const FORGED: ReadonlySet<string> = new Set(["DIGEST_MISMATCH", "DOWNLOAD_TOO_LONG", "NOT_IN_TARGETS"]);

/** An updater over a state directory. */
export function createUpdater(ports: UpdaterPorts, machine: UpdaterMachine): Updater {
  const { slots, time } = machine;
  const { after } = time;
  let kept = slots.load();
  const states = new Map(kept.models.map((model) => [model.model, model]));
  const underWay = new Map<string, AbortController>();
  const running = new Set<Promise<void>>();
  let refusals: ReportedMessage["refusals"] = [];
  let desired: Uint8Array | undefined;
  let intake: Promise<void> | undefined;
  let retries = 0;
  let stopped = false;
  let wallAheadMs = ports.now() - time.monoMs();
  let cancelLook: () => void = () => undefined;
  let cancelRetry: () => void = () => undefined;
  const diskRetries = new Set<() => void>();
  const served = new Map<string, InTurn>();
  /** Each takes a child, its memory and a processor of a device that serves meanwhile: one at a time, whatever their number. */
  const selfTests = inTurn();

  function save(): void {
    kept = { ...kept, models: [...states.values()] };
    slots.save(kept);
  }

  function report(): void {
    ports.report({
      directorVersion: kept.directorVersion,
      models: [...states.values()].map(reportedOf),
      refusals,
    });
  }

  function refuse(problem: Problem, of: Pick<Refusal, "directorVersion" | "model"> = {}): void {
    const { code, message } = problem;
    ports.log("warn", "refused", { code, reason: message });
    const refusal = { code, message: message.slice(0, 1_000), atMs: ports.now(), ...of };
    refusals = [...refusals, refusal].slice(-REFUSALS_MAX);
    report();
  }

  /** The disk refused: told once, until something else is refused. */
  function diskRefused(cause: unknown): Problem {
    const told = problem("UPDATE_DISK_FAILED", { reason: (cause as NodeJS.ErrnoException).code ?? String(cause) });
    if (refusals.at(-1)?.code !== told.code) refuse(told);
    return told;
  }

  /** Whether the disk keeps the present states; no effect of a step runs before it does. */
  function isKept(): boolean {
    try {
      save();
      return true;
    } catch (cause) {
      diskRefused(cause);
      return false;
    }
  }

  /** What the disk would not keep is tried again by itself; a wish by the document that brought it. */
  function handleLater(model: string, event: UpdateEvent): void {
    if (event.kind === "desired" || event.kind === "live" || event.kind === "shadow") return;
    const cancel = after(DISK_RETRY_MS, () => {
      diskRetries.delete(cancel);
      handle(model, event);
    });
    diskRetries.add(cancel);
  }

  /** The wall clock now. A clock that was set meanwhile makes no soak longer or shorter: every model is told. */
  function noteClock(): number {
    const nowMs = ports.now();
    // Whole milliseconds: what is moved by it is told to the server, which takes no fractions.
    const byMs = Math.round(nowMs - time.monoMs() - wallAheadMs);
    if (Math.abs(byMs) < CLOCK_JUMP_MS) return nowMs;
    wallAheadMs += byMs;
    for (const [model, state] of states) states.set(model, step(state, { kind: "clockJumped", byMs }, nowMs).state);
    return nowMs;
  }

  /** False where the disk would not keep the step: then nothing of it was done. */
  function handle(model: string, event: UpdateEvent): boolean {
    if (stopped) return true;
    const nowMs = noteClock();
    const before = states.get(model) ?? idleModel(model);
    const { state, effects } = step(before, event, nowMs);
    states.set(model, state);
    // A change of phase is kept before its effects run; figures and progress are not worth an fsync each.
    const quiet = event.kind === "progress" || event.kind === "live" || event.kind === "shadow";
    const goesBack = state.phase === "rollingBack" && before.phase !== "rollingBack";
    // The way back to a verified model is taken whatever the disk says: the next start would take it again.
    if ((!quiet || state.phase !== before.phase) && !isKept() && !goesBack) {
      states.set(model, before);
      handleLater(model, event);
      return false;
    }
    if (state.phase !== before.phase) {
      ports.log("info", "update", {
        model,
        phase: state.phase,
        target: state.target?.version,
        error: state.error?.code,
      });
    }
    if (!quiet || state.phase !== before.phase || event.kind === "progress") report();
    for (const effect of effects) run(model, effect);
    return true;
  }

  function run(model: string, effect: UpdateEffect): void {
    const work = perform(model, effect).catch((cause) => {
      ports.log("error", "an update step failed inside", { model, effect: effect.kind, reason: String(cause) });
      if (!("target" in effect)) return;
      handle(model, {
        kind: "stepFailed",
        digest: effect.target.manifestDigest,
        problem: diskRefused(cause),
        again: true,
      });
    });
    running.add(work);
    void work.finally(() => running.delete(work));
  }

  async function perform(model: string, effect: UpdateEffect): Promise<void> {
    switch (effect.kind) {
      case "download": {
        underWay.get(model)?.abort();
        const abort = new AbortController();
        underWay.set(model, abort);
        await delay(after, effect.delayMs, abort.signal);
        if (abort.signal.aborted) return;
        const { manifestDigest: digest } = effect.target;
        if (isInstalled(slots, effect.target)) return void handle(model, { kind: "downloaded", digest });
        const progress = progressOf(model, digest);
        const result = await fetchPackage(effect.target, abort.signal, progress.show);
        if (!abort.signal.aborted) settle(model, digest, result, { kind: "downloaded", digest }, progress.reached());
        return;
      }
      case "verify": {
        const { manifestDigest: digest } = effect.target;
        const present: InstallResult = slots.has(model, digest) ? { ok: true } : verifyPackage(slots, effect.target);
        return settle(model, digest, present, { kind: "verified", digest });
      }
      case "selfTest":
        return testInTurn(model, effect.target);
      case "serve":
        return serve(model, effect.answer);
      case "cleanUp": {
        const { active, previous, target, pending, phase } = states.get(model) ?? idleModel(model);
        const wanted = phase === "idle" || phase === "failed" ? [] : [target?.manifestDigest];
        const digests = [active?.digest, previous?.digest, pending?.manifestDigest, ...wanted];
        slots.keepOnly(
          model,
          digests.filter((digest) => digest !== undefined),
        );
      }
    }
  }

  async function testInTurn(model: string, target: Target): Promise<void> {
    const { manifestDigest: digest } = target;
    const abort = underWay.get(model) ?? new AbortController();
    underWay.set(model, abort);
    // While it waits its phase is kept as ever, nothing of its limits is spent, and it may be wanted no more.
    const tested = await selfTests(() => {
      const { phase, target: wanted } = states.get(model) ?? idleModel(model);
      if (abort.signal.aborted || phase !== "selfTesting" || wanted?.manifestDigest !== digest) return undefined;
      return runSelfTest(target, abort.signal);
    });
    if (tested === undefined || abort.signal.aborted) return;
    if (tested.ok) return void handle(model, { kind: "selfTested", digest, findings: tested.value });
    const starved = tested.error.code === "SELF_TEST_STARVED";
    const again = starved && (states.get(model)?.attempts ?? 0) + 1 < SELF_TESTS_STARVED_MAX;
    handle(model, { kind: "stepFailed", digest, problem: tested.error, again });
  }

  async function runSelfTest(target: Target, signal: AbortSignal): Promise<Result<SelfTestFindings>> {
    const slotDir = slots.pathOf(target.model, target.manifestDigest);
    const manifest = readManifest(slotDir, target);
    if (!manifest.ok) return manifest;
    const memoryBytes = manifest.value.limits.memoryMb * 1024 * 1024;
    return machine.selfTest(slotDir, { cpuMs: SELF_TEST_CPU_MS, wallMs: SELF_TEST_WALL_MS, memoryBytes }, signal);
  }

  /** From the bundle that brought the target and from the server in turn, for a stick is pulled out and a line comes back. */
  async function fetchPackage(target: Target, signal: AbortSignal, show: (fraction: number) => void) {
    const { directorVersion, model } = target;
    const { bundle } = kept;
    const bundled = bundle?.directorVersion === directorVersion && (states.get(model)?.attempts ?? 0) % 2 === 0;
    if (!bundled) return downloadPackage(installPorts, target, signal, show);
    const result = await downloadPackage({ ...installPorts, ...bundleSource(bundle.folder) }, target, signal, show);
    if (result.ok || signal.aborted) return result;
    refuse(result.error, { directorVersion, model });
    // What happened to the bytes on a stick says nothing of the release: another copy may be whole.
    const spoilt = ["DIGEST_MISMATCH", "DOWNLOAD_TOO_LONG"].includes(result.error.code);
    if (spoilt) ports.onForged(result.error, model);
    return { ...result, again: result.again || spoilt };
  }

  function settle(model: string, digest: string, result: InstallResult, success: UpdateEvent, reached = 0): void {
    if (result.ok) {
      handle(model, success);
      return;
    }
    const { error, again, rejected } = result;
    if (FORGED.has(error.code)) ports.onForged(error, model);
    handle(model, { kind: "stepFailed", digest, problem: error, again, rejected, reached });
  }

  function progressOf(model: string, digest: string) {
    let shown = 0;
    let reached = 0;
    return {
      reached: () => reached,
      show(fraction: number): void {
        reached = Math.min(1, fraction);
        if (reached - shown < 0.1) return;
        shown = reached;
        handle(model, { kind: "progress", digest, fraction: reached });
      },
    };
  }

  async function serve(model: string, answer: Extract<UpdateEffect, { kind: "serve" }>["answer"]): Promise<void> {
    const digest = states.get(model)?.target?.manifestDigest ?? "";
    // One after another, each as the state is by then: an earlier call that is slow must not undo a later one.
    const turns = served.get(model) ?? inTurn();
    served.set(model, turns);
    const outcome = await turns(() => {
      const state = states.get(model);
      return ports.serve(model, state && servingOf(state, runningOf));
    });
    const problem = outcome.problem ?? outcome.shadowProblem;
    if (answer === "nothing") return;
    if (answer === "rolledBack") {
      if (problem) ports.log("error", "the earlier model could not be served", { model, code: problem.code });
      return void handle(model, { kind: "rolledBack" });
    }
    if (problem) return void handle(model, { kind: "stepFailed", digest, problem });
    handle(model, { kind: answer, digest });
  }

  function servingOf(state: ModelState, running: (state: ModelState) => Running | undefined): Serving | undefined {
    const serves = running(state);
    if (!serves) return undefined;
    const { model } = state;
    const { slot, predecessor, shadow } = serves;
    return {
      model,
      slotDir: slots.pathOf(model, slot.digest),
      ...(predecessor ? { predecessorSlotDir: slots.pathOf(model, predecessor.digest) } : {}),
      ...(shadow ? { shadowSlotDir: slots.pathOf(model, shadow.digest) } : {}),
    };
  }

  async function takeNewest(): Promise<void> {
    while (desired && !stopped) {
      const bytes = desired;
      const taken = await judge(bytes, ports);
      if (stopped) return;
      if (!taken.ok) {
        const directorVersion = claimsOf(bytes)?.version;
        if (!taken.again) {
          refuse(taken.error, directorVersion === undefined ? {} : { directorVersion });
          ports.onForged(taken.error);
        } else if (retries === 0) refuse(taken.error);
        if (desired === bytes) {
          if (!taken.again) desired = undefined;
          else return retryLater();
        }
        continue;
      }
      if (!accept(taken)) return retryLater();
      if (desired === bytes) desired = undefined;
      retries = 0;
    }
  }

  function judge(bytes: Uint8Array, { serverUrl, token, transport }: UpdateSource) {
    const time = { clockMs: ports.now(), clockSynced: ports.clockSynced(), floorMs: kept.timeFloorMs };
    const { directorVersion: lastVersion, directorKeys = [] } = kept;
    const known = directorKeys.length > 0 ? { directorKeys } : {};
    const from = { ...intakePorts, serverUrl, token, transport };
    return takeDocument(from, bytes, { lastVersion, time, ...known });
  }

  async function takeBundle(folder: string): Promise<Result<BundleTaken>> {
    const document = await bundledDocument(folder, ports.device, DOCUMENT_BYTES_MAX);
    if (!document.ok) return document;
    const taken = await judge(document.value, bundleSource(folder));
    if (!taken.ok) {
      const directorVersion = claimsOf(document.value)?.version;
      refuse(taken.error, directorVersion === undefined ? {} : { directorVersion });
      if (!taken.again) ports.onForged(taken.error);
      return taken;
    }
    const waiting = [...states.values()].filter(({ phase }) => phase === "downloading").map(({ target }) => target);
    if (!accept(taken, folder)) return { ok: false, error: diskRefused("the bundle's document was not kept") };
    const { models, version: directorVersion } = taken.document;
    // What waits for its next try of the server need not: here it is.
    for (const { model, manifestDigest } of models) {
      if (waiting.some((target) => target?.manifestDigest === manifestDigest)) handle(model, { kind: "resumed" });
    }
    return ok({ directorVersion, models: models.map(({ model }) => model) });
  }

  function retryLater(): void {
    const waitMs = INTAKE_RETRY_MS[Math.min(retries++, INTAKE_RETRY_MS.length - 1)] as number;
    cancelRetry = after(waitMs, takeDesired);
  }

  type Taken = Extract<Awaited<ReturnType<typeof takeDocument>>, { ok: true }>;
  /** False where the disk would not keep all of it. `folder`: the bundle that brought it. */
  function accept({ document, directorKeys, disagreements, provenMs }: Taken, folder?: string): boolean {
    let taken = true;
    const { bundle: _spent, ...rest } = kept;
    if (folder !== undefined) kept = { ...rest, bundle: { folder, directorVersion: document.version } };
    else if (document.version !== kept.bundle?.directorVersion) kept = rest;
    for (const wanted of document.models) {
      const refused = disagreements[wanted.model];
      if (refused && !refused.ok) {
        refuse(refused.error, { directorVersion: document.version, model: wanted.model });
        ports.onForged(refused.error, wanted.model);
        continue;
      }
      const target = { ...wanted, directorVersion: document.version };
      taken = handle(wanted.model, { kind: "desired", target }) && taken;
    }
    for (const model of document.remove) taken = remove(model) && taken;
    if (!taken) return false;
    // Last: a device that dies before this takes the same document, when it comes again, for news and not for known.
    kept = {
      ...kept,
      directorVersion: document.version,
      directorKeys,
      timeFloorMs: provenMs ?? floorAfter(document.issuedAtMs),
    };
    if (!isKept()) return false;
    report();
    return true;
  }

  /** A document raises the floor to when it was issued, but never above a clock that something set: a key may be stolen. */
  function floorAfter(issuedAtMs: number): number {
    const latestMs = ports.clockSynced() ? ports.now() : Number.POSITIVE_INFINITY;
    return Math.max(kept.timeFloorMs, Math.min(issuedAtMs, latestMs));
  }

  function remove(model: string): boolean {
    const state = states.get(model);
    if (!state) return true;
    underWay.get(model)?.abort();
    states.set(model, { ...idleModel(model), quarantined: state.quarantined });
    if (!isKept()) return false;
    ports.log("info", "update", { model, phase: "idle", removed: true });
    run(model, { kind: "serve", answer: "activated" });
    run(model, { kind: "cleanUp" });
    return true;
  }

  function takeDesired(): void {
    intake ??= takeNewest().finally(() => {
      intake = undefined;
    });
  }

  async function look(): Promise<void> {
    const judged = [...states.values()].filter(({ phase }) => phase === "confirming" || phase === "shadowing");
    if (judged.length === 0) return;
    const figures = await ports.figures();
    for (const { model, phase, active, target } of judged) {
      if (!active || !target) continue;
      const manifest = readManifest(slots.pathOf(model, target.manifestDigest), target);
      const limitP99Us = manifest.ok ? manifest.value.limits.p99LatencyMs * 1000 : 0;
      if (phase === "shadowing") {
        const shadow = figures.find((one) => one.model === model)?.shadow;
        if (shadow) handle(model, { kind: "shadow", figures: shadow, limitP99Us });
        continue;
      }
      const own = figures.find((one) => one.model === model && one.digest === active.digest);
      const none = { digest: active.digest, inferences: 0, errors: 0, medianLatencyUs: 0, p99LatencyUs: 0 };
      handle(model, { kind: "live", figures: own ?? none, limitP99Us });
    }
  }

  const installPorts = {
    slots,
    download: machine.download,
    serverUrl: ports.serverUrl,
    maxBytesPerSecond: ports.maxBytesPerSecond,
    token: (renew?: boolean) => ports.token(renew),
    transport: () => ports.transport(),
    compatible: (manifest: Manifest) => ports.compatible(manifest),
  };
  const intakePorts = {
    metadataDir: join(ports.stateDir, "tuf"),
    serverUrl: ports.serverUrl,
    device: ports.device,
    rootMetadata: ports.rootMetadata,
    askMetadata: machine.askMetadata,
    askTime: machine.askTime,
    token: (renew?: boolean) => ports.token(renew),
    transport: () => ports.transport(),
    labels: () => ports.labels(),
  };

  return {
    servingAtStart: () =>
      [...states.values()].map((state) => servingOf(state, runningAtStart)).filter((serving) => serving !== undefined),
    start() {
      for (const [model, state] of states) {
        // Power may have failed between a step and its cleaning up.
        run(model, { kind: "cleanUp" });
        if (RESUME[state.phase] !== "nothing") handle(model, { kind: "resumed" });
      }
      report();
      const again = () => {
        cancelLook = after(LIVE_EVERY_MS, () => {
          look()
            .catch((cause) => ports.log("error", "live figures", { reason: String(cause) }))
            .finally(() => !stopped && again());
        });
      };
      again();
    },
    onDesired(bytes) {
      // The same document comes again with every connection; it is news only with a higher number, whoever wrote it.
      if (claimsOf(bytes)?.version === kept.directorVersion) return;
      desired = bytes;
      cancelRetry();
      takeDesired();
    },
    async onBundle(folder) {
      while (intake) await intake;
      const taken = takeBundle(folder);
      intake = taken.then(
        () => undefined,
        () => undefined,
      );
      try {
        return await taken;
      } finally {
        intake = undefined;
        // What came over the line meanwhile waits no longer.
        if (desired) takeDesired();
      }
    },
    onBroken: (model, digest, problem) => void handle(model, { kind: "activeBroken", digest, problem }),
    states: () => [...states.values()],
    async stop() {
      stopped = true;
      cancelLook();
      cancelRetry();
      for (const cancel of diskRetries) cancel();
      for (const abort of underWay.values()) abort.abort();
      await Promise.allSettled([...running, intake]);
    },
  };
}

function reportedOf(state: ModelState): ReportedModel {
  const { model, phase, active, target, outcome, progress, evidence, shadow, error } = state;
  return {
    model,
    phase,
    ...(active ? { active } : {}),
    ...(target
      ? { target: { version: target.version, digest: target.manifestDigest, directorVersion: target.directorVersion } }
      : {}),
    ...(outcome ? { outcome } : {}),
    ...(progress !== undefined ? { progress } : {}),
    ...(evidence ? { evidence } : {}),
    ...(shadow ? { shadow } : {}),
    ...(error ? { error: { code: error.code, message: error.message.slice(0, 1_000), atMs: error.atMs } } : {}),
  };
}

function delay(after: Time["after"], ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const cancel = after(ms, resolve);
    signal.addEventListener(
      "abort",
      () => {
        cancel();
        resolve();
      },
      { once: true },
    );
  });
}
