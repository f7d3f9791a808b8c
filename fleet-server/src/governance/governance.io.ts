import { randomBytes, randomUUID } from "node:crypto";
import { chmod, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { type AuditFacts, OUTCOME_UNKNOWN } from "@bellwether/protocol/audit.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { type Caller, callerName, type Role } from "../api/caller.ts";
import type { AuditedCall, AuditSink, IdempotencySink, KeptAnswer } from "../api/sinks.ts";
import type { GovernanceStore, TokenRecord } from "../store/governance.ts";
import { seal, unseal } from "./seal.ts";
import { callerOf, hashSecret, TOKEN_PREFIX, tokenSecret } from "./tokens.ts";

/** How long a kept answer is repeated. */
export const IDEMPOTENCY_KEEP_MS = 24 * 3_600_000;
/** "Last used" is exact to this. */
const TOUCH_MS = 60_000;
/** Tokens kept in memory; asking the store for each request costs a list of devices a fifth of its processor time. */
const KNOWN_MAX = 1_000;

export interface NewToken {
  readonly name: string;
  readonly roles: readonly Role[];
  readonly sites?: readonly string[];
  readonly expiresAtMs?: number;
  readonly createdBy: string;
  readonly nowMs: number;
}

/** Tokens of people and programs. */
export interface Tokens {
  /** Makes a token; its secret is in this answer and nowhere else. */
  create(token: NewToken): Promise<Result<{ readonly secret: string; readonly token: TokenRecord }>>;
  /** Who calls with this secret; undefined where it is unknown, expired or revoked. */
  authenticate(secret: string, nowMs: number): Promise<Caller | undefined>;
  /** Ends a token for good: once this has answered, no call with it is let in. Nothing else may revoke. */
  revoke(id: string, nowMs: number): Promise<Result<TokenRecord>>;
  /**
   * Sees to it that `file` (0600) holds a good admin token, making one where it does not: the owner of the disk owns
   * the server. True where a new one was made.
   */
  ensureAdminFile(file: string, nowMs: number): Promise<boolean>;
}

/** Tokens over the store. */
export function createTokens(store: GovernanceStore): Tokens {
  const touched = new Map<string, number>();
  const known = new Map<string, TokenRecord>();
  let revocations = 0;
  async function find(hash: string): Promise<TokenRecord | undefined> {
    const remembered = known.get(hash);
    if (remembered) return remembered;
    const before = revocations;
    const found = await store.findToken({ hash });
    // What was read before a revocation may be of a token that is now revoked: it is not remembered.
    if (!found || before !== revocations) return found;
    if (known.size >= KNOWN_MAX) known.clear();
    known.set(hash, found);
    return found;
  }
  async function create(asked: NewToken) {
    const secret = tokenSecret(randomBytes(32));
    const { nowMs, ...rest } = asked;
    const token: TokenRecord = { id: `t-${randomBytes(6).toString("hex")}`, ...rest, createdAtMs: nowMs };
    const added = await store.addToken({ hash: hashSecret(secret), token });
    return added.ok ? ok({ secret, token: added.value }) : added;
  }
  async function authenticate(secret: string, nowMs: number) {
    if (!secret.startsWith(TOKEN_PREFIX)) return undefined;
    const token = await find(hashSecret(secret));
    const caller = token && callerOf(token, nowMs);
    if (token && caller && nowMs - (touched.get(token.id) ?? token.lastUsedAtMs ?? 0) >= TOUCH_MS) {
      touched.set(token.id, nowMs);
      await store.touchToken({ id: token.id, nowMs });
    }
    return caller;
  }
  return {
    create,
    authenticate,
    async revoke(id, nowMs) {
      try {
        return await store.revokeToken({ id, nowMs });
      } finally {
        revocations++;
        known.clear();
      }
    },
    async ensureAdminFile(file, nowMs) {
      const present = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
        if (cause.code === "ENOENT") return "";
        throw cause;
      });
      const caller = present === "" ? undefined : await authenticate(present.trim(), nowMs);
      if (caller?.kind === "token" && caller.roles.includes("admin")) {
        await chmod(file, 0o600);
        return false;
      }
      const name = `admin-file-${randomBytes(4).toString("hex")}`;
      const made = await create({ name, roles: ["admin"], createdBy: "server", nowMs });
      if (!made.ok) throw new Error(made.error.message);
      await writeSecret(file, `${made.value.secret}\n`);
      return true;
    },
  };
}

/** The audit log over the store; first enters what an earlier process left without an outcome. */
export async function createAudit(store: GovernanceStore): Promise<AuditSink> {
  await store.endInterrupted({ code: OUTCOME_UNKNOWN });
  return {
    async begin(call) {
      const intent = randomUUID();
      await store.beginCall({ intent, facts: factsOf(call) });
      return intent;
    },
    end: async (intent, outcome) => void (await store.endCall({ intent, ...outcome })),
    refused: async (call, { http, code, bodyDigest }) => {
      const facts = factsOf(call);
      await store.addEntry({ facts: { ...facts, bodyDigest: bodyDigest ?? facts.bodyDigest }, http, code });
    },
  };
}

function factsOf({ atMs, requestId, caller, operation, target, bodyDigest }: AuditedCall): AuditFacts {
  return { atMs, requestId, caller: callerName(caller), operation, target, bodyDigest: bodyDigest ?? "" };
}

/** Idempotency keys over the store. */
export function createIdempotency(store: GovernanceStore): IdempotencySink {
  const run = randomUUID();
  return {
    async begin({ caller, key, target, bodyDigest = "", token, nowMs }): Promise<Result<KeptAnswer | undefined>> {
      const found = await store.claimKey({ caller, key, target, bodyDigest, run, nowMs, keepMs: IDEMPOTENCY_KEEP_MS });
      if (found.kind === "first") return ok(undefined);
      if (found.kind === "reused") return err("IDEMPOTENCY_KEY_REUSED");
      if (found.kind === "running") return err("IDEMPOTENCY_IN_PROGRESS");
      if (found.kind === "interrupted") return err("IDEMPOTENCY_UNKNOWN");
      const text = unseal(found.sealed, token, key);
      if (text === undefined) throw new Error("a kept answer does not open with the token it was sealed with");
      return ok({ status: found.status, contentType: found.contentType, text });
    },
    async keep({ caller, key, token }, { status, contentType, text }) {
      await store.keepAnswer({ caller, key, status, contentType, sealed: seal(text, token, key, randomBytes(12)) });
    },
    release: ({ caller, key }) => store.releaseKey({ caller, key }),
  };
}

/** Writes a secret: temporary file (0600), fsync, rename, fsync of the folder. */
async function writeSecret(file: string, text: string): Promise<void> {
  const temporary = `${file}.new`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.chmod(0o600);
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  const folder = await open(dirname(file), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
