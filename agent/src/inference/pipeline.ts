import type { Problem } from "@bellwether/protocol/errors.ts";
import type { BaselineReport, CarriedBaseline } from "@bellwether/protocol/messages/baseline.ts";
import type { AckMessage, EventRecord } from "@bellwether/protocol/messages/stream.ts";
import type { OutboxChunk, OutboxFigures, OutboxPositions } from "../buffer/outbox.ts";
import type { AgentConfig } from "../config/config.ts";
import type { AssetChannels } from "../inputs/input.ts";
import type { OutputOrigin } from "../outputs/output.ts";
import type { HostedModel } from "./hosted-session.io.ts";

/**
 * The words between the main thread (link, update, health) and the pipeline worker (inputs, windows, features,
 * sessions, outbox). Nothing is pushed without bound: batches travel only when the link asked (`take`), and everything
 * else is a state that replaces the one before.
 */

/** A model to run. A slot directory holds manifest.json, model.onnx, reference.json and golden.json, already verified. */
export interface ActiveModel {
  readonly model: string;
  readonly slotDir: string;
  /** While this version is being confirmed: the version before it, which runs on the same rows for comparison. */
  readonly predecessorSlotDir?: string;
  /** A candidate that runs on the same rows and of which nothing comes but its figures and what predictions note. */
  readonly shadowSlotDir?: string;
}

/** What a candidate did as a shadow since its session was opened. */
export interface ShadowFigures {
  readonly digest: string;
  readonly inferences: number;
  readonly errors: number;
  readonly medianLatencyUs: number;
  readonly p99LatencyUs: number;
  readonly compared: number;
  readonly meanDifference?: number;
  readonly agreement?: number;
}

/**
 * What one model did since its session was opened for serving. Only vectors made from rows that an input delivered
 * count: golden vectors, explanations and warm-up never do, so a device without input never shows an inference.
 */
export interface ModelFigures {
  readonly model: string;
  readonly version: number;
  readonly digest: string;
  readonly slotDir: string;
  /** Assets whose channels this model is bound to. */
  readonly assets: readonly string[];
  /** Vectors that gave a prediction; those that did not are `errors`. */
  readonly inferences: number;
  readonly errors: number;
  readonly alerts: number;
  readonly medianLatencyUs: number;
  readonly p99LatencyUs: number;
  readonly sinceMs: number;
  readonly firstAtMs?: number;
  readonly lastAtMs?: number;
  readonly shadow?: ShadowFigures;
}

/** The pipeline's state, posted at most once a second and on request. */
export interface PipelineFigures {
  readonly atMs: number;
  readonly models: readonly ModelFigures[];
  readonly outbox: OutboxFigures;
  readonly rows: number;
  readonly lastRowAtMs?: number;
  readonly inputs: readonly InputFigures[];
  /** What this process has its disk write; absent where the system does not tell. */
  readonly disk?: DiskFigures;
}

/** Bytes written to the disk, beside the budget for a day. */
export interface DiskFigures {
  /** How much of the last 24 hours the figure covers, in ms. */
  readonly coversMs: number;
  readonly writtenBytes: number;
  readonly budgetBytesPerDay: number;
  /** How far commits stand apart now. */
  readonly commitMs: number;
}

/** One input since the agent started. */
export interface InputFigures {
  readonly id: string;
  readonly rows: number;
  readonly lastAtMs?: number;
  /** The newest thing that was wrong with it; it may be over. */
  readonly problem?: Pick<Problem, "code" | "message"> & { readonly atMs: number };
}

export type ToPipeline =
  /** Run exactly these models from the next row on. Answered by `models` with the same request number. */
  | {
      readonly kind: "models";
      readonly request: number;
      readonly active: readonly ActiveModel[];
      /** Sessions of theirs that stay in the threads that opened them; what is not used of them is closed. */
      readonly hosted: readonly HostedModel[];
    }
  /** The link wants up to `maxBytes` of batches; answered by `chunks` as soon as there are any. One take at a time. */
  | { readonly kind: "take"; readonly request: number; readonly maxBytes: number }
  /** A session opens: an open take is forgotten, everything unacknowledged is offered again. Answered by `positions`. */
  | { readonly kind: "open"; readonly request: number }
  /** Whether the server hears us; what is taken while it does not is backfill. */
  | { readonly kind: "online"; readonly online: boolean }
  | { readonly kind: "ack"; readonly ack: AckMessage }
  /** Something the main thread noticed, to be kept in the event stream. */
  | { readonly kind: "event"; readonly record: EventRecord }
  /** What a device that this one replaces knew of an asset. */
  | { readonly kind: "adopt"; readonly carried: CarriedBaseline }
  | { readonly kind: "figures"; readonly request: number }
  /** Stop the inputs and make everything taken durable; answered by `quiet`. Takes and acks are still served. */
  | { readonly kind: "quiet"; readonly request: number }
  /** Close the outbox and end; answered by `closed`. */
  | { readonly kind: "close"; readonly request: number };

/** How opening one model for serving ended. On a failure the model that served before goes on serving. */
export interface ModelOutcome {
  readonly model: string;
  readonly slotDir: string;
  readonly problem?: Problem;
  /** The candidate beside it did not open. */
  readonly shadowProblem?: Problem;
  /** How long the pipeline did not serve while the session opened. Rows wait, none is lost. */
  readonly gapMs?: number;
}

export type FromPipeline =
  /** The outbox is open and the inputs run. */
  | {
      readonly kind: "ready";
      readonly epoch: string;
      readonly channels: readonly AssetChannels[];
      readonly outcomes: readonly ModelOutcome[];
    }
  /** From now on `index` in the heartbeat means this slot; sent before its first native call. */
  | { readonly kind: "slot"; readonly index: number; readonly slotDir: string }
  | { readonly kind: "models"; readonly request: number; readonly outcomes: readonly ModelOutcome[] }
  | { readonly kind: "chunks"; readonly request: number; readonly chunks: readonly OutboxChunk[] }
  | { readonly kind: "positions"; readonly request: number; readonly positions: OutboxPositions }
  | { readonly kind: "figures"; readonly request: number; readonly figures: PipelineFigures }
  /** Every second, unasked. */
  | { readonly kind: "present"; readonly figures: PipelineFigures }
  /** What is normal for an asset has changed: to be kept where a device in this one's place finds it. */
  | { readonly kind: "baseline"; readonly report: BaselineReport }
  /** A new epoch was drawn: the link must open its session again. */
  | { readonly kind: "epoch"; readonly epoch: string }
  /** For the log, and for people who look at the device. The pipeline goes on. */
  | { readonly kind: "problem"; readonly where: string; readonly problem: Problem }
  /** An input has come to its end. */
  | { readonly kind: "ended"; readonly input: string }
  /** The pipeline cannot go on; the process ends with this sentence. */
  | { readonly kind: "fatal"; readonly problem: Problem }
  | { readonly kind: "quiet"; readonly request: number }
  | { readonly kind: "closed"; readonly request: number };

/** What the worker is started with. */
export interface PipelineStart {
  readonly stateDir: string;
  readonly config: AgentConfig;
  readonly active: readonly ActiveModel[];
  /** Shared memory of the heartbeat: `BEAT.length` Int32. */
  readonly beat: SharedArrayBuffer;
  readonly bootId: string;
  /** Who speaks on outputs of the device's own. */
  readonly origin: OutputOrigin;
}
