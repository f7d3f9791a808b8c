import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import type { Incompatible } from "../rollouts/compatibility.ts";
import type { Execution, ExecutionPhase, Refusal } from "../rollouts/executions.ts";
import type { GateDecision, PredictionSums } from "../rollouts/gates.ts";
import type { RolloutPhase, RolloutState } from "../rollouts/machine.ts";
import type { RolloutPlan } from "../rollouts/plan.ts";

/** A rollout as it is kept. */
export interface RolloutRecord {
  readonly id: string;
  readonly plan: RolloutPlan;
  readonly state: RolloutState;
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly updatedAtMs: number;
}

/** An execution with what its device last said and when it was last heard. */
export interface ExecutionView extends Execution {
  readonly reported: ReportedModel | undefined;
  /** The device's refusal of the document that asked, or of one after it. */
  readonly refusal: Refusal | undefined;
  readonly lastSeenAtMs: number | null;
}

/** A device that a rollout leaves out, with when that was judged. */
export interface IncompatibleRecord extends Incompatible {
  readonly atMs: number;
}

/** A stored gate decision. */
export interface GateRecord extends GateDecision {
  /** In the order in which verdicts changed. */
  readonly id: number;
  readonly wave: number;
  /** When the gate was first decided so, and last; the figures are of the last time. */
  readonly firstAtMs: number;
  readonly atMs: number;
  /** How often in a row it was decided so. */
  readonly times: number;
}

/** Which predictions a gate sums up: those of these devices, committed since, live ones only. */
export interface EvidenceQuery {
  readonly rollout: string;
  readonly model: string;
  readonly digest: string;
  readonly wave: number;
  readonly sinceMs: number;
  readonly untilMs: number;
}

/** What the evidence query answers; percentiles in microseconds. */
export interface EvidenceRows {
  readonly wave: readonly PredictionSums[];
  readonly control: readonly PredictionSums[];
  readonly before: readonly PredictionSums[];
  readonly p95LatencyUs: number | null;
}

export interface RolloutsStore {
  /** Keeps a new rollout, its executions and the devices it leaves out; `CONFLICT` when the id exists. */
  create(args: {
    readonly rollout: RolloutRecord;
    readonly executions: readonly { readonly device: string; readonly wave: number }[];
    readonly incompatible: readonly Incompatible[];
  }): Promise<Result<RolloutRecord>>;
  get(args: { readonly id: string }): Promise<RolloutRecord | undefined>;
  /** Newest first, by id where several were made at one time. */
  list(args: {
    readonly limit: number;
    readonly before?: Pick<RolloutRecord, "createdAtMs" | "id">;
    readonly phase?: RolloutPhase;
    /** Only those that were planned for these sites or some of them. */
    readonly sites?: readonly string[];
  }): Promise<RolloutRecord[]>;
  /** Rollouts the scheduler has to look at. */
  open(args: Record<string, never>): Promise<RolloutRecord[]>;
  /** Keeps a state; false when another update came first (`updatedAtMs` differs from the one read). */
  save(args: {
    readonly id: string;
    readonly state: RolloutState;
    readonly readAtMs: number;
    readonly nowMs: number;
  }): Promise<boolean>;
  executions(args: { readonly id: string }): Promise<ExecutionView[]>;
  /** Devices the rollout leaves out, by name. */
  incompatible(args: { readonly id: string }): Promise<IncompatibleRecord[]>;
  /** Late joiners; those already there are left alone. One that was left out before and fits now is in. */
  addExecutions(args: {
    readonly id: string;
    readonly executions: readonly { readonly device: string; readonly wave: number }[];
    readonly incompatible: readonly Incompatible[];
    readonly nowMs: number;
  }): Promise<number>;
  saveExecutions(args: {
    readonly id: string;
    readonly changes: readonly {
      readonly device: string;
      readonly phase: ExecutionPhase;
      readonly errorCode: string | null;
    }[];
    readonly nowMs: number;
  }): Promise<void>;
  /**
   * Notes that a director document asks a device for the rollout's model (or for the earlier one, when reverting), and
   * takes the device out of every older rollout of the model that still waits for it.
   */
  assigned(args: {
    readonly id: string;
    readonly device: string;
    readonly phase: "inProgress" | "reverting";
    readonly directorVersion: number;
    readonly previous?: Execution["previous"];
    readonly nowMs: number;
  }): Promise<void>;
  /** Keeps decisions; one that repeats the verdict before it, first given after `sinceMs`, is counted there. */
  recordGates(args: {
    readonly id: string;
    readonly wave: number;
    readonly decisions: readonly GateDecision[];
    readonly sinceMs: number;
    readonly nowMs: number;
  }): Promise<void>;
  /** Newest first, before that of this number if one is given. */
  gates(args: { readonly id: string; readonly before?: number; readonly limit: number }): Promise<GateRecord[]>;
  evidence(args: EvidenceQuery): Promise<EvidenceRows>;
  /** Devices of a wave that succeeded but sent no live prediction of this digest since. */
  silent(args: {
    readonly id: string;
    readonly wave: number;
    readonly digest: string;
    readonly sinceMs: number;
  }): Promise<string[]>;
}
