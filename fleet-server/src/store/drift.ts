import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type { CohortVerdict } from "../drift/verdict.ts";

/** A committed drift window. One asset's window under one model version is kept once, however often it arrives. */
export interface StoredDriftWindow {
  readonly id: number;
  readonly device: string;
  readonly site: string;
  readonly committedAtMs: number;
  readonly hist: boolean;
  readonly record: DriftRecord;
}

export interface DriftStore {
  /** Windows in the order of their commit, after an id. */
  windows(args: {
    readonly device?: string;
    readonly asset?: string;
    readonly model?: string;
    readonly reference?: string;
    readonly sites?: readonly string[];
    /** Windows whose last row lies in this time of their source. */
    readonly fromMs?: number;
    readonly toMs?: number;
    readonly afterId?: number;
    readonly limit: number;
  }): Promise<StoredDriftWindow[]>;
  /** The last id before those committed since then: where to begin to read on from. */
  idBefore(args: { readonly committedAtMs: number }): Promise<number>;
  verdicts(args: { readonly cohort?: string; readonly model?: string }): Promise<CohortVerdict[]>;
  /** What was called of a cohort under a model, newest first. */
  history(args: { readonly cohort: string; readonly model: string; readonly limit: number }): Promise<CohortVerdict[]>;
  /** Keeps where the cohorts stand now under a model, and nothing else; `changed` ones go into the history as well. */
  saveVerdicts(args: {
    readonly model: string;
    readonly verdicts: readonly { readonly verdict: CohortVerdict; readonly changed: boolean }[];
  }): Promise<void>;
}
