import { createCipheriv, createDecipheriv, scryptSync } from "node:crypto";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer, oneOf, validator } from "@bellwether/protocol/schema.ts";
import { type KeyPair, keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { type Static, Type } from "typebox";

/** The roles whose keys never come near a server. */
export const OFFLINE_ROLES = ["root", "targets"] as const;
export type OfflineRole = (typeof OFFLINE_ROLES)[number];

const hex = (bytes: number) => Type.String({ pattern: `^[0-9a-f]{${bytes * 2}}$` });
const facts = { v: Type.Literal(1), role: oneOf(OFFLINE_ROLES), publicKey: hex(32) };
const closed = { additionalProperties: false } as const;
const PlainKey = Type.Object({ ...facts, seed: hex(32) }, closed);
const SealedKey = Type.Object(
  {
    ...facts,
    /** Cost of guessing: kept with the key, so that it can be raised for later ones. */
    scrypt: Type.Object({ n: integer({ minimum: 2 ** 14, maximum: 2 ** 20 }), salt: hex(16) }, closed),
    nonce: hex(12),
    /** The seed under AES-256-GCM, and the tag. */
    box: hex(48),
  },
  closed,
);
export type KeyFile = Static<typeof PlainKey> | Static<typeof SealedKey>;
const keyFile = validator("The key", Type.Union([PlainKey, SealedKey]));

const SCRYPT_N = 2 ** 17;

/** An offline key as its file holds it. */
export interface OfflineKey {
  readonly role: OfflineRole;
  readonly pair: KeyPair;
}

/** The text of a key's file: in the clear, or sealed with a passphrase under this salt and nonce. */
export function keyFileText(
  { role, pair }: OfflineKey,
  seal?: { readonly passphrase: string; readonly salt: Uint8Array; readonly nonce: Uint8Array },
): string {
  const publicKey = Buffer.from(pair.publicKey).toString("hex");
  const own = { v: 1 as const, role, publicKey };
  if (!seal) return textOf({ ...own, seed: Buffer.from(pair.seed).toString("hex") });
  const scrypt = { n: SCRYPT_N, salt: Buffer.from(seal.salt).toString("hex") };
  const cipher = createCipheriv("aes-256-gcm", keyOf(seal.passphrase, scrypt), seal.nonce);
  cipher.setAAD(Buffer.from(`${role} ${publicKey}`));
  const box = Buffer.concat([cipher.update(pair.seed), cipher.final(), cipher.getAuthTag()]).toString("hex");
  return textOf({ ...own, scrypt, nonce: Buffer.from(seal.nonce).toString("hex"), box });
}

/** Reads a key's file without opening it. */
export function readKeyFile(text: string, file: string): Result<KeyFile> {
  const read = keyFile.parse(text);
  return read.ok ? read : err("KEY_FILE_WRONG", { file, reason: read.error.message });
}

/** Whether a passphrase is needed. */
export function isSealed(key: KeyFile): key is Static<typeof SealedKey> {
  return "box" in key;
}

/** Opens a key. The public half must be the seed's: a file put together from two would sign what nobody accepts. */
export function openKeyFile(key: KeyFile, file: string, passphrase: string | undefined): Result<OfflineKey> {
  const seed = isSealed(key) ? unsealed(key, passphrase ?? "") : Buffer.from(key.seed, "hex");
  if (!seed) return err("KEY_FILE_WRONG", { file, reason: "the passphrase does not open it" });
  const pair = keyPairOf(seed);
  if (Buffer.from(pair.publicKey).toString("hex") !== key.publicKey)
    return err("KEY_FILE_WRONG", { file, reason: "its halves do not belong together" });
  return ok({ role: key.role, pair });
}

function unsealed(key: Static<typeof SealedKey>, passphrase: string): Buffer | undefined {
  const box = Buffer.from(key.box, "hex");
  const decipher = createDecipheriv("aes-256-gcm", keyOf(passphrase, key.scrypt), Buffer.from(key.nonce, "hex"));
  decipher.setAAD(Buffer.from(`${key.role} ${key.publicKey}`));
  decipher.setAuthTag(box.subarray(32));
  try {
    return Buffer.concat([decipher.update(box.subarray(0, 32)), decipher.final()]);
  } catch {
    return undefined;
  }
}

function keyOf(passphrase: string, { n, salt }: { readonly n: number; readonly salt: string }): Buffer {
  // scrypt needs 128 * N * r bytes.
  return scryptSync(passphrase, Buffer.from(salt, "hex"), 32, { N: n, r: 8, p: 1, maxmem: 256 * n * 8 });
}

function textOf(key: KeyFile): string {
  return `${JSON.stringify(key, undefined, 1)}\n`;
}
