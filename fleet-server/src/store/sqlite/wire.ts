/** A command by its name, its arguments packed. */
export interface NamedCall {
  readonly room: string;
  readonly command: string;
  readonly args: unknown;
}

/** A command on its way to a store thread. */
export interface StoreCall extends NamedCall {
  readonly id: number;
}

/** What comes back: the value, with what of it is handed over and not copied; or why the command could not run. */
export type StoreReply =
  | { readonly id: number; readonly value: unknown; readonly handedBack?: readonly ArrayBuffer[] }
  | { readonly id: number; readonly failure: string }
  | { readonly ready: true }
  | { readonly refused: { readonly code: string; readonly message: string; readonly detail: unknown } };

export interface StoreThreadOptions {
  readonly file: string;
  readonly mode: "write" | "read";
}
