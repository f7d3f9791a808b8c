import type { ErrorTable } from "./entry.ts";

/** Errors of enrolment, login, and a device's keys. */
export const ENROLMENT_ERRORS = {
  DEVICE_LOGIN_REFUSED: {
    http: 401,
    sentence: "The login is refused.",
    remedy:
      "Fetch a new nonce and sign it with the key of the enrolment; a revoked or pending device must ask its administrator.",
  },
  ENROLMENT_REFUSED: {
    http: 403,
    sentence: "The enrolment is refused.",
    remedy:
      "Ask the fleet's administrator for a new enrolment token; the server's log says why this one does not serve.",
  },
  DEVICE_NAME_TAKEN: {
    http: 409,
    sentence: "A device named {device} is enrolled already, with another key.",
    remedy:
      "Choose another name. If it is the same device, wiped or repaired, order `bellwether devices reset {device}` and enrol it again with its serial number.",
  },
  DEVICE_PENDING: {
    http: 403,
    sentence: "The device {device} waits for approval.",
    remedy: "Order `bellwether devices approve {device}`, or `devices reject {device}`.",
  },
  DEVICE_REJECTED: {
    http: 403,
    sentence: "The device {device} was rejected.",
    remedy: "That is final: enrol the machine under another name, with a new key, if it should be let in after all.",
  },
  DEVICE_REVOKED: {
    http: 403,
    sentence: "The device {device} was revoked.",
    remedy: "That is final: enrol the machine under another name, with a new key, if it should be let in after all.",
  },
  DEVICE_WIPED: {
    http: 403,
    sentence: "The device {device} was wiped or reset, and its key with it.",
    remedy: "Enrol it again under its name with its serial number: it makes a new key and stays the same device.",
  },
  ENROLMENT_SIGNATURE_INVALID: {
    http: 403,
    sentence: "The signature does not prove the enrolment of {device}.",
    remedy: "Sign token, name, serial number and key as they are sent, with the key that is sent.",
  },
  ENROLMENT_TOKEN_EXPIRED: {
    http: 403,
    sentence: "The enrolment token {token} has expired.",
    remedy: "Make a new one: `bellwether enrolment-tokens create`.",
  },
  ENROLMENT_TOKEN_REVOKED: {
    http: 403,
    sentence: "The enrolment token {token} is revoked.",
    remedy: "Make a new one: `bellwether enrolment-tokens create`.",
  },
  ENROLMENT_TOKEN_USED_UP: {
    http: 403,
    sentence: "The enrolment token {token} has no uses left.",
    remedy: "Make a new one: `bellwether enrolment-tokens create --uses COUNT`.",
  },
  ENROLMENT_SERIAL_UNLISTED: {
    http: 403,
    sentence: "The serial number of {device} is not on the list of the enrolment token {token}.",
    remedy: "Make a token that lists it, and check what the device takes for its serial number.",
  },
  SERIAL_TAKEN: {
    http: 409,
    sentence: "The serial number {serial} belongs to another device: {device}.",
    remedy: "One machine is one device: enrol it under that name, or correct the serial number.",
  },
  SERIAL_DIFFERS: {
    http: 409,
    sentence: "The device {device} was enrolled with another serial number.",
    remedy: "Another machine needs a name of its own; `bellwether devices replace` gives it the old one's place.",
  },
  KEY_IN_USE: {
    http: 409,
    sentence: "The key is that of another device, or was once in use.",
    remedy:
      "Two machines have one image: delete device.key on the one that is new and enrol it again. Never put a state directory into an image.",
  },
} as const satisfies ErrorTable;
