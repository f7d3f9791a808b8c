import type { ErrorTable } from "./entry.ts";

/** Errors of the agent's inputs, inference, update and buffer. */
export const AGENT_ERRORS = {} as const satisfies ErrorTable;
