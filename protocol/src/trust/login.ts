import { canonicalBytes } from "./canonical.ts";
import { verifyBytes } from "./keys.ts";

/**
 * What a device signs to enrol: its name, its key and the token, under a context of its own, so that no signature made
 * for one purpose can serve another.
 */
export function enrolmentBytes(request: { token: string; device: string; publicHex: string; serial?: string }): Buffer {
  const { token, device, publicHex, serial } = request;
  return canonicalBytes({ context: "bellwether/enrolment/v1", token, device, publicHex, serial });
}

/**
 * What a device signs to log in: which broker it means (a signature shown to one broker must not open another), who it
 * is, and the broker's nonce (fresh without any clock on the device).
 */
export function loginBytes(brokerId: string, device: string, nonce: string): Buffer {
  return canonicalBytes({ context: "bellwether/login/v1", brokerId, device, nonce });
}

/** What a device signs to have its key forgotten; a signature of a login must not wipe it. */
export function wipeBytes(brokerId: string, device: string, nonce: string): Buffer {
  return canonicalBytes({ context: "bellwether/wipe/v1", brokerId, device, nonce });
}

/** What a device signs, with its old key and with the new one, to go over to the new one. */
export function rotationBytes(brokerId: string, device: string, nonce: string, newPublicHex: string): Buffer {
  return canonicalBytes({ context: "bellwether/rotation/v1", brokerId, device, nonce, newPublicHex });
}

/** Verifies a hex signature over login or enrolment bytes; anything malformed is false. */
export function verifyHex(bytes: Uint8Array, signatureHex: string, publicKey: Uint8Array): boolean {
  return /^[0-9a-f]{128}$/.test(signatureHex) && verifyBytes(bytes, Buffer.from(signatureHex, "hex"), publicKey);
}
