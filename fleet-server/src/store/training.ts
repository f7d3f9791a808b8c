import type { Problem } from "@bellwether/protocol/errors.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import type { HistoryReport } from "../retraining/history/report.ts";
import type { FleetRequest, HistoryRequest } from "../retraining/history/request.ts";
import type { TrainingPhase, TrainingProgress, TrainingRequest, TrainingSummary } from "../retraining/order.ts";

/** An imported history: where its rows lie, how they were read, what was found. */
export interface HistoryRecord {
  readonly id: string;
  readonly label: string | null;
  /** Digest of the snapshot file. */
  readonly snapshot: string;
  readonly bytes: number;
  readonly request: HistoryRequest | FleetRequest;
  readonly report: HistoryReport;
  readonly createdAtMs: number;
  readonly createdBy: string;
}

/** The version a run made. */
export interface TrainedVersion {
  readonly model: string;
  readonly version: number;
  readonly manifestDigest: string;
}

/** A training run as it is kept. */
export interface TrainingRun {
  readonly id: string;
  /** Id of its history. */
  readonly history: string;
  readonly request: TrainingRequest;
  readonly phase: TrainingPhase;
  readonly progress: TrainingProgress | null;
  readonly summary: TrainingSummary | null;
  readonly result: TrainedVersion | null;
  readonly error: Problem | null;
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly startedAtMs: number | null;
  readonly endedAtMs: number | null;
}

/** What may change of a run. */
export type TrainingRunChange = Partial<
  Pick<TrainingRun, "phase" | "progress" | "summary" | "result" | "error" | "startedAtMs" | "endedAtMs">
>;

/** What the training room keeps: histories and runs; the rows themselves lie in files. */
export interface TrainingStore {
  /** Keeps a history; the same snapshot under the same label again is the one that is there already. */
  addHistory(args: HistoryRecord): Promise<Result<HistoryRecord>>;
  /** A history by id, label or snapshot digest. */
  findHistory(args: { readonly name: string }): Promise<HistoryRecord | undefined>;
  /** Newest first, before the position if one is given. */
  listHistories(args: {
    readonly limit: number;
    readonly before?: Pick<HistoryRecord, "createdAtMs" | "id">;
  }): Promise<HistoryRecord[]>;
  /** Removes a history no run has used. */
  removeHistory(args: { readonly id: string }): Promise<Result<void>>;
  /** Digests of every file a history is made of. */
  filesInUse(args: Record<never, never>): Promise<string[]>;
  /** Adds a queued run unless so many are waiting already. */
  addRun(args: { readonly run: TrainingRun; readonly waitingMax: number }): Promise<Result<TrainingRun>>;
  /** Changes a run that has not ended; the run as it is then. */
  changeRun(args: { readonly id: string; readonly change: TrainingRunChange }): Promise<TrainingRun | undefined>;
  getRun(args: { readonly id: string }): Promise<TrainingRun | undefined>;
  listRuns(args: {
    readonly limit: number;
    readonly before?: string;
    readonly phase?: TrainingPhase;
    readonly model?: string;
  }): Promise<TrainingRun[]>;
  /** The run that has waited longest. */
  nextQueued(args: Record<never, never>): Promise<TrainingRun | undefined>;
  /** At start-up: runs that were under way end as failed, with this problem by run. */
  interruptRunning(args: { readonly problem: Problem; readonly nowMs: number }): Promise<string[]>;
}
