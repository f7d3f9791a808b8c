import type { ConfirmRule } from "@bellwether/protocol/trust/director.ts";

/** One model a device is asked to run. */
export interface DesiredModel {
  readonly model: string;
  readonly version: number;
  readonly confirm: ConfirmRule;
  readonly rollout?: string;
  /** Version of the document that first asked for it. */
  readonly assignedIn?: number;
}

/** What is asked of one device, and the newest document that said so. */
export interface DesiredState {
  readonly device: string;
  readonly version: number;
  readonly models: readonly DesiredModel[];
  readonly remove: readonly string[];
  readonly issuedAtMs: number;
}

export interface DirectorStore {
  get(args: { readonly device: string }): Promise<DesiredState | undefined>;
  /** When the oldest document of an active device was issued. */
  oldest(args: Record<string, never>): Promise<{ readonly version: number; readonly issuedAtMs: number } | undefined>;
  /**
   * Changes what is asked of a device and numbers the new document; `set` replaces the model of the same name,
   * `remove` takes it away. With neither, the same wish gets a newer number.
   */
  change(args: {
    readonly device: string;
    readonly set?: Omit<DesiredModel, "assignedIn">;
    readonly remove?: string;
    readonly nowMs: number;
  }): Promise<DesiredState>;
  /** After a restore: moves the numbers of all documents on, so that they are above those devices may have seen. */
  raise(args: { readonly by: number }): Promise<void>;
  /** Gives a device's wish a newer number where the device has seen a document beyond it; answers whether it had. */
  overtake(args: { readonly device: string; readonly nowMs: number }): Promise<boolean>;
}
