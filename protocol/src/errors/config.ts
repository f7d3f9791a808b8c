import type { ErrorTable } from "./entry.ts";

/** Errors of configuration files. */
export const CONFIG_ERRORS = {} as const satisfies ErrorTable;
