import { Name } from "@bellwether/protocol/ids.ts";
import { BASELINE_BYTES_MAX, BaselineReport } from "@bellwether/protocol/messages/baseline.ts";
import {
  DeviceCertificate,
  DeviceLoginResponse,
  DeviceProof,
  DeviceStatus,
  KeyRotation,
  NonceResponse,
} from "@bellwether/protocol/messages/device.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { type KeyPair, readPublicKey } from "@bellwether/protocol/trust/keys.ts";
import { rotationBytes, verifyHex, wipeBytes } from "@bellwether/protocol/trust/login.ts";
import { sealTime } from "@bellwether/protocol/trust/time.ts";
import { Type } from "typebox";
import type { DeviceLogin } from "../broker/login.io.ts";
import type { DeviceRecord, DevicesStore } from "../store/devices.ts";
import type { DeviceCertificates } from "../tls/device-certificates.io.ts";
import { jsonArtifact } from "./repository.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;

/**
 * Of one address: a plant's whole fleet may come back at once from behind one proxy. Nobody guesses a signature; what is
 * bounded is the work, 0.2 ms each.
 */
const LOGINS_PER_MINUTE = 6_000;

const LOGIN_CODES = [
  "DEVICE_LOGIN_REFUSED",
  "DEVICE_PENDING",
  "DEVICE_WIPED",
  "DEVICE_REJECTED",
  "DEVICE_REVOKED",
] as const;

/** What these routes need. */
export interface DeviceSelfDeps {
  readonly store: { readonly devices: DevicesStore };
  readonly login: DeviceLogin;
  /** The director's key, which signs what the time is. */
  timeKey(): KeyPair;
  /** Absent on a server that speaks no TLS. */
  readonly certificates?: Pick<DeviceCertificates, "issue"> | undefined;
  kick(device: string): void;
}

/** What a device asks for itself: a nonce, a login, a certificate, its standing, another key, and to be forgotten. */
export function deviceSelfRoutes(deps: DeviceSelfDeps): Route[] {
  return [
    ...loginRoutes(deps),
    certificateRoute(deps),
    timeRoute(deps),
    baselineRoute(deps),
    rotateRoute(deps),
    wipeRoute(deps),
  ];
}

function timeRoute({ timeKey }: DeviceSelfDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/device/time",
    operation: "signTime",
    summary:
      "What the time is, signed by the director for this device and its nonce: for a clock that is wrong by years.",
    role: "device",
    query: { nonce: Type.String({ pattern: "^[0-9a-f]{32,64}$" }) },
    answer: "artifact",
    handler: async ({ query, caller, request }) => {
      const device = caller.kind === "device" ? caller.device : "";
      return ok(jsonArtifact(sealTime({ device, nonce: query.nonce, atMs: request.nowMs }, timeKey()), false));
    },
  });
}

function baselineRoute({ store }: DeviceSelfDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/device/baselines",
    operation: "reportBaseline",
    summary: "What a device knows to be normal for one of its assets; a device that replaces it takes it over.",
    role: "device",
    audit: false,
    body: BaselineReport,
    answer: "none",
    errors: ["TOO_LARGE", "CONFLICT"],
    handler: async ({ body, caller, request }) => {
      const device = caller.kind === "device" ? caller.device : "";
      const { model, asset, adopted = null, baseline } = body;
      const text = JSON.stringify(baseline);
      const size = Buffer.byteLength(text);
      if (size > BASELINE_BYTES_MAX) {
        return err("TOO_LARGE", { what: "The baseline", actual: size, unit: "bytes", limit: BASELINE_BYTES_MAX });
      }
      return store.devices.keepBaseline({ device, model, asset, adopted, body: text, nowMs: request.nowMs });
    },
  });
}

function certificateRoute({ store, certificates }: DeviceSelfDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/device/certificate",
    operation: "issueDeviceCertificate",
    summary: "A certificate for the device's own key, to show at TLS; a new one each time it asks.",
    role: "device",
    audit: false,
    body: Type.Object({}, closed),
    answer: DeviceCertificate,
    errors: ["CERTIFICATES_OFF", "NOT_FOUND"],
    handler: async ({ caller }) => {
      if (!certificates) return err("CERTIFICATES_OFF");
      const name = caller.kind === "device" ? caller.device : "";
      const device = await store.devices.get({ device: name });
      return device ? ok(await certificates.issue(device)) : err("NOT_FOUND", { what: "device", name });
    },
  });
}

function statusOf({ device, site, phase, clonedAtMs }: DeviceRecord) {
  return { device, site, phase, cloned: clonedAtMs !== null };
}

function rotateRoute({ store, login, kick }: DeviceSelfDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/device/rotate-key",
    operation: "rotateDeviceKey",
    summary: "Puts a new key in a device's key's place, signed by both; given again it changes nothing.",
    role: "public",
    // Every change is in the audit log under the device's name, which a public call is not.
    audit: false,
    body: KeyRotation,
    answer: DeviceStatus,
    errors: [...LOGIN_CODES, "KEY_INVALID", "KEY_IN_USE"],
    handler: async ({ body, request }) => {
      const { device, nonce, newPublicHex, newSignatureHex } = body;
      const newKey = readPublicKey(newPublicHex);
      if (!newKey.ok) return newKey;
      const bytes = rotationBytes(login.brokerId, device, nonce, newPublicHex);
      if (!verifyHex(bytes, newSignatureHex, newKey.value)) return err("DEVICE_LOGIN_REFUSED");
      // Its answer was lost: the new key is the device's already, and proves it by itself.
      const done = (await store.devices.get({ device }))?.publicHex === newPublicHex;
      const proved = mayConnect(await login.prove(device, nonce, done ? newSignatureHex : body.signatureHex, bytes));
      if (!proved.ok) return proved;
      if (proved.value.publicHex === newPublicHex) return ok(statusOf(proved.value));
      const { publicHex } = proved.value;
      const order = { device, publicHex, newPublicHex, nowMs: request.nowMs, reference: request.id };
      const rotated = await store.devices.rotateKey(order);
      if (!rotated.ok) return rotated;
      kick(device);
      return ok(statusOf(rotated.value));
    },
  });
}

function wipeRoute({ store, login, kick }: DeviceSelfDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/device/wipe",
    operation: "wipeDevice",
    summary: "A device says that it forgets its key: it is shut out until it enrols again.",
    role: "public",
    audit: false,
    body: DeviceProof,
    answer: DeviceStatus,
    errors: ["DEVICE_LOGIN_REFUSED", "NOT_FOUND", "CONFLICT"],
    handler: async ({ body, request }) => {
      const { device, nonce, signatureHex } = body;
      const proved = await login.prove(device, nonce, signatureHex, wipeBytes(login.brokerId, device, nonce));
      if (!proved) return err("DEVICE_LOGIN_REFUSED");
      const wiped = await store.devices.wipe({ device, nowMs: request.nowMs, reference: request.id });
      if (!wiped.ok) return wiped;
      kick(device);
      return ok(statusOf(wiped.value));
    },
  });
}

function loginRoutes({ login }: DeviceSelfDeps): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/v1/device/nonce",
      operation: "makeDeviceNonce",
      ratePerMinute: LOGINS_PER_MINUTE,
      summary: "A nonce for a device to sign; any name gets one.",
      role: "public",
      audit: false,
      body: Type.Object({ device: Name }, closed),
      answer: NonceResponse,
      errors: ["LOGINS_BUSY"],
      handler: async ({ body }) => {
        const nonce = login.nonce(body.device);
        return nonce.ok ? ok({ nonce: nonce.value, brokerId: login.brokerId }) : nonce;
      },
    }),
    defineRoute({
      method: "POST",
      path: "/v1/device/login",
      operation: "loginDevice",
      ratePerMinute: LOGINS_PER_MINUTE,
      summary: "A short-lived token for metadata and blobs, for the signature over a nonce.",
      role: "public",
      audit: false,
      body: DeviceProof,
      answer: DeviceLoginResponse,
      errors: LOGIN_CODES,
      handler: async ({ body }) => {
        const device = await login.prove(body.device, body.nonce, body.signatureHex);
        const active = mayConnect(device);
        return active.ok ? ok(login.token(active.value)) : active;
      },
    }),
    defineRoute({
      method: "POST",
      path: "/v1/device/status",
      operation: "showOwnEnrolment",
      summary: "How a device's own enrolment stands: all that a device which is not active may ask.",
      role: "public",
      audit: false,
      body: DeviceProof,
      answer: DeviceStatus,
      errors: ["DEVICE_LOGIN_REFUSED"],
      handler: async ({ body }) => {
        const device = await login.prove(body.device, body.nonce, body.signatureHex);
        if (!device) return err("DEVICE_LOGIN_REFUSED");
        return ok(statusOf(device));
      },
    }),
  ];
}

/** A device that proved its key is told why it is shut out; anybody else hears one and the same refusal. */
function mayConnect(device: DeviceRecord | undefined): Result<DeviceRecord> {
  if (!device) return err("DEVICE_LOGIN_REFUSED");
  switch (device.phase) {
    case "active":
      return ok(device);
    case "pending":
      return err("DEVICE_PENDING", { device: device.device });
    case "wiped":
      return err("DEVICE_WIPED", { device: device.device });
    case "rejected":
      return err("DEVICE_REJECTED", { device: device.device });
    case "revoked":
      return err("DEVICE_REVOKED", { device: device.device });
  }
}
