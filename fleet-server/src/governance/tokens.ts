import { createHash } from "node:crypto";
import type { Caller } from "../api/caller.ts";
import type { TokenRecord } from "../store/governance.ts";

/** What every token of people and programs begins with, so that leak scanners and people can tell what it is. */
export const TOKEN_PREFIX = "bwt_";

/** The secret a token's owner keeps, from 32 random bytes. */
export function tokenSecret(random: Uint8Array): string {
  if (random.byteLength !== 32) throw new Error("a token is made of 32 random bytes");
  return TOKEN_PREFIX + Buffer.from(random).toString("base64url");
}

/**
 * What is kept of a secret. A plain SHA-256 is enough: the secret is 256 random bits, there is nothing to guess, and
 * looking up by the hash compares nothing secret in variable time.
 */
export function hashSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** Who calls with this token now; undefined where it is revoked or expired. */
export function callerOf(token: TokenRecord, nowMs: number): Caller | undefined {
  if (token.revokedAtMs !== undefined) return undefined;
  if (token.expiresAtMs !== undefined && nowMs >= token.expiresAtMs) return undefined;
  const { id, name, roles, sites } = token;
  return { kind: "token", id, name, roles, ...(sites === undefined ? {} : { sites }) };
}

/** Whether its owner may see, make or revoke a token of these sites: only within its own. */
export function withinSites(own: readonly string[] | undefined, asked: readonly string[] | undefined): boolean {
  return own === undefined || (asked?.every((site) => own.includes(site)) ?? false);
}
