import { createHash } from "node:crypto";
import { err, ok, type Result } from "./result.ts";

/** Who did what and when; what of it is known before its outcome. */
export interface AuditFacts {
  readonly atMs: number;
  readonly requestId: string;
  readonly caller: string;
  readonly operation: string;
  /** Method and path. */
  readonly target: string;
  /** "sha256:…" of the body, empty where there was none. */
  readonly bodyDigest: string;
}

/** One link of the chain: `digest` covers every other member, `previous` among them. */
export interface AuditEntry extends AuditFacts {
  /** 1 for the first, without holes. */
  readonly seq: number;
  readonly http: number;
  /** "OK", the error code, or "OUTCOME_UNKNOWN" where the server died over it. */
  readonly code: string;
  readonly previous: string;
  readonly digest: string;
}

/** What the first entry names as its previous. */
export const CHAIN_START = `sha256:${"0".repeat(64)}`;

/** The code of a call that was under way when the server died. */
export const OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN";

/** The entry that follows `last` (undefined for the first). */
export function nextEntry(
  last: Pick<AuditEntry, "seq" | "digest"> | undefined,
  facts: AuditFacts,
  outcome: { readonly http: number; readonly code: string },
): AuditEntry {
  const entry = {
    seq: (last?.seq ?? 0) + 1,
    ...facts,
    http: outcome.http,
    code: outcome.code,
    previous: last?.digest ?? CHAIN_START,
  };
  return { ...entry, digest: entryDigest(entry) };
}

/** SHA-256 over the members as a JSON array in this order: a stable text without any canonicalisation. */
export function entryDigest(entry: Omit<AuditEntry, "digest">): string {
  const { seq, atMs, requestId, caller, operation, target, bodyDigest, http, code, previous } = entry;
  const text = JSON.stringify([1, seq, atMs, requestId, caller, operation, target, bodyDigest, http, code, previous]);
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}

/** How far a chain was verified. */
export interface ChainHead {
  readonly seq: number;
  readonly digest: string;
}

/**
 * Checks that `entries` go on from `from` (undefined: the beginning) without a change, a hole or a swap; gives the new
 * head. A chain cut off at its end looks whole: keep a head elsewhere, and verify from it.
 */
export function verifyChain(from: ChainHead | undefined, entries: Iterable<AuditEntry>): Result<ChainHead> {
  let head: ChainHead = from ?? { seq: 0, digest: CHAIN_START };
  for (const entry of entries) {
    const broken = (reason: string) => err("AUDIT_CHAIN_BROKEN", { seq: entry.seq, reason });
    if (entry.seq !== head.seq + 1) return broken(`it follows entry ${head.seq}`);
    if (entry.previous !== head.digest) return broken("it names another entry as the one before it");
    if (entryDigest(entry) !== entry.digest) return broken("its content does not match its digest");
    head = { seq: entry.seq, digest: entry.digest };
  }
  return ok(head);
}
