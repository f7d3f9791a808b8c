import type { ErrorTable } from "./entry.ts";

/** Errors of devices, cohorts and ingest. */
export const FLEET_ERRORS = {} as const satisfies ErrorTable;
