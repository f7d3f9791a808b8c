import type { Server } from "node:net";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { Problem } from "@bellwether/protocol/errors.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import type { AgentConfig } from "./config/config.ts";
import { readBootId } from "./health/clock.io.ts";
import { AGENT_VERSION, deviceFacts } from "./health/facts.io.ts";
import { guardPipeline } from "./health/guard.io.ts";
import { dieOfHang } from "./health/hang.io.ts";
import { serveLocal } from "./health/local.io.ts";
import { createProbes } from "./health/probes.io.ts";
import { readVitals, type VitalsReader } from "./health/vitals.io.ts";
import { type Pipeline, startPipeline } from "./inference/pipeline.io.ts";
import { fileCounter } from "./link/counter.io.ts";
import type { Identity } from "./link/enrolment.ts";
import { createLink } from "./link/link.io.ts";
import { createLogin } from "./link/login.io.ts";
import type { Birth, Link } from "./link/ports.ts";
import type { Logger } from "./log.ts";
import type { AgentRole } from "./roles.io.ts";
import type { AgentSnapshot } from "./snapshot.ts";

/** How long what is durable already may still be sent while the agent stops. */
const DRAIN_MS_MAX = 1_500;
const DRAIN_LOOK_MS = 50;

export interface AgentOptions {
  readonly config: AgentConfig;
  readonly stateDir: string;
  readonly identity: Identity;
  readonly spawner: RoleSpawner<AgentRole>;
  readonly log: Logger;
  /** The agent cannot go on; the process must end. */
  readonly onFatal: (problem: Problem) => void;
}

/** A running agent. */
export interface Agent {
  snapshot(): AgentSnapshot;
  /** Stops the inputs, makes durable and sends what it can, says goodbye, closes. Bounded in time. */
  stop(): Promise<void>;
}

/** Starts an agent: the pipeline first, which needs no network; the link when rows are safe. */
export async function startAgent(options: AgentOptions): Promise<Result<Agent>> {
  const { config, stateDir, spawner, log, onFatal } = options;
  let link: Link | undefined;
  const pipeline = await startPipeline(
    (data) => spawner.worker("pipeline", data),
    { config, stateDir, active: [], bootId: readBootId() },
    {
      onEpoch: () => link?.epochChanged(),
      onProblem: (where, { code, message, detail }) => log.warn(message, { where, code, detail }),
      onEnded: (input) => log.info("an input has come to its end", { input }),
      onFatal,
    },
  );
  if ("code" in pipeline) return { ok: false, error: pipeline };
  const agent = new RunningAgent(options, pipeline);
  link = agent.link;
  await agent.open();
  return ok(agent);
}

class RunningAgent implements Agent {
  readonly link: Link;
  readonly #options: AgentOptions;
  readonly #pipeline: Pipeline;
  readonly #vitals: VitalsReader;
  readonly #startedAtMs = Date.now();
  #phase: "running" | "stopping" = "running";
  #linkSinceMs = Date.now();
  #linkProblem: Problem | undefined;
  #local: Server | undefined;
  #unguard: () => void = () => undefined;

  constructor(options: AgentOptions, pipeline: Pipeline) {
    this.#options = options;
    this.#pipeline = pipeline;
    const { config, stateDir, identity } = options;
    this.#vitals = readVitals(createProbes(), stateDir, () => pipeline.lastFigures());
    const login = createLogin(identity);
    const { mqttUrl, site, device } = identity.enrolment;
    this.link = createLink({
      mqttUrl,
      site,
      device,
      heartbeatMs: config.heartbeatMs,
      login: () => login.mqtt(),
      outbox: pipeline,
      sessions: fileCounter(join(stateDir, "sessions"), Date.now),
      births: () => this.#births(),
      health: () => this.#vitals.latest(),
      onDesired: () => undefined,
      onPhase: (phase) => this.#linkPhase(phase),
      onProblem: (problem) => this.#linkTrouble(problem),
    });
  }

  async open(): Promise<void> {
    const { stateDir, log } = this.#options;
    this.#unguard = guardPipeline(
      () => this.#pipeline.beat(),
      (verdict) => {
        const slotDir = verdict.kind === "hung" ? this.#pipeline.slotOf(verdict.model) : undefined;
        const { limitMs } = this.#pipeline.beat();
        log.error("the pipeline thread does not come back; this process ends itself", { ...verdict, slotDir, limitMs });
        const note = { v: 1, atMs: Date.now(), kind: verdict.kind, ms: verdict.ms, limitMs } as const;
        dieOfHang(stateDir, slotDir === undefined ? note : { ...note, slotDir }, (cause) =>
          log.error("the reason could not be written down", { cause }),
        );
      },
    );
    for (const { model, slotDir, problem, gapMs } of this.#pipeline.outcomes) {
      if (problem) log.error(problem.message, { model, slotDir, code: problem.code });
      else log.info("a verified model runs", { model, slotDir, gapMs });
    }
    this.#local = await serveLocal(stateDir, () => this.snapshot());
    this.link.start();
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
        ...this.link.figures(),
        sinceMs: this.#linkSinceMs,
        ...(problem === undefined ? {} : { problem: { code: problem.code, message: problem.message } }),
      },
      models: [],
      ...(pipeline === undefined ? {} : { pipeline }),
    };
  }

  async stop(): Promise<void> {
    this.#phase = "stopping";
    await this.#pipeline.quiet();
    await this.#drain();
    await this.link.stop();
    this.#vitals.stop();
    this.#local?.close();
    this.#unguard();
    await this.#pipeline.close();
  }

  /** What is durable may still reach the server; what does not is sent after the next start. */
  async #drain(): Promise<void> {
    const untilMs = performance.now() + DRAIN_MS_MAX;
    while (this.link.phase === "online" && performance.now() < untilMs) {
      const { outbox } = await this.#pipeline.figures();
      if (outbox.unacked === 0) return;
      await wait(DRAIN_LOOK_MS);
    }
  }

  #births(): Birth[] {
    const facts = { ...deviceFacts() };
    return this.#pipeline.channels.map(({ asset, channels }) => ({
      asset,
      channels: [...channels],
      facts,
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
    this.#options.log.warn(problem.message, { code: problem.code });
  }
}
