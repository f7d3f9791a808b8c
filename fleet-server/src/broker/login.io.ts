import { randomBytes } from "node:crypto";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { readPublicKey } from "@bellwether/protocol/trust/keys.ts";
import { loginBytes, verifyHex } from "@bellwether/protocol/trust/login.ts";
import type { DeviceRecord, DevicesStore } from "../store/devices.ts";
import { LoginAdmission } from "./admission.ts";
import {
  claimedDevice,
  DEVICE_TOKEN_LIFE_MS,
  isDeviceToken,
  makeDeviceToken,
  makeNonce,
  nonceExpiry,
} from "./nonce.ts";

/** Proves who a device is: for the broker, and for metadata and blobs over HTTP. */
export interface DeviceLogin {
  readonly brokerId: string;
  /**
   * A nonce for a device to sign; any name gets one, so that nobody learns which devices exist. `LOGINS_BUSY` while more
   * log in than the server can take.
   */
  nonce(device: string): Result<string>;
  /**
   * The device, whatever its phase, when the signature over this broker's nonce is its own, and for the first time. What
   * it signs besides the nonce makes other `bytes` than those of a login.
   */
  prove(device: string, nonce: string, signatureHex: string, bytes?: Uint8Array): Promise<DeviceRecord | undefined>;
  /** The same, of a device that may connect. */
  verify(device: string, nonce: string, signatureHex: string): Promise<DeviceRecord | undefined>;
  /** A short-lived HTTP token for a device that was verified. */
  token(device: DeviceRecord): { readonly token: string; readonly expiresAtMs: number };
  /** Whose token this is; undefined when it is not one of ours, has expired, or the device is no longer active. */
  authenticate(token: string): Promise<DeviceRecord | undefined>;
}

/** Used nonces remembered at most; beyond it logins are refused until the oldest expire. */
const USED_NONCES_MAX = 200_000;
const FORGED_EVERY_MS = 3_600_000;

/** Logins over the store. `secret` never leaves the server; losing it only makes devices log in again. */
export function createDeviceLogin(options: {
  readonly brokerId: string;
  readonly secret: Uint8Array;
  readonly devices: Pick<DevicesStore, "get">;
  /** Somebody answered a nonce in a device's name without its key; told once an hour for each device. */
  onForged?(device: string): void;
  now(): number;
  /** Share of its time that the event loop works. */
  loopShare(): number;
}): DeviceLogin {
  const { brokerId, secret, devices, now, loopShare } = options;
  const admission = new LoginAdmission();
  const used = new Map<string, number>();
  /** When it was last told, by device: no more entries than there are devices. */
  const forged = new Map<string, number>();

  function noteForged(device: string): void {
    if (now() - (forged.get(device) ?? Number.NEGATIVE_INFINITY) < FORGED_EVERY_MS) return;
    forged.set(device, now());
    options.onForged?.(device);
  }

  /** True the first time. Entries are in the order of use, so expired ones stand in front. */
  function spend(nonce: string, expiresAtMs: number): boolean {
    for (const [old, endMs] of used) {
      if (endMs > now()) break;
      used.delete(old);
    }
    if (used.has(nonce) || used.size >= USED_NONCES_MAX) return false;
    used.set(nonce, expiresAtMs);
    return true;
  }

  async function prove(
    device: string,
    nonce: string,
    signatureHex: string,
    bytes: Uint8Array = loginBytes(brokerId, device, nonce),
  ) {
    const expiresAtMs = nonceExpiry(secret, device, nonce, now());
    if (expiresAtMs === undefined) return undefined;
    const record = await devices.get({ device });
    const key = record && readPublicKey(record.publicHex);
    if (!record || !key?.ok) return undefined;
    if (!verifyHex(bytes, signatureHex, key.value)) {
      noteForged(device);
      return undefined;
    }
    if (!spend(nonce, expiresAtMs)) return undefined;
    admission.ended(performance.now());
    return record;
  }

  return {
    brokerId,
    nonce(device) {
      const retryAfterSeconds = admission.begin(performance.now(), loopShare());
      if (retryAfterSeconds !== undefined) return err("LOGINS_BUSY", { retryAfterSeconds });
      return ok(makeNonce(secret, device, randomBytes(16), now()));
    },
    prove,
    async verify(device, nonce, signatureHex) {
      const record = await prove(device, nonce, signatureHex);
      return record?.phase === "active" ? record : undefined;
    },
    token: (device) => ({
      token: makeDeviceToken(secret, device.device, device.publicHex, now()),
      expiresAtMs: now() + DEVICE_TOKEN_LIFE_MS,
    }),
    async authenticate(token) {
      const device = claimedDevice(token);
      const record = device === undefined ? undefined : await devices.get({ device });
      if (record?.phase !== "active") return undefined;
      return isDeviceToken(secret, token, record.publicHex, now()) ? record : undefined;
    },
  };
}
