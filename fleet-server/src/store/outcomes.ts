import type { Result } from "@bellwether/protocol/result.ts";
import type { NewOutcome, Outcome } from "../outcomes/outcomes.ts";

export interface OutcomesStore {
  /**
   * Keeps a list whole or not at all; answers it with ids. One that says the same as one that stands is that one: a
   * list that is sent twice is there once.
   */
  add(args: {
    readonly outcomes: readonly NewOutcome[];
    readonly by: string;
    readonly nowMs: number;
  }): Promise<Result<Outcome[]>>;
  /** Takes an outcome back; it stays readable with who took it back and when. */
  retract(args: { readonly id: number; readonly by: string; readonly nowMs: number }): Promise<Result<Outcome>>;
  /** In the order they were recorded. */
  list(args: {
    readonly asset?: string;
    readonly sites?: readonly string[];
    /** Assets that some of these devices sent of. */
    readonly devices?: readonly string[];
    readonly fromMs?: number;
    readonly toMs?: number;
    readonly afterId?: number;
    readonly limit: number;
  }): Promise<Outcome[]>;
}
