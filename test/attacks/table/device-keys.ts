import { randomBytes } from "node:crypto";
import { signBytes } from "@bellwether/protocol/trust/keys.ts";
import { rotationBytes } from "@bellwether/protocol/trust/login.ts";
import type { EnrolledDevice } from "../../kit/device.ts";
import { publicHexOf } from "./enrolment.ts";
import { type Row, stoppedBy } from "./row.ts";

/** What the rows need of a running server. */
export interface KeysWorld {
  /** Another device. */
  enrol(): Promise<EnrolledDevice>;
  nonceFor(device: EnrolledDevice): Promise<string>;
  revoke(device: EnrolledDevice): Promise<unknown>;
  /** Spends a nonce by logging in. */
  logIn(device: EnrolledDevice, nonce: string): Promise<void>;
}

/** A request for a new key, whole; every signature may be somebody else's. */
export function rotationOf(
  device: EnrolledDevice,
  nonce: string,
  seed: Uint8Array,
  change: { readonly old?: Uint8Array; readonly fresh?: Uint8Array } = {},
) {
  const newPublicHex = publicHexOf(seed);
  const bytes = rotationBytes(device.brokerId, device.device, nonce, newPublicHex);
  const by = (key: Uint8Array) => signBytes(bytes, key).toString("hex");
  const signatures = { signatureHex: by(change.old ?? device.seed), newSignatureHex: by(change.fresh ?? seed) };
  return { device: device.device, nonce, newPublicHex, ...signatures };
}

/** A device that has changed its key once, from `old`; the next change is the attack. */
export interface RotationRow extends Row {
  readonly bend: (device: EnrolledDevice, old: Uint8Array, world: KeysWorld) => Promise<object>;
}
const rotation = async (
  world: KeysWorld,
  device: EnrolledDevice,
  seed: Uint8Array = randomBytes(32),
  change: Parameters<typeof rotationOf>[3] = {},
) => rotationOf(device, await world.nonceFor(device), seed, change);

export const ROTATION: readonly RotationRow[] = [
  ...stoppedBy<RotationRow>("the old and the new key sign device, broker, a nonce that serves once and the new key", [
    {
      attack: "a new key that is not signed by the key it replaces",
      code: "DEVICE_LOGIN_REFUSED",
      bend: (device, _, world) => rotation(world, device, undefined, { old: randomBytes(32) }),
    },
    {
      attack: "a new key that is signed by the key before the one it replaces",
      code: "DEVICE_LOGIN_REFUSED",
      bend: (device, old, world) => rotation(world, device, undefined, { old }),
    },
    {
      attack: "a new key that nobody proved to hold",
      code: "DEVICE_LOGIN_REFUSED",
      bend: (device, _, world) => rotation(world, device, undefined, { fresh: randomBytes(32) }),
    },
    {
      attack: "another new key than was signed",
      code: "DEVICE_LOGIN_REFUSED",
      bend: async (device, _, world) => ({
        ...(await rotation(world, device)),
        newPublicHex: publicHexOf(randomBytes(32)),
      }),
    },
    {
      attack: "a new key with a nonce that served (replay)",
      code: "DEVICE_LOGIN_REFUSED",
      bend: async (device, _, world) => {
        const nonce = await world.nonceFor(device);
        await world.logIn(device, nonce);
        return rotationOf(device, nonce, randomBytes(32));
      },
    },
  ]),
  ...stoppedBy<RotationRow>("points of small order are refused, and every key is one device's, for ever", [
    {
      attack: "a new key of small order",
      code: "KEY_INVALID",
      bend: async (device, _, world) => ({ ...(await rotation(world, device)), newPublicHex: "00".repeat(32) }),
    },
    {
      attack: "another device's key as the new one",
      code: "KEY_IN_USE",
      bend: async (device, _, world) => rotation(world, device, (await world.enrol()).seed),
    },
    {
      attack: "a key it had before as the new one",
      code: "KEY_IN_USE",
      bend: (device, old, world) => rotation(world, device, old),
    },
  ]),
  ...stoppedBy<RotationRow>("the device's phase is asked at every request", [
    {
      attack: "a new key of a device that was revoked",
      code: "DEVICE_REVOKED",
      bend: async (device, _, world) => {
        await world.revoke(device);
        return rotation(world, device);
      },
    },
  ]),
];
