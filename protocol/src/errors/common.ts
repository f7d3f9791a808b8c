import type { ErrorTable } from "./entry.ts";

/** Errors that any room may meet. */
export const COMMON_ERRORS = {
  INVALID_JSON: {
    http: 400,
    sentence: "{what} is not valid JSON: {reason}.",
    remedy: "Send one JSON document in UTF-8.",
  },
  INVALID_SHAPE: {
    http: 400,
    sentence: "{what} is wrong at {path}: {expected}.",
    remedy: "Correct that member and try again; nothing was changed.",
  },
  TOO_LARGE: {
    http: 413,
    sentence: "{what} has {actual} {unit}, more than the {limit} allowed.",
    remedy: "Send less at once.",
  },
  NOT_FOUND: {
    http: 404,
    sentence: "There is no {what} named {name}.",
    remedy: "List what exists and check the spelling.",
  },
  CONFLICT: {
    http: 409,
    sentence: "{what} {name} cannot be changed this way now: {reason}.",
    remedy: "Read its current state and decide again.",
  },
  INTERNAL: {
    http: 500,
    sentence: "Something inside failed ({reference}).",
    remedy: "Look for this reference in the log, and report it.",
  },
} as const satisfies ErrorTable;
