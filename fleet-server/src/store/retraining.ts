import type { Result } from "@bellwether/protocol/result.ts";
import type { Retraining, RetrainingChange, RetrainingPolicy } from "../retraining/job.ts";

export interface RetrainingStore {
  putPolicy(args: { readonly policy: RetrainingPolicy }): Promise<RetrainingPolicy>;
  removePolicy(args: { readonly model: string; readonly cohort: string }): Promise<boolean>;
  policies(args: Record<string, never>): Promise<RetrainingPolicy[]>;
  /** Keeps a new one; `CONFLICT` while another of the same model and cohort is open. */
  add(args: { readonly retraining: Retraining }): Promise<Result<Retraining>>;
  /** Moves one on, only from the phase it was read in: `CONFLICT` when it moved meanwhile. */
  move(args: {
    readonly id: string;
    readonly from: Retraining["phase"];
    readonly change: RetrainingChange;
    readonly nowMs: number;
  }): Promise<Result<Retraining>>;
  get(args: { readonly id: string }): Promise<Retraining | undefined>;
  /** Newest first. */
  list(args: {
    readonly model?: string;
    readonly cohort?: string;
    readonly open?: boolean;
    readonly before?: string;
    readonly limit: number;
  }): Promise<Retraining[]>;
}
