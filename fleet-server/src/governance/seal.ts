import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto";

// A kept answer may hold a secret (a new token). It is sealed under a key derived from the caller's own token, which the
// repetition brings along and the store never holds: a stolen database gives no answer away. AES-256-GCM, HKDF-SHA256.
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** Seals a text; `iv` is 12 fresh random bytes. */
export function seal(text: string, token: string, key: string, iv: Uint8Array): Uint8Array {
  const cipher = createCipheriv("aes-256-gcm", derive(token, key), iv);
  return Buffer.concat([iv, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
}

/** Opens what `seal` made; undefined where token, key or bytes are others. */
export function unseal(sealed: Uint8Array, token: string, key: string): string | undefined {
  if (sealed.byteLength < IV_BYTES + TAG_BYTES) return undefined;
  const bytes = Buffer.from(sealed);
  const end = bytes.byteLength - TAG_BYTES;
  const decipher = createDecipheriv("aes-256-gcm", derive(token, key), bytes.subarray(0, IV_BYTES));
  decipher.setAuthTag(bytes.subarray(end));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, end)), decipher.final()]).toString("utf8");
  } catch {
    return undefined; // final() throws exactly where the tag does not match
  }
}

function derive(token: string, key: string): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", token, key, "bellwether kept answer", 32));
}
