import type { ErrorTable } from "./entry.ts";

/** Errors of keys, signatures, metadata, enrolment and login. */
export const TRUST_ERRORS = {} as const satisfies ErrorTable;
