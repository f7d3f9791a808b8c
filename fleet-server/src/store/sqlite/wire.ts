/** A command on its way to a store thread. */
export interface StoreCall {
  readonly id: number;
  readonly room: string;
  readonly command: string;
  readonly args: unknown;
}

/** What comes back: the value, or why the command could not run. */
export type StoreReply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly failure: string }
  | { readonly ready: true }
  | { readonly refused: { readonly code: string; readonly message: string; readonly detail: unknown } };

export interface StoreThreadOptions {
  readonly file: string;
  readonly mode: "write" | "read";
}
