import type { AuditEntry, AuditFacts } from "@bellwether/protocol/audit.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import type { Role } from "../api/caller.ts";

/** A token as it is kept: never the secret, only its SHA-256. */
export interface TokenRecord {
  readonly id: string;
  readonly name: string;
  readonly roles: readonly Role[];
  /** Undefined: every site. */
  readonly sites?: readonly string[];
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly expiresAtMs?: number;
  readonly lastUsedAtMs?: number;
  readonly revokedAtMs?: number;
}

/** Where an idempotency key stands. */
export type KeyPhase =
  | { readonly kind: "first" }
  | { readonly kind: "reused" }
  | { readonly kind: "running" }
  | { readonly kind: "interrupted" }
  | { readonly kind: "kept"; readonly status: number; readonly contentType: string; readonly sealed: Uint8Array };

/** Identity of an idempotent call. */
export interface KeyOf {
  readonly caller: string;
  readonly key: string;
}

export interface GovernanceStore {
  /** Keeps a new token; `CONFLICT` where an unrevoked one has its name. */
  addToken(args: { readonly hash: string; readonly token: TokenRecord }): Promise<Result<TokenRecord>>;
  findToken(args: { readonly hash: string }): Promise<TokenRecord | undefined>;
  getToken(args: { readonly id: string }): Promise<TokenRecord | undefined>;
  /** By id, ascending. */
  listTokens(args: { readonly afterId?: string; readonly limit: number }): Promise<TokenRecord[]>;
  /** `NOT_FOUND`, or `CONFLICT` where it is the last admin token of all sites that is still good. */
  revokeToken(args: { readonly id: string; readonly nowMs: number }): Promise<Result<TokenRecord>>;
  touchToken(args: { readonly id: string; readonly nowMs: number }): Promise<void>;

  /** Keeps that a call is about to be handled. */
  beginCall(args: { readonly intent: string; readonly facts: AuditFacts }): Promise<void>;
  /** Enters the call into the chain and forgets that it was under way. */
  endCall(args: {
    readonly intent: string;
    readonly http: number;
    readonly code: string;
    readonly bodyDigest?: string;
  }): Promise<AuditEntry>;
  /** Enters a call that was never begun. */
  addEntry(args: { readonly facts: AuditFacts; readonly http: number; readonly code: string }): Promise<AuditEntry>;
  /** Enters every call that was begun by an earlier process, as `code`; says how many. */
  endInterrupted(args: { readonly code: string }): Promise<number>;
  /** Entries after a seq, oldest first. */
  listEntries(args: {
    readonly afterSeq: number;
    readonly limit: number;
    readonly operation?: string;
    readonly caller?: string;
    readonly sinceMs?: number;
    readonly untilMs?: number;
  }): Promise<AuditEntry[]>;
  /** The newest entry. */
  lastEntry(args: Record<never, never>): Promise<AuditEntry | undefined>;

  /** Claims a key for the process `run`, forgetting the keys older than `keepMs`. */
  claimKey(
    args: KeyOf & {
      readonly target: string;
      readonly bodyDigest: string;
      readonly run: string;
      readonly nowMs: number;
      readonly keepMs: number;
    },
  ): Promise<KeyPhase>;
  keepAnswer(
    args: KeyOf & { readonly status: number; readonly contentType: string; readonly sealed: Uint8Array },
  ): Promise<void>;
  releaseKey(args: KeyOf): Promise<void>;
}
