import { randomBytes } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { type KeyPair, keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { writeDurably } from "../files.io.ts";
import type { OnlineKeys } from "./acceptance.ts";

/** The roles for which the server signs by itself, apart from retraining. */
export const ONLINE_ROLES = ["snapshot", "timestamp", "director"] as const;
export type OnlineKeyRole = (typeof ONLINE_ROLES)[number];

/** The online keys below a repository's folder, the newest of each role last; made where a role has none. */
export async function openOnlineKeys(dir: string): Promise<OnlineKeys> {
  const keys: Partial<Record<OnlineKeyRole, readonly KeyPair[]>> = {};
  for (const role of ONLINE_ROLES) {
    const numbers = await numbersOf(dir, role);
    const names = numbers.length > 0 ? numbers : [1];
    keys[role] = await Promise.all(names.map((number) => openKey(fileOf(dir, role, number))));
  }
  return keys as OnlineKeys;
}

/** Makes one more key of a role, which serves as soon as offline metadata name it. */
export async function addOnlineKey(dir: string, role: OnlineKeyRole): Promise<void> {
  const newest = (await numbersOf(dir, role)).at(-1) ?? 0;
  await openKey(fileOf(dir, role, newest + 1));
}

/** Erases the keys of a role that are older than one that is named, and named no more themselves. */
export async function forgetOnlineKeys(
  dir: string,
  role: OnlineKeyRole,
  isNamed: (publicKey: Uint8Array) => boolean,
): Promise<void> {
  const numbers = await numbersOf(dir, role);
  const named = await Promise.all(
    numbers.map(async (one) => isNamed((await openKey(fileOf(dir, role, one))).publicKey)),
  );
  const newest = named.lastIndexOf(true);
  for (const [index, number] of numbers.entries()) {
    if (index < newest && !named[index]) await rm(fileOf(dir, role, number), { force: true });
  }
}

/** Keys of a role are numbered: `snapshot.key`, `snapshot.2.key`, …. */
async function numbersOf(dir: string, role: OnlineKeyRole): Promise<number[]> {
  const names = await readdir(keysIn(dir)).catch(noFolder);
  return names
    .flatMap((name) => {
      const [found, number] = new RegExp(`^${role}(?:\\.(\\d{1,6}))?\\.key$`).exec(name) ?? [];
      return found === undefined ? [] : [Number(number ?? 1)];
    })
    .toSorted((a, b) => a - b);
}

function fileOf(dir: string, role: OnlineKeyRole, number: number): string {
  return join(keysIn(dir), number === 1 ? `${role}.key` : `${role}.${number}.key`);
}

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
