import type { ErrorCode } from "@bellwether/protocol/errors.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import type { Caller } from "./caller.ts";

/** A mutating call as the audit log keeps it. */
export interface AuditedCall {
  readonly requestId: string;
  readonly caller: Caller;
  readonly operation: string;
  /** Method and path with its query: "POST /v1/devices/pump-1/approve". */
  readonly target: string;
  readonly bodyDigest: string | undefined;
  readonly atMs: number;
}

/** How it ended: the HTTP code, and the error code where it failed. */
export interface AuditedOutcome {
  readonly http: number;
  readonly code: ErrorCode | "OK";
  /** Digest of a raw body, known only after it was read. */
  readonly bodyDigest?: string;
}

/**
 * The audit log as the API uses it. `begin` is durable before the handler runs, `end` before the answer is sent; a call
 * that was begun and not ended when the process died is entered as "outcome unknown" at the next start.
 */
export interface AuditSink {
  begin(call: AuditedCall): Promise<string>;
  end(intent: string, outcome: AuditedOutcome): Promise<void>;
  /** Enters a call that was refused before any handler ran. */
  refused(call: AuditedCall, outcome: AuditedOutcome): Promise<void>;
}

/** What makes a repeated POST the same POST. */
export interface IdempotentCall {
  readonly key: string;
  /** The caller's bearer token: the stored answer is sealed with it, for it may hold a secret. */
  readonly token: string;
  readonly caller: string;
  readonly target: string;
  readonly bodyDigest: string | undefined;
  readonly nowMs: number;
}
export interface KeptAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

/** Idempotency keys as the API uses them. */
export interface IdempotencySink {
  /** The kept answer, undefined where this call is the first, or `IDEMPOTENCY_KEY_REUSED`, `…_IN_PROGRESS`, `…_UNKNOWN`. */
  begin(call: IdempotentCall): Promise<Result<KeptAnswer | undefined>>;
  /** Keeps the answer for the repetitions. */
  keep(call: IdempotentCall, answer: KeptAnswer): Promise<void>;
  /** Forgets the key: the call failed inside and may be tried again. */
  release(call: IdempotentCall): Promise<void>;
}
