import { randomBytes } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { type KeyPair, keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { writeDurably } from "../files.io.ts";
import type { OnlineKeys } from "./acceptance.ts";

/** The roles for which the server signs by itself, apart from retraining. */
export const ONLINE_ROLES = ["snapshot", "timestamp", "director"] as const;
export type OnlineKeyRole = (typeof ONLINE_ROLES)[number];

/** The online keys below a repository's folder, made where a role has none. Offline keys never lie there. */
export async function openOnlineKeys(dir: string): Promise<OnlineKeys> {
  const keys: Partial<Record<OnlineKeyRole, readonly KeyPair[]>> = {};
  for (const role of ONLINE_ROLES) {
    const files = (await readdir(keysIn(dir)).catch(noFolder)).filter((name) => fileOf(role).test(name)).toSorted();
    const names = files.length > 0 ? files : [`${role}.key`];
    keys[role] = await Promise.all(names.map((name) => openKey(join(keysIn(dir), name))));
  }
  return keys as OnlineKeys;
}

const fileOf = (role: OnlineKeyRole) => new RegExp(`^${role}(\\.[0-9a-f]{8})?\\.key$`);

/** The key of a retraining role, made now where there is none. */
export function openRoleKey(dir: string, role: string): Promise<KeyPair> {
  return openKey(join(keysIn(dir), `${role}.key`));
}

/** Erases the key of a retraining role: what was signed with it is trusted no more. */
export function forgetRoleKey(dir: string, role: string): Promise<void> {
  return rm(join(keysIn(dir), `${role}.key`), { force: true });
}

function keysIn(dir: string): string {
  return join(dir, "keys");
}

async function openKey(path: string): Promise<KeyPair> {
  const kept = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return undefined;
    throw cause;
  });
  const hex = kept ?? `${randomBytes(32).toString("hex")}\n`;
  if (kept === undefined) await writeDurably(path, hex);
  return keyPairOf(Buffer.from(hex.trim(), "hex"));
}

function noFolder(cause: NodeJS.ErrnoException): string[] {
  if (cause.code === "ENOENT") return [];
  throw cause;
}
