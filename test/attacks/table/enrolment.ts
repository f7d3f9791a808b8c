import { randomBytes } from "node:crypto";
import { keyPairOf, signBytes } from "@bellwether/protocol/trust/keys.ts";
import { enrolmentBytes } from "@bellwether/protocol/trust/login.ts";
import type { Answer } from "../../kit/bellwether.ts";
import type { EnrolledDevice } from "../../kit/device.ts";
import { type Row, stoppedBy } from "./row.ts";

/** What the rows need of a running server. */
export interface World {
  freshName(): string;
  /** Sends an enrolment. */
  send(request: object): Promise<Answer>;
  /** An order of the administrator, such as `revoke`. */
  order(device: string, what: string): Promise<Answer>;
  tokenOf(site: string): Promise<string>;
  revokeToken(id: string): Promise<unknown>;
  expireToken(id: string): void;
  nonceFor(device: string): Promise<string>;
  /** A device's answer to a nonce; every part of it may be changed to something wrong. */
  answer(device: EnrolledDevice, nonce: string, change?: Partial<EnrolledDevice>): Login;
  login(request: Login): Promise<Answer>;
}

export interface Login {
  readonly device: string;
  readonly nonce: string;
  readonly signatureHex: string;
}

/** What a device asks when it enrols, before it is signed. */
export interface Asked {
  token: string;
  device: string;
  serial?: string;
  seed: Uint8Array;
}
/** Another serial number of the same batch; the token lists 1 to 3. */
const other = ({ serial = "" }: Asked, number: number) => serial.replace(/1$/, String(number));
export const publicHexOf = (seed: Uint8Array) => Buffer.from(keyPairOf(seed).publicKey).toString("hex");

/** The request as it goes over the wire, signed by its own key. */
export function signed({ token, device, serial, seed }: Asked) {
  const publicHex = publicHexOf(seed);
  const named = serial === undefined ? {} : { serial };
  const bytes = enrolmentBytes({ token, device, publicHex, ...named });
  return {
    token,
    device,
    ...named,
    key: { type: "ed25519", publicHex },
    signatureHex: signBytes(bytes, seed).toString("hex"),
  };
}

/** S + L: the same signature to a verifier that does not look. */
function malleated(signatureHex: string): string {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const little = (hex: string) => BigInt(`0x${Buffer.from(hex, "hex").reverse().toString("hex")}`);
  const s = (little(signatureHex.slice(64)) + order).toString(16).padStart(64, "0");
  return signatureHex.slice(0, 64) + Buffer.from(s, "hex").reverse().toString("hex");
}

/** A second device of the batch, honest. */
const next = (asked: Asked, { freshName }: World, number = 2): Asked => ({
  ...asked,
  device: freshName(),
  serial: other(asked, number),
  seed: randomBytes(32),
});

/** The request (or the world) after the unmodified one was accepted. */
export interface EnrolmentRow extends Row {
  readonly bend: (asked: Asked, world: World, tokenId: string) => Promise<object> | object;
}

export const ENROLMENT: readonly EnrolmentRow[] = [
  ...stoppedBy<EnrolmentRow>("one transaction judges the token and spends it; only its hash is kept", [
    {
      attack: "a token nobody made",
      code: "ENROLMENT_REFUSED",
      bend: (asked) => signed({ ...asked, token: `${asked.token}x` }),
    },
    {
      attack: "a token that was revoked",
      code: "ENROLMENT_TOKEN_REVOKED",
      bend: async (asked, world, id) => {
        await world.revokeToken(id);
        return signed(next(asked, world));
      },
    },
    {
      attack: "a token that has expired",
      code: "ENROLMENT_TOKEN_EXPIRED",
      bend: (asked, world, id) => {
        world.expireToken(id);
        return signed(next(asked, world));
      },
    },
    {
      attack: "a token whose uses are spent",
      code: "ENROLMENT_TOKEN_USED_UP",
      bend: async (asked, world) => {
        await world.send(signed(next(asked, world)));
        return signed(next(asked, world, 3));
      },
    },
    {
      attack: "a serial number that is not listed",
      code: "ENROLMENT_SERIAL_UNLISTED",
      bend: (asked, world) => signed(next(asked, world, 9)),
    },
    {
      attack: "no serial number where they are listed",
      code: "ENROLMENT_SERIAL_UNLISTED",
      bend: ({ token }, { freshName }) => signed({ token, device: freshName(), seed: randomBytes(32) }),
    },
  ]),
  ...stoppedBy<EnrolmentRow>("the request is signed by the key that it brings", [
    {
      attack: "a key that somebody else holds",
      code: "ENROLMENT_SIGNATURE_INVALID",
      bend: (asked, world) => ({
        ...signed(next(asked, world)),
        key: { type: "ed25519", publicHex: publicHexOf(randomBytes(32)) },
      }),
    },
    {
      attack: "the signature of another request",
      code: "ENROLMENT_SIGNATURE_INVALID",
      bend: (asked, { freshName }) => ({ ...signed(asked), device: freshName() }),
    },
    {
      attack: "a malleated signature",
      code: "ENROLMENT_SIGNATURE_INVALID",
      bend: (asked) => {
        const request = signed(asked);
        return { ...request, signatureHex: malleated(request.signatureHex) };
      },
    },
    {
      attack: "a key of small order, whose signatures anybody can make",
      code: "KEY_INVALID",
      bend: (asked) => ({ ...signed(asked), key: { type: "ed25519", publicHex: `01${"00".repeat(31)}` } }),
    },
  ]),
  ...stoppedBy<EnrolmentRow>("a key is one device's, for ever", [
    {
      attack: "the key of another device",
      code: "KEY_IN_USE",
      bend: (asked, { freshName }) => signed({ ...asked, device: freshName(), serial: other(asked, 2) }),
    },
    {
      attack: "one key under two serial numbers",
      code: "KEY_IN_USE",
      bend: (asked) => signed({ ...asked, serial: other(asked, 2) }),
    },
    {
      attack: "a wiped device's old key",
      code: "KEY_IN_USE",
      bend: async (asked, { order }) => {
        await order(asked.device, "reset");
        return signed(asked);
      },
    },
  ]),
  ...stoppedBy<EnrolmentRow>("a name belongs to one key, one site and one serial number", [
    {
      attack: "another device's name",
      code: "DEVICE_NAME_TAKEN",
      bend: (asked) => signed({ ...asked, seed: randomBytes(32) }),
    },
    {
      attack: "another site's device's name",
      code: "DEVICE_NAME_TAKEN",
      bend: async (asked, { tokenOf }) => signed({ ...asked, token: await tokenOf("plant-b") }),
    },
    {
      attack: "the name where the feed begins",
      code: "DEVICE_NAME_TAKEN",
      bend: (asked, world) => signed({ ...next(asked, world), device: "feed" }),
    },
    {
      attack: "another device's serial number",
      code: "SERIAL_TAKEN",
      bend: (asked, { freshName }) => signed({ ...asked, device: freshName(), seed: randomBytes(32) }),
    },
    {
      attack: "a device that was revoked, again",
      code: "DEVICE_REVOKED",
      bend: async (asked, { order }) => {
        await order(asked.device, "revoke");
        return signed({ ...asked, seed: randomBytes(32) });
      },
    },
    {
      attack: "a wiped device's name for another machine",
      code: "SERIAL_DIFFERS",
      bend: async (asked, { order }) => {
        await order(asked.device, "reset");
        return signed({ ...asked, serial: other(asked, 2), seed: randomBytes(32) });
      },
    },
  ]),
];

/** What is done to the device, or to its answer to a nonce, after it has logged in. */
export interface LoginRow extends Row {
  readonly bend: (device: EnrolledDevice, world: World) => Promise<Login>;
}
const freshAnswer = async (device: EnrolledDevice, world: World, change: Partial<EnrolledDevice> = {}) =>
  world.answer(device, await world.nonceFor(device.device), change);

export const LOGIN: readonly LoginRow[] = [
  ...stoppedBy<LoginRow>("the device's phase is asked at every login and every request", [
    {
      attack: "a login after the device was revoked",
      code: "DEVICE_REVOKED",
      bend: async (device, world) => {
        await world.order(device.device, "revoke");
        return await freshAnswer(device, world);
      },
    },
    {
      attack: "a login after the device was reset",
      code: "DEVICE_WIPED",
      bend: async (device, world) => {
        await world.order(device.device, "reset");
        return await freshAnswer(device, world);
      },
    },
  ]),
  ...stoppedBy<LoginRow>("a signature over broker, device and a nonce that serves once", [
    {
      attack: "a login with another key",
      code: "DEVICE_LOGIN_REFUSED",
      bend: (device, world) => freshAnswer(device, world, { seed: randomBytes(32) }),
    },
    {
      attack: "a login signed for another broker",
      code: "DEVICE_LOGIN_REFUSED",
      bend: (device, world) => freshAnswer(device, world, { brokerId: "bw-another-broker" }),
    },
    {
      attack: "a login with another device's nonce",
      code: "DEVICE_LOGIN_REFUSED",
      bend: async (device, world) => world.answer(device, await world.nonceFor(world.freshName())),
    },
    {
      attack: "a login with a nonce that served (replay)",
      code: "DEVICE_LOGIN_REFUSED",
      bend: async (device, world) => {
        const used = await freshAnswer(device, world);
        await world.login(used);
        return used;
      },
    },
    {
      attack: "a login with a malleated signature",
      code: "DEVICE_LOGIN_REFUSED",
      bend: async (device, world) => {
        const whole = await freshAnswer(device, world);
        return { ...whole, signatureHex: malleated(whole.signatureHex) };
      },
    },
  ]),
];
