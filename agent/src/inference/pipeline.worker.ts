import { join } from "node:path";
import type { MessagePort } from "node:worker_threads";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { ChannelBirth } from "@bellwether/protocol/messages/device.ts";
import type { EventRecord } from "@bellwether/protocol/messages/stream.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import type { Outbox, OutboxEntry, OutboxOptions } from "../buffer/outbox.ts";
import { COMMIT_MS_MAX, WearBudget } from "../buffer/wear.ts";
import type { BufferConfig, InputConfig, MqttOutputConfig } from "../config/config.ts";
import { createHeart, type Heart } from "../health/watchdog.ts";
import type { AssetChannels, InputAdapter, InputContext, JsonValue } from "../inputs/input.ts";
import type { ConnectPublisher, Output, OutputContext } from "../outputs/output.ts";
import type { VerifiedModel } from "../trust/verified-model.ts";
import { Engine, isSavedMemory } from "./engine.ts";
import { Intake } from "./intake.ts";
import type {
  DiskFigures,
  FromPipeline,
  InputFigures,
  PipelineFigures,
  PipelineStart,
  ToPipeline,
} from "./pipeline.ts";
import type { TensorCodec } from "./predictor.ts";
import { Sessions } from "./sessions.io.ts";

/**
 * Rows that make a commit worth its fsync at once; slower inputs wait for the outbox's own moment. No more than half of
 * what an input may have on its way (`ROWS_AHEAD_MAX`), or an input alone would always wait for that moment.
 */
const ROWS_PER_COMMIT = 2_048;
const COMMIT_RETRY_MS = 1_000;
const FIGURES_EVERY_MS = 1_000;
const HEARTBEAT_MS = 250;
/** Windows and baselines are saved this often and at every orderly stop: 8 kB per asset, flash wears. */
const MEMORIES_EVERY_MS = 300_000;
/** The same problem of the same place is told once in this time. */
const PROBLEM_EVERY_MS = 600_000;
const HOUR_MS = 3_600_000;
const MEMORY_KEY = /^@memory\/(?:serving|predecessor)\/([^/]+)\/([^/]+)$/;

/** What other rooms lend the pipeline; `main.ts` hands it over. */
export interface PipelineParts {
  readonly lock: (stateDir: string) => Result<{ release(): void }>;
  readonly openOutbox: (path: string, options: OutboxOptions) => Result<Outbox>;
  readonly createInput: (config: InputConfig, context: InputContext) => InputAdapter;
  readonly inputContext: Pick<InputContext, "connectMqtt" | "probes">;
  readonly createOutput: (config: MqttOutputConfig, context: OutputContext) => Output;
  readonly connectPublisher: ConnectPublisher;
  readonly tensors: TensorCodec;
  readonly verify: (slotDir: string) => Promise<Result<VerifiedModel>>;
  readonly clock: OutboxOptions["clock"];
  /** Bytes this process has had its disk write since it began; undefined where the system does not tell. */
  readonly writtenBytes: () => number | undefined;
}

/** The pipeline thread: everything between the inputs and the link, in one place that never waits for the network. */
export async function runPipeline(port: MessagePort, start: PipelineStart, parts: PipelineParts): Promise<void> {
  const tell = (message: FromPipeline) => port.postMessage(message);
  const lock = parts.lock(start.stateDir);
  if (!lock.ok) return tell({ kind: "fatal", problem: lock.error });
  const pipeline = new Pipeline(tell, start, parts);
  const opened = await pipeline.open();
  if (!opened.ok) return tell({ kind: "fatal", problem: opened.error });
  port.on("message", (message: ToPipeline) => {
    if (message.kind !== "close") return pipeline.handle(message);
    pipeline.close();
    lock.value.release();
    tell({ kind: "closed", request: message.request });
    port.close();
  });
}

interface RunningInput {
  readonly id: string;
  readonly adapter: InputAdapter;
  rows: number;
  lastAtMs: number | undefined;
}

class Pipeline {
  readonly #tell: (message: FromPipeline) => void;
  readonly #start: PipelineStart;
  readonly #parts: PipelineParts;
  readonly #heart: Heart;
  readonly #intake: Intake;
  readonly #inputs: RunningInput[] = [];
  #outputs: readonly Output[] = [];
  readonly #told = new Map<string, number>();
  /** The newest problem of each input, for the figures. */
  readonly #newest = new Map<string, NonNullable<InputFigures["problem"]>>();
  #timers: NodeJS.Timeout[] = [];
  #commitTimer: NodeJS.Timeout | undefined;
  #commitAtMs = 0;
  readonly #wear: WearBudget;
  #writes = false;
  #outbox!: Outbox;
  #engine!: Engine;
  #sessions!: Sessions;
  #take: { readonly request: number; readonly maxBytes: number } | undefined;
  #memoriesAtMs = performance.now();
  #quiet = false;
  readonly #baselines = new Map<string, string>();

  constructor(tell: (message: FromPipeline) => void, start: PipelineStart, parts: PipelineParts) {
    this.#tell = tell;
    this.#start = start;
    this.#parts = parts;
    const { writeBytesPerDay, commitMs } = start.config.buffer;
    this.#wear = new WearBudget(writeBytesPerDay, commitMs, parts.clock().monoMs);
    this.#heart = createHeart(new Int32Array(start.beat));
    this.#intake = new Intake({
      process: (rows) => this.#engine.process(rows),
      append: (entry) => this.#append(entry),
      commit: (when) => (when === "now" ? this.#commit() : this.#commitIn(this.#wear.commitMs)),
      failed: (cause) => this.#problem("models", problem("INFERENCE_FAILED", { model: "all", reason: String(cause) })),
      rowsPerCommit: ROWS_PER_COMMIT,
    });
  }

  /** Outbox first, then inputs' channels, then models, then rows: no row is taken before a model could see it. */
  async open(): Promise<Result<void>> {
    const { config, stateDir, active } = this.#start;
    const channels = new Map<string, ChannelBirth[]>();
    const wear = this.#wear;
    const outbox = this.#parts.openOutbox(join(stateDir, "outbox.sqlite"), {
      ...outboxLimits(config.buffer),
      get commitMs() {
        return wear.commitMs;
      },
      backfillBytesPerSecond: config.link.backfillBytesPerSecond,
      resolutionOf: (asset, channel) => channels.get(asset)?.find((one) => one.channel === channel)?.resolution,
      clock: this.#parts.clock,
      sendable: () => this.#answerTake(),
      noticed: (noticed) => this.#problem("outbox", noticed),
    });
    if (!outbox.ok) return outbox;
    this.#outbox = outbox.value;
    const cursors = this.#outbox.cursors();
    for (const input of config.inputs) await this.#declare(input, cursors[input.id], channels);
    this.#engine = new Engine({
      channels,
      bindings: config.models,
      tensors: this.#parts.tensors,
      nowMs: Date.now,
    });
    this.#recall(cursors);
    this.#sessions = new Sessions({
      verify: this.#parts.verify,
      engine: this.#engine,
      guard: this.#heart,
      announce: (index, slotDir) => this.#tell({ kind: "slot", index, slotDir }),
    });
    const outcomes = await this.#intake.exclusive(() => this.#sessions.serve(active));
    this.#outputs = config.outputs.map((output) => this.#parts.createOutput(output, this.#outputContext()));
    for (const input of this.#inputs) {
      input.adapter.start((rows, cursor) => this.#offer(input, rows, cursor));
    }
    this.#timers = [
      setInterval(() => this.#heart.turn(), HEARTBEAT_MS),
      setInterval(() => this.#everySecond(), FIGURES_EVERY_MS),
    ];
    const declared: AssetChannels[] = [...channels].map(([asset, own]) => ({ asset, channels: own }));
    this.#tell({ kind: "ready", epoch: this.#outbox.epoch, channels: declared, outcomes });
    return ok(undefined);
  }

  #outputContext(): OutputContext {
    const { origin, config } = this.#start;
    return {
      origin,
      heartbeatMs: config.heartbeatMs,
      connectMqtt: this.#parts.connectPublisher,
      nowMs: Date.now,
      models: () =>
        this.#engine.figures().map(({ model, version, digest }) => ({ model, phase: "serving", version, digest })),
      onProblem: (found) => this.#problem("output", found),
    };
  }

  handle(message: Exclude<ToPipeline, { kind: "close" }>): void {
    switch (message.kind) {
      case "models":
        void this.#serve(message);
        return;
      case "take":
        this.#take = message;
        this.#answerTake();
        return;
      case "open":
        this.#take = undefined;
        this.#tell({ kind: "positions", request: message.request, positions: this.#outbox.open() });
        return;
      case "online":
        this.#outbox.setOnline(message.online);
        return;
      case "ack": {
        const { newEpoch } = this.#outbox.acked(message.ack);
        if (newEpoch) this.#tell({ kind: "epoch", epoch: this.#outbox.epoch });
        this.#answerTake();
        return;
      }
      case "adopt":
        if (this.#engine.adopt(message.carried)) this.#saveMemories();
        return;
      case "event":
        this.#append({ events: [message.record] });
        return;
      case "figures":
        this.#tell({ kind: "figures", request: message.request, figures: this.#figures() });
        return;
      case "quiet":
        void this.#becomeQuiet(message.request);
        return;
    }
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#commitTimer);
    const closed = this.#outbox.close();
    if (!closed.ok) this.#problem("outbox", closed.error);
  }

  async #declare(
    config: InputConfig,
    cursor: JsonValue | undefined,
    channels: Map<string, ChannelBirth[]>,
  ): Promise<void> {
    const adapter = this.#parts.createInput(config, {
      ...this.#parts.inputContext,
      ...(cursor === undefined ? {} : { cursor }),
      nowMs: Date.now,
      onProblem: (found) => this.#problem(config.id, found),
      onEnd: () => this.#tell({ kind: "ended", input: config.id }),
    });
    const declared = await adapter.declare();
    // One input that cannot be read must not silence the others.
    if (!declared.ok) return this.#problem(config.id, declared.error);
    for (const { asset, channels: own } of declared.value)
      channels.set(asset, [...(channels.get(asset) ?? []), ...own]);
    this.#inputs.push({ id: config.id, adapter, rows: 0, lastAtMs: undefined });
  }

  #offer(input: RunningInput, rows: Parameters<Intake["offer"]>[1], cursor: JsonValue | undefined): Promise<void> {
    input.rows += rows.length;
    if (rows.length > 0) input.lastAtMs = Date.now();
    return this.#intake.offer(input.id, rows, cursor);
  }

  async #serve({ request, active, hosted }: Extract<ToPipeline, { kind: "models" }>): Promise<void> {
    const outcomes = await this.#intake.exclusive(() => this.#sessions.serve(active, hosted));
    this.#tell({ kind: "models", request, outcomes });
  }

  #commit(): void {
    clearTimeout(this.#commitTimer);
    this.#commitTimer = undefined;
    // A disk that fails is told by the outbox; the inputs wait until it takes again.
    if (this.#outbox.commit().ok) {
      this.#intake.committed();
      for (const output of this.#outputs) output.committed();
    } else this.#commitIn(COMMIT_RETRY_MS);
  }

  #append(entry: OutboxEntry): void {
    this.#outbox.append(entry);
    // An alarm waits for no budget.
    if (entry.events !== undefined && entry.events.length > 0) this.#commitIn(this.#start.config.buffer.commitMs);
    for (const output of this.#outputs) output.take(entry);
  }

  #commitIn(delayMs: number): void {
    const atMs = performance.now() + delayMs;
    if (this.#commitTimer !== undefined && this.#commitAtMs <= atMs) return;
    clearTimeout(this.#commitTimer);
    this.#commitAtMs = atMs;
    this.#commitTimer = setTimeout(() => this.#commit(), delayMs);
  }

  #answerTake(): void {
    if (this.#take === undefined) return;
    const chunks = this.#outbox.nextChunks(this.#take.maxBytes);
    if (chunks.length === 0) return;
    const { request } = this.#take;
    this.#take = undefined;
    this.#tell({ kind: "chunks", request, chunks });
  }

  async #becomeQuiet(request: number): Promise<void> {
    this.#quiet = true;
    // Rows already offered are committed below, which is what an input that stops may be waiting for.
    const stopping = Promise.all(this.#inputs.map(({ adapter }) => adapter.stop()));
    await this.#intake.idle();
    this.#commit();
    await stopping;
    await this.#intake.idle();
    this.#saveMemories();
    this.#commit();
    await Promise.all(this.#outputs.map((output) => output.close()));
    this.#tell({ kind: "quiet", request });
  }

  #everySecond(): void {
    this.#countWrites();
    this.#tell({ kind: "present", figures: this.#figures() });
    if (!this.#quiet && performance.now() - this.#memoriesAtMs > MEMORIES_EVERY_MS) this.#saveMemories();
  }

  #countWrites(): void {
    const bytes = this.#parts.writtenBytes();
    if (bytes === undefined) return;
    this.#writes = true;
    this.#wear.wrote(bytes, this.#parts.clock().monoMs);
    if (!this.#wear.isSpent) return;
    const { writeBytesPerDay } = this.#start.config.buffer;
    this.#problem(
      "outbox",
      problem("WRITE_BUDGET_SPENT", { bytesPerDay: writeBytesPerDay, seconds: COMMIT_MS_MAX / 1_000 }),
    );
  }

  #saveMemories(): void {
    this.#memoriesAtMs = performance.now();
    for (const { model, asset, role, saved } of this.#engine.memories()) {
      this.#outbox.append({ cursor: { input: `@memory/${role}/${model}/${asset}`, value: asJson(saved) } });
    }
    this.#tellBaselines();
  }

  /** Tells of baselines that changed since they were told; one that is frozen is told once. */
  #tellBaselines(): void {
    for (const report of this.#engine.baselines()) {
      const { features, drift } = report.baseline;
      const { own, warmed } = (drift?.detector ?? {}) as { own?: unknown; warmed?: unknown };
      // The charts of a detector move with every window; what they are held against does not.
      const known = JSON.stringify([report.adopted, report.baseline.form, features, own, warmed]);
      const key = `${report.model}/${report.asset}`;
      if (this.#baselines.get(key) === known) continue;
      this.#baselines.set(key, known);
      this.#tell({ kind: "baseline", report });
    }
  }

  #recall(cursors: Readonly<Record<string, JsonValue>>): void {
    for (const [key, saved] of Object.entries(cursors)) {
      const match = MEMORY_KEY.exec(key);
      if (match && isSavedMemory(saved)) this.#engine.remember(match[1]!, match[2]!, saved);
    }
  }

  #problem(where: string, found: Problem): void {
    const key = `${where}/${found.code}`;
    const nowMs = Date.now();
    this.#newest.set(where, { code: found.code, message: found.message, atMs: nowMs });
    if (nowMs - (this.#told.get(key) ?? Number.NEGATIVE_INFINITY) < PROBLEM_EVERY_MS) return;
    this.#told.set(key, nowMs);
    this.#tell({ kind: "problem", where, problem: found });
    const record: EventRecord = {
      atMs: nowMs,
      kind: "device",
      severity: "warning",
      code: found.code,
      text: `${where}: ${found.message}`.slice(0, 1_000),
    };
    // While the outbox opens there is nothing to keep it in yet; the log has it.
    this.#outbox?.append({ events: [record] });
  }

  #figures(): PipelineFigures {
    const inputs = this.#inputs.map(({ id, rows, lastAtMs }) => {
      const problem = this.#newest.get(id);
      return {
        id,
        rows,
        ...(lastAtMs === undefined ? {} : { lastAtMs }),
        ...(problem === undefined ? {} : { problem }),
      };
    });
    const lastRowAtMs = Math.max(...inputs.map(({ lastAtMs }) => lastAtMs ?? 0), 0);
    return {
      atMs: Date.now(),
      models: this.#engine.figures(),
      outbox: this.#outbox.stats(),
      rows: inputs.reduce((sum, { rows }) => sum + rows, 0),
      ...(lastRowAtMs === 0 ? {} : { lastRowAtMs }),
      inputs,
      ...(this.#writes ? { disk: this.#diskFigures() } : {}),
    };
  }

  #diskFigures(): DiskFigures {
    const { coversMs, sums } = this.#wear.day(this.#parts.clock().monoMs);
    const { writeBytesPerDay: budgetBytesPerDay } = this.#start.config.buffer;
    return { coversMs, writtenBytes: sums.written ?? 0, budgetBytesPerDay, commitMs: this.#wear.commitMs };
  }
}

function outboxLimits({ maxBytes, maxAgeHours, joinMs, retainAckedHours }: BufferConfig) {
  return { maxBytes, joinMs, maxAgeMs: maxAgeHours * HOUR_MS, keepAckedMs: retainAckedHours * HOUR_MS };
}

function asJson(saved: unknown): JsonValue {
  return JSON.parse(JSON.stringify(saved)) as JsonValue;
}
