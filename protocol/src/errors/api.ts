import type { ErrorTable } from "./entry.ts";

/** Errors of the REST API itself, of tokens and of the audit log. */
export const API_ERRORS = {
  UNAUTHENTICATED: {
    http: 401,
    sentence: "This request carries no valid token.",
    remedy: 'Send "Authorization: Bearer <token>" with a token that is neither expired nor revoked.',
  },
  FORBIDDEN: {
    http: 403,
    sentence: "The token's roles do not allow this operation.",
    remedy: "Ask an administrator for a token with the role {role}.",
  },
  ROUTE_NOT_FOUND: {
    http: 404,
    sentence: "There is no such route.",
    remedy: "GET /v1/openapi.json lists every route.",
  },
  METHOD_NOT_ALLOWED: {
    http: 405,
    sentence: "This route does not answer {method}.",
    remedy: "It answers {allowed}.",
  },
  REQUEST_TIMEOUT: {
    http: 408,
    sentence: "The request did not arrive in time.",
    remedy: "Send it again; nothing was changed.",
  },
  INVALID_QUERY: {
    http: 400,
    sentence: "The query parameter {name} is wrong: {expected}.",
    remedy: "Correct it and try again.",
  },
  INVALID_PATH: {
    http: 400,
    sentence: "The path member {name} is wrong: {expected}.",
    remedy: "Correct it and try again.",
  },
  INVALID_HEADER: {
    http: 400,
    sentence: "The header {name} is wrong: {expected}.",
    remedy: "Correct it and try again; nothing was changed.",
  },
  INVALID_CURSOR: {
    http: 400,
    sentence: "The cursor does not belong to this list.",
    remedy: 'Use the "next" of the page before, or leave the cursor out to start at the beginning.',
  },
  BAD_REQUEST: {
    http: 400,
    sentence: "The request cannot be read: {reason}.",
    remedy: "Correct it and try again; nothing was changed.",
  },
  UNSUPPORTED_MEDIA_TYPE: {
    http: 415,
    sentence: "This route does not take a body of the type {actual}.",
    remedy: "Send {expected}.",
  },
  RANGE_NOT_SATISFIABLE: {
    http: 416,
    sentence: "The range lies outside the {length} bytes there are.",
    remedy: "Ask for a range inside it, or for the whole.",
  },
  RATE_LIMITED: {
    http: 429,
    sentence: "Too many requests came from this address.",
    remedy: "Try again in {retryAfterSeconds} seconds.",
  },
  IDEMPOTENCY_KEY_REUSED: {
    http: 409,
    sentence: "This Idempotency-Key was already used with another request.",
    remedy: "Draw a new key for a new request; repeat a key only with the very same body.",
  },
  IDEMPOTENCY_IN_PROGRESS: {
    http: 409,
    sentence: "The first request with this Idempotency-Key is still under way.",
    remedy: "Wait a moment and send it again.",
  },
  IDEMPOTENCY_UNKNOWN: {
    http: 409,
    sentence: "The server stopped while it worked on the first request with this Idempotency-Key.",
    remedy: "Read whether it took effect; then, if needed, send it with a new key.",
  },
  AUDIT_CHAIN_BROKEN: {
    http: 500,
    sentence: "The audit log is not whole at entry {seq}: {reason}.",
    remedy: "Somebody changed the log behind the server; keep the disk as it is and compare it with a backup.",
  },
  VALIDATION_BUSY: {
    http: 503,
    sentence: "The server is too busy with other uploads, or with other work, to validate this one.",
    remedy: "Send the same again in {retryAfterSeconds} seconds: a validation that has begun goes on meanwhile.",
  },
  LOGINS_BUSY: {
    http: 503,
    sentence: "So many devices log in at once that this one would wait for too long.",
    remedy: "Log in at a random moment of the next {retryAfterSeconds} seconds, as agents do.",
  },
  UNAVAILABLE: {
    http: 503,
    sentence: "The server cannot do this now: {reason}.",
    remedy: "Try again later.",
  },
} as const satisfies ErrorTable;
