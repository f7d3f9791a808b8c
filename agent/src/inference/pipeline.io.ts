import type { MessagePort, Worker } from "node:worker_threads";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { BaselineReport, CarriedBaseline } from "@bellwether/protocol/messages/baseline.ts";
import type { AckMessage, EventRecord } from "@bellwether/protocol/messages/stream.ts";
import type { OutboxChunk, OutboxPositions } from "../buffer/outbox.ts";
import { BEAT, type Beat, readBeat } from "../health/watchdog.ts";
import type { AssetChannels } from "../inputs/input.ts";
import type { HostedModel } from "./hosted-session.io.ts";
import type {
  ActiveModel,
  FromPipeline,
  ModelFigures,
  ModelOutcome,
  PipelineFigures,
  PipelineStart,
  ToPipeline,
} from "./pipeline.ts";

/** What the pipeline says unasked. */
export interface PipelineEvents {
  /** A new epoch was drawn: the link opens its session again. */
  readonly onEpoch: () => void;
  readonly onBaseline?: (report: BaselineReport) => void;
  readonly onProblem: (where: string, problem: Problem) => void;
  readonly onEnded: (input: string) => void;
  /** The pipeline is over: the process must end. */
  readonly onFatal: (problem: Problem) => void;
}

/** The main thread's handle of the pipeline worker. Every method returns at once or a promise; none waits for SQLite. */
export interface Pipeline {
  /** Channels that the inputs feed, by asset. */
  readonly channels: readonly AssetChannels[];
  /** How the models of the start were opened. */
  readonly outcomes: readonly ModelOutcome[];
  /** `hosted`: sessions of them that stay in the threads that opened them. */
  serve(active: readonly ActiveModel[], hosted?: readonly HostedModel[]): Promise<readonly ModelOutcome[]>;
  /** The next batches, as soon as there are any. A newer take or `open` answers an open one with nothing. */
  take(maxBytes: number): Promise<readonly OutboxChunk[]>;
  open(): Promise<OutboxPositions>;
  setOnline(online: boolean): void;
  ack(ack: AckMessage): void;
  event(record: EventRecord): void;
  /** Takes up what a replaced device knew of an asset. */
  adopt(carried: CarriedBaseline): void;
  /** The figures as they were at most a second ago; undefined before the first. */
  lastFigures(): PipelineFigures | undefined;
  figures(): Promise<PipelineFigures>;
  statsOf(model: string): Promise<ModelFigures | undefined>;
  /** Stops the inputs; everything taken is durable when it resolves. */
  quiet(): Promise<void>;
  /** Closes the outbox and ends the thread. */
  close(): Promise<void>;
  /** One look at the heartbeat. */
  beat(): Beat;
  /** The slot a heartbeat's model index means. */
  slotOf(index: number): string | undefined;
}

type Answer = Extract<FromPipeline, { readonly request: number }>;

/**
 * Starts the pipeline worker; resolves when its outbox is open and its inputs run, or with what stood in the way. An
 * abort before that ends the thread: a start may take long (a file of gigabytes names its assets, a model loads), and
 * nothing was taken yet that could be lost.
 */
export function startPipeline(
  spawn: (start: PipelineStart) => Worker,
  start: Omit<PipelineStart, "beat">,
  events: PipelineEvents,
  signal?: AbortSignal,
): Promise<Pipeline | Problem> {
  const beat = new SharedArrayBuffer(4 * BEAT.length);
  const worker = spawn({ ...start, beat });
  return new PipelineClient(worker, new Int32Array(beat), events, signal).ready;
}

class PipelineClient implements Pipeline {
  channels: readonly AssetChannels[] = [];
  outcomes: readonly ModelOutcome[] = [];
  readonly ready: Promise<Pipeline | Problem>;
  readonly #worker: Worker;
  readonly #beat: Int32Array;
  readonly #events: PipelineEvents;
  readonly #slots = new Map<number, string>();
  readonly #waiting = new Map<number, (answer: Answer | undefined) => void>();
  #request = 0;
  #takeRequest: number | undefined;
  #figures: PipelineFigures | undefined;
  #closed = false;
  #settleReady: ((ready: Pipeline | Problem) => void) | undefined;

  constructor(worker: Worker, beat: Int32Array, events: PipelineEvents, signal?: AbortSignal) {
    this.#worker = worker;
    this.#beat = beat;
    this.#events = events;
    this.ready = new Promise((settle) => {
      this.#settleReady = settle;
    });
    worker.on("message", (message: FromPipeline) => this.#receive(message));
    worker.on("error", (cause) => this.#over(String(cause instanceof Error ? (cause.stack ?? cause) : cause)));
    worker.on("exit", (code) => {
      if (!this.#closed) this.#over(`the thread ended with code ${code}`);
    });
    const abort = () => void this.#giveUp();
    signal?.addEventListener("abort", abort, { once: true });
    void this.ready.then(() => signal?.removeEventListener("abort", abort));
  }

  async #giveUp(): Promise<void> {
    this.#closed = true;
    await this.#worker.terminate();
    this.#settleReady?.(problem("PIPELINE_ENDED", { reason: "the agent was asked to stop" }));
  }

  async serve(active: readonly ActiveModel[], hosted: readonly HostedModel[] = []): Promise<readonly ModelOutcome[]> {
    const ports = hosted.map(({ port }) => port);
    const answer = this.#ask("models", (request) => ({ kind: "models", request, active, hosted }), ports);
    return (await answer).outcomes;
  }

  async take(maxBytes: number): Promise<readonly OutboxChunk[]> {
    this.#dropTake();
    const answer = this.#ask("chunks", (request) => {
      this.#takeRequest = request;
      return { kind: "take", request, maxBytes };
    });
    return (await answer.catch(() => ({ chunks: [] }))).chunks;
  }

  async open(): Promise<OutboxPositions> {
    this.#dropTake();
    return (await this.#ask("positions", (request) => ({ kind: "open", request }))).positions;
  }

  setOnline(online: boolean): void {
    this.#post({ kind: "online", online });
  }

  ack(ack: AckMessage): void {
    this.#post({ kind: "ack", ack });
  }

  event(record: EventRecord): void {
    this.#post({ kind: "event", record });
  }

  adopt(carried: CarriedBaseline): void {
    this.#post({ kind: "adopt", carried });
  }

  lastFigures(): PipelineFigures | undefined {
    return this.#figures;
  }

  async figures(): Promise<PipelineFigures> {
    return (await this.#ask("figures", (request) => ({ kind: "figures", request }))).figures;
  }

  async statsOf(model: string): Promise<ModelFigures | undefined> {
    return (await this.figures()).models.find((figures) => figures.model === model);
  }

  async quiet(): Promise<void> {
    await this.#ask("quiet", (request) => ({ kind: "quiet", request }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#ask("closed", (request) => ({ kind: "close", request }));
  }

  beat(): Beat {
    return readBeat(this.#beat);
  }

  slotOf(index: number): string | undefined {
    return this.#slots.get(index);
  }

  #post(message: ToPipeline, transferred: readonly MessagePort[] = []): void {
    this.#worker.postMessage(message, transferred);
  }

  #ask<K extends Answer["kind"]>(
    kind: K,
    message: (request: number) => ToPipeline,
    transferred: readonly MessagePort[] = [],
  ): Promise<Extract<Answer, { readonly kind: K }>> {
    const request = ++this.#request;
    return new Promise((settle, refuse) => {
      this.#waiting.set(request, (answer) => {
        if (answer?.kind === kind) settle(answer as Extract<Answer, { readonly kind: K }>);
        else refuse(new Error(`the pipeline gave up ${kind}`));
      });
      this.#post(message(request), transferred);
    });
  }

  /** Batches that come for a forgotten take are dropped here: they are offered again when a session opens. */
  #dropTake(): void {
    if (this.#takeRequest === undefined) return;
    const settle = this.#waiting.get(this.#takeRequest);
    this.#waiting.delete(this.#takeRequest);
    this.#takeRequest = undefined;
    settle?.(undefined);
  }

  #receive(message: FromPipeline): void {
    switch (message.kind) {
      case "ready":
        this.channels = message.channels;
        this.outcomes = message.outcomes;
        this.#settleReady?.(this);
        return;
      case "slot":
        this.#slots.set(message.index, message.slotDir);
        return;
      case "baseline":
        this.#events.onBaseline?.(message.report);
        return;
      case "epoch":
        this.#events.onEpoch();
        return;
      case "problem":
        this.#events.onProblem(message.where, message.problem);
        return;
      case "ended":
        this.#events.onEnded(message.input);
        return;
      case "fatal":
        this.#closed = true;
        this.#settleReady?.(message.problem);
        this.#events.onFatal(message.problem);
        return;
      case "present":
        this.#figures = message.figures;
        return;
      default:
        this.#settle(message);
    }
  }

  #settle(answer: Answer): void {
    if (answer.request === this.#takeRequest) this.#takeRequest = undefined;
    const settle = this.#waiting.get(answer.request);
    this.#waiting.delete(answer.request);
    settle?.(answer);
  }

  #over(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    const fatal = problem("PIPELINE_ENDED", { reason });
    for (const settle of this.#waiting.values()) settle(undefined);
    this.#waiting.clear();
    this.#settleReady?.(fatal);
    this.#events.onFatal(fatal);
  }
}
