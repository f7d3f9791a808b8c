import type { Server } from "node:net";
import { totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { type BaselineReport, carriedBaseline } from "@bellwether/protocol/messages/baseline.ts";
import type { ReportedMessage } from "@bellwether/protocol/messages/device.ts";
import { compatible, type DeviceOffer } from "@bellwether/protocol/package/compatibility.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import { bindingsOf } from "./config/bindings.ts";
import type { AgentConfig } from "./config/config.ts";
import { isClockSynced, readBootId, watchClock } from "./health/clock.io.ts";
import { AGENT_VERSION, deviceFacts } from "./health/facts.io.ts";
import { guardPipeline } from "./health/guard.io.ts";
import { dieOfHang, forgetHang, type HangNote, readHang } from "./health/hang.io.ts";
import { type LocalAsk, serveLocal } from "./health/local.io.ts";
import { createProbes } from "./health/probes.io.ts";
import { createSecurityEvents, isFailedLogin, type TellSecurity } from "./health/security.ts";
import { readVitals, type Vitals, type VitalsReader } from "./health/vitals.io.ts";
import type { Verdict } from "./health/watchdog.ts";
import { type Pipeline, startPipeline } from "./inference/pipeline.io.ts";
import type { ActiveModel } from "./inference/pipeline.ts";
import { ownLabels, readLabels } from "./labels.io.ts";
import { brokerUrl } from "./link/address.ts";
import { BaselineReports } from "./link/baselines.io.ts";
import { createOwnCertificate, type OwnCertificate } from "./link/certificate.io.ts";
import { fileCounter } from "./link/counter.io.ts";
import type { Identity } from "./link/enrolment.ts";
import { isRotating, rotateKey } from "./link/key-rotation.io.ts";
import { createLink } from "./link/link.io.ts";
import { createLogin, type Login } from "./link/login.io.ts";
import type { Birth, Link, LinkFigures } from "./link/ports.ts";
import type { Reach } from "./link/reach.io.ts";
import type { Logger } from "./log.ts";
import type { OutputOrigin } from "./outputs/output.ts";
import type { AgentRole } from "./roles.io.ts";
import { modelOfSlot, ServingSet } from "./serving.io.ts";
import type { AgentSnapshot } from "./snapshot.ts";
import { digestOfSlot } from "./trust/verified-model.ts";
import { createUpdater, machineOf, type Updater } from "./update/runner.io.ts";

/** How long what is durable already may still be sent while the agent stops. */
const DRAIN_MS_MAX = 1_500;
const DRAIN_LOOK_MS = 50;
const UPDATER_MS_MAX = 1_000;

/** The link's figures before there is one. */
const NO_LINK: LinkFigures = {
  phase: "offline",
  sessions: 0,
  resent: 0,
  inFlight: 0,
  line: { coversMs: 0, bytes: {} },
  reportedEchoed: true,
};

export interface AgentOptions {
  readonly config: AgentConfig;
  readonly stateDir: string;
  readonly identity: Identity;
  readonly reach: Reach;
  readonly spawner: RoleSpawner<AgentRole>;
  readonly log: Logger;
  /** The agent cannot go on; the process must end. */
  readonly onFatal: (problem: Problem) => void;
  /** Aborted: a start that is under way is given up. */
  readonly signal?: AbortSignal;
}

/** A running agent. */
export interface Agent {
  snapshot(): AgentSnapshot;
  /** Stops the inputs, makes durable and sends what it can, says goodbye, closes. Bounded in time. */
  stop(): Promise<void>;
}

/** Starts an agent: verified models and the pipeline first, which need no network; then updates and the link. */
export async function startAgent(options: AgentOptions): Promise<Result<Agent>> {
  const { config, stateDir, spawner, log, onFatal } = options;
  const agent = new RunningAgent(options);
  const pipeline = await startPipeline(
    (data) => spawner.worker("pipeline", data),
    { config, stateDir, active: agent.servingAtStart(), bootId: readBootId(), origin: agent.origin() },
    {
      onEpoch: () => agent.epochChanged(),
      onBaseline: (report) => agent.baselineChanged(report),
      onProblem: (where, { code, message, detail }) => log.warn(message, { where, code, detail }),
      onEnded: (input) => log.info("an input has come to its end", { input }),
      onFatal,
    },
    options.signal,
  );
  if ("code" in pipeline) return { ok: false, error: pipeline };
  await agent.open(pipeline);
  return ok(agent);
}

type Reported = Pick<ReportedMessage, "directorVersion" | "models" | "refusals">;

class RunningAgent implements Agent {
  readonly #options: AgentOptions;
  readonly #updater: Updater;
  readonly #login: Login;
  /** As it is now: a change of keys replaces it. */
  #identity: Identity;
  readonly #certificate: OwnCertificate;
  readonly #baselines: BaselineReports;
  #rotating: Promise<Result<Identity>> | undefined;
  readonly #startedAtMs = Date.now();
  /** What the process before this one died of. */
  readonly #hang: HangNote | undefined;
  #pipeline!: Pipeline;
  #serving!: ServingSet;
  #link: Link | undefined;
  #vitals: VitalsReader | undefined;
  #reported: Reported = { directorVersion: 0, models: [], refusals: [] };
  #phase: "running" | "stopping" = "running";
  #linkSinceMs = Date.now();
  #linkProblem: Problem | undefined;
  #local: Server | undefined;
  #unguard: () => void = () => undefined;
  #unwatch: () => void = () => undefined;
  readonly #security: TellSecurity = createSecurityEvents((record) => this.#pipeline.event(record), Date.now);

  constructor(options: AgentOptions) {
    this.#options = options;
    const { stateDir, identity, reach, spawner, log } = options;
    const { serverUrl, device, rootMetadata } = identity.enrolment;
    this.#identity = identity;
    this.#login = createLogin(() => this.#identity, reach);
    this.#certificate = createOwnCertificate({
      stateDir,
      identity: () => this.#identity,
      login: this.#login,
      reach,
      nowMs: Date.now,
    });
    this.#baselines = new BaselineReports({ serverUrl, login: this.#login, reach });
    this.#hang = readHang(stateDir);
    this.#updater = createUpdater(
      {
        stateDir,
        serverUrl,
        device,
        rootMetadata,
        maxBytesPerSecond: options.config.updates.maxBytesPerSecond,
        token: (renew) => this.#login.httpToken(renew),
        transport: () => reach.transport(),
        labels: () => ownLabels(stateDir, identity.enrolment, deviceFacts()),
        compatible: (manifest) => this.#compatible(manifest),
        serve: (model, serving) => this.#serving.serve(model, serving),
        figures: async () => (await this.#pipeline.figures()).models,
        report: (reported) => this.#report(reported),
        onForged: (problem, model) => this.#security(problem, model),
        now: Date.now,
        clockSynced: isClockSynced,
        log: (level, message, fields) => log[level](message, fields),
      },
      machineOf(stateDir, spawner),
    );
  }

  /** Verified models; the one that hung the process before is left out, whatever the cause of its hang. */
  servingAtStart(): ActiveModel[] {
    const hung = this.#hang?.slotDir;
    return this.#updater.servingAtStart().flatMap((serving): ActiveModel[] => {
      if (serving.slotDir !== hung) return [serving];
      const { model, predecessorSlotDir } = serving;
      return predecessorSlotDir === undefined ? [] : [{ model, slotDir: predecessorSlotDir }];
    });
  }

  epochChanged(): void {
    this.#link?.epochChanged();
  }

  baselineChanged(report: BaselineReport): void {
    this.#baselines.add(report);
  }

  async open(pipeline: Pipeline): Promise<void> {
    const { config, stateDir, identity, log } = this.#options;
    this.#pipeline = pipeline;
    this.#serving = new ServingSet({ pipeline, spawner: this.#options.spawner, log });
    this.#vitals = readVitals(createProbes(), stateDir, () => pipeline.lastFigures());
    this.#unguard = guardPipeline(
      () => pipeline.beat(),
      (verdict) => this.#die(verdict),
    );
    this.#unwatch = watchClock(({ fromMs, toMs, ranMs }) => {
      const [from, to] = [fromMs, toMs].map((ms) => new Date(ms).toISOString());
      this.#security(problem("CLOCK_JUMPED", { from, to, ranMs }));
    });
    const { site, device } = identity.enrolment;
    const mqttUrl = brokerUrl(config, identity.enrolment);
    this.#link = createLink({
      mqttUrl,
      reach: this.#options.reach,
      site,
      device,
      heartbeatMs: config.heartbeatMs,
      login: () => this.#logIn(),
      outbox: pipeline,
      sessions: fileCounter(join(stateDir, "sessions"), Date.now),
      births: () => this.#births(),
      health: () => this.#health(),
      onDesired: (bytes) => this.#updater.onDesired(bytes),
      onBaseline: (bytes) => this.#adopt(bytes),
      onPhase: (phase) => this.#linkPhase(phase),
      onProblem: (problem) => this.#linkTrouble(problem),
    });
    this.#local = await serveLocal(stateDir, (asked) => this.#answer(asked));
    this.#updater.start();
    this.#blame();
    this.#link.start();
  }

  #health(): Vitals | undefined {
    const vitals = this.#vitals?.latest();
    const line = this.#link?.figures().line;
    return vitals === undefined || line === undefined ? vitals : { ...vitals, line };
  }

  #adopt(bytes: Uint8Array): void {
    const carried = carriedBaseline.parse(bytes);
    if (carried.ok) this.#pipeline.adopt(carried.value);
    else this.#options.log.warn(carried.error.message, { code: carried.error.code });
  }

  async #answer(asked: LocalAsk): Promise<unknown> {
    switch (asked.ask) {
      case "status":
        return this.snapshot();
      case "update":
        return await this.#updater.onBundle(asked.bundle);
      case "rotateKey": {
        const rotated = await this.#rotateKey();
        return rotated.ok ? ok({ publicHex: rotated.value.enrolment.publicHex }) : rotated;
      }
    }
  }

  /** One change of keys at a time; whoever asks meanwhile hears of the same one. */
  #rotateKey(): Promise<Result<Identity>> {
    const { stateDir, reach, log } = this.#options;
    this.#rotating ??= rotateKey(stateDir, this.#identity, reach).finally(() => {
      this.#rotating = undefined;
    });
    return this.#rotating.then((rotated) => {
      if (rotated.ok) this.#identity = rotated.value;
      if (rotated.ok) log.info("the device has a new key", { publicHex: rotated.value.enrolment.publicHex });
      return rotated;
    });
  }

  /** A change of keys that was interrupted is finished first: the server may know the new key alone. */
  async #logIn(): ReturnType<Login["mqtt"]> {
    if (isRotating(this.#options.stateDir)) await this.#rotateKey();
    try {
      const kept = await this.#certificate.keepYoung();
      if (!kept.ok) this.#options.log.info(kept.error.message, { code: kept.error.code });
    } catch (cause) {
      this.#options.log.warn("the device's certificate was not kept", { cause });
    }
    return await this.#login.mqtt();
  }

  /** Tells updates of the models that did not open, and of the one that hung the process before this one. */
  #blame(): void {
    const { stateDir, log } = this.#options;
    for (const { model, slotDir, problem } of this.#pipeline.outcomes) {
      if (problem === undefined) log.info("a verified model serves", { model, slotDir });
      else this.#broken(slotDir, problem);
    }
    const hang = this.#hang;
    if (hang === undefined) return;
    const { slotDir, ms, limitMs } = hang;
    if (slotDir === undefined) this.#tell(problem("PIPELINE_STALLED", { ms }));
    else this.#broken(slotDir, problem("INFERENCE_HUNG", { model: modelOfSlot(slotDir), ms, limitMs }));
    // The updater has kept its consequences before it answers.
    forgetHang(stateDir);
  }

  #broken(slotDir: string, broken: Problem): void {
    this.#tell(broken, modelOfSlot(slotDir));
    this.#updater.onBroken(modelOfSlot(slotDir), digestOfSlot(slotDir), broken);
  }

  /** Into the log and, as a device event, to the server. */
  #tell({ code, message }: Problem, model?: string): void {
    this.#options.log.error(message, { code, model });
    this.#pipeline.event({
      atMs: Date.now(),
      kind: "device",
      severity: "critical",
      code,
      text: message.slice(0, 1_000),
      ...(model === undefined ? {} : { model }),
    });
  }

  #die(verdict: Exclude<Verdict, { kind: "alive" }>): void {
    const { stateDir, log } = this.#options;
    const { kind, ms } = verdict;
    const { limitMs } = this.#pipeline.beat();
    const slotDir = verdict.kind === "hung" ? this.#pipeline.slotOf(verdict.model) : undefined;
    log.error("the pipeline thread does not come back; this process ends itself", { kind, ms, slotDir, limitMs });
    const note = { v: 1, atMs: Date.now(), kind, ms, limitMs, ...(slotDir === undefined ? {} : { slotDir }) } as const;
    dieOfHang(stateDir, note, (cause) => log.error("the reason could not be written down", { cause }));
  }

  #report(reported: Reported): void {
    this.#reported = reported;
    this.#link?.report(reported);
  }

  #compatible(manifest: Manifest): Result<void> {
    const channels = this.#pipeline.channels.map(
      ({ asset, channels: own }) => [asset, new Map(own.map(({ channel, unit }) => [channel, unit]))] as const,
    );
    const binding = this.#options.config.models.find(({ model }) => model === manifest.model);
    const offer: DeviceOffer = {
      arch: process.arch,
      memoryMb: totalmem() / 1_048_576,
      agentVersion: AGENT_VERSION,
      assets: new Map(channels),
      ...(binding === undefined ? {} : { binding }),
    };
    return compatible(manifest, offer);
  }

  origin(): OutputOrigin {
    const { site, device, labels } = this.#options.identity.enrolment;
    return { site, device, labels: { ...labels, ...readLabels(this.#options.stateDir) } };
  }

  snapshot(): AgentSnapshot {
    const { site, device } = this.#options.identity.enrolment;
    const pipeline = this.#pipeline.lastFigures();
    const problem = this.#linkProblem;
    return {
      v: 1,
      atMs: Date.now(),
      pid: process.pid,
      agentVersion: AGENT_VERSION,
      site,
      device,
      phase: this.#phase,
      startedAtMs: this.#startedAtMs,
      link: {
        ...(this.#link?.figures() ?? NO_LINK),
        sinceMs: this.#linkSinceMs,
        ...(problem === undefined ? {} : { problem: { code: problem.code, message: problem.message } }),
      },
      models: this.#reported.models,
      refusals: this.#reported.refusals,
      ...(pipeline === undefined ? {} : { pipeline }),
    };
  }

  async stop(): Promise<void> {
    this.#phase = "stopping";
    // A download or self-test that is under way is taken up again by the next start; it is not waited for.
    await Promise.all([Promise.race([this.#updater.stop(), wait(UPDATER_MS_MAX)]), this.#pipeline.quiet()]);
    await this.#drain();
    await this.#link?.stop();
    this.#vitals?.stop();
    this.#local?.close();
    this.#unguard();
    this.#unwatch();
    this.#baselines.stop();
    await this.#pipeline.close();
  }

  /** What is durable may still reach the server; what does not is sent after the next start. */
  async #drain(): Promise<void> {
    const untilMs = performance.now() + DRAIN_MS_MAX;
    while (this.#link?.phase === "online" && performance.now() < untilMs) {
      const { outbox } = await this.#pipeline.figures();
      if (outbox.unacked === 0) return;
      await wait(DRAIN_LOOK_MS);
    }
  }

  #births(): Birth[] {
    // What the device knows of itself stands above what was said of it.
    const facts = { ...readLabels(this.#options.stateDir), ...deviceFacts() };
    return this.#pipeline.channels.map(({ asset, channels }) => ({
      asset,
      channels: [...channels],
      facts,
      bindings: bindingsOf(this.#options.config.models, asset),
      agentVersion: AGENT_VERSION,
    }));
  }

  #linkPhase(phase: Link["phase"]): void {
    this.#linkSinceMs = Date.now();
    if (phase === "online") this.#linkProblem = undefined;
    this.#options.log.info("the link changed", { phase });
  }

  #linkTrouble(problem: Problem): void {
    this.#linkProblem = problem;
    if (isFailedLogin(problem)) this.#security(problem);
    this.#options.log.warn(problem.message, { code: problem.code });
  }
}
