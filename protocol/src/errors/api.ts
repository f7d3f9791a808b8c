import type { ErrorTable } from "./entry.ts";

/** Errors of the REST API itself. */
export const API_ERRORS = {} as const satisfies ErrorTable;
