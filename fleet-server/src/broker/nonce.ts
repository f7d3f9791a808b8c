import { createHmac, timingSafeEqual } from "node:crypto";

/** How long a device has to answer a nonce. */
export const NONCE_LIFE_MS = 120_000;

/**
 * A stateless nonce: expiry and random bytes under an HMAC that also names the device. The server remembers only the
 * ones that were used, and those only until they expire.
 */
export function makeNonce(secret: Uint8Array, device: string, random: Uint8Array, nowMs: number): string {
  const body = `${(nowMs + NONCE_LIFE_MS).toString(36)}.${Buffer.from(random).toString("base64url")}`;
  return `${body}.${mac(secret, device, body)}`;
}

/** Whether this server made the nonce for this device, and when it ends; undefined for any other text. */
export function nonceExpiry(secret: Uint8Array, device: string, nonce: string, nowMs: number): number | undefined {
  const [expiry = "", random = "", tag = "", ...more] = nonce.split(".");
  if (more.length > 0) return undefined;
  const wanted = Buffer.from(mac(secret, device, `${expiry}.${random}`));
  const given = Buffer.from(tag);
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return undefined;
  const expiresAtMs = Number.parseInt(expiry, 36);
  return expiresAtMs > nowMs ? expiresAtMs : undefined;
}

function mac(secret: Uint8Array, device: string, body: string): string {
  return createHmac("sha256", secret).update(`nonce\n${device}\n${body}`).digest("base64url");
}

/** How long a device's token for metadata and blobs lasts. */
export const DEVICE_TOKEN_LIFE_MS = 3_600_000;
const DEVICE_TOKEN_PREFIX = "bwd_";

/** A device's short-lived HTTP token: it names device, key and expiry under an HMAC, and is kept nowhere. */
export function makeDeviceToken(secret: Uint8Array, device: string, publicHex: string, nowMs: number): string {
  const body = `${device}~${(nowMs + DEVICE_TOKEN_LIFE_MS).toString(36)}`;
  return `${DEVICE_TOKEN_PREFIX}${Buffer.from(body).toString("base64url")}.${tokenMac(secret, body, publicHex)}`;
}

/** The device a token claims to be of, before anything is verified. */
export function claimedDevice(token: string): string | undefined {
  if (!token.startsWith(DEVICE_TOKEN_PREFIX)) return undefined;
  const [body = ""] = token.slice(DEVICE_TOKEN_PREFIX.length).split(".");
  return Buffer.from(body, "base64url").toString("utf8").split("~")[0];
}

/** Whether this server made the token for the device with this key, and it still holds. */
export function isDeviceToken(secret: Uint8Array, token: string, publicHex: string, nowMs: number): boolean {
  const [encoded = "", tag = ""] = token.slice(DEVICE_TOKEN_PREFIX.length).split(".");
  const body = Buffer.from(encoded, "base64url").toString("utf8");
  const wanted = Buffer.from(tokenMac(secret, body, publicHex));
  const given = Buffer.from(tag);
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return false;
  return Number.parseInt(body.split("~")[1] ?? "", 36) > nowMs;
}

function tokenMac(secret: Uint8Array, body: string, publicHex: string): string {
  return createHmac("sha256", secret).update(`token\n${publicHex}\n${body}`).digest("base64url");
}
