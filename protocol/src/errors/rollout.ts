import type { ErrorTable } from "./entry.ts";

/** Errors of rollouts and their gates. */
export const ROLLOUT_ERRORS = {} as const satisfies ErrorTable;
