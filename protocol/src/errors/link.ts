import type { ErrorTable } from "./entry.ts";

/** Errors of wire messages, topics and the MQTT link. */
export const LINK_ERRORS = {} as const satisfies ErrorTable;
