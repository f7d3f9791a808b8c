import type { ErrorTable } from "./entry.ts";

/** Errors of history import and training. */
export const HISTORY_ERRORS = {} as const satisfies ErrorTable;
