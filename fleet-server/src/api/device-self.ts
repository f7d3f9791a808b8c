import { Name } from "@bellwether/protocol/ids.ts";
import { DeviceLoginResponse, DeviceProof, DeviceStatus, NonceResponse } from "@bellwether/protocol/messages/device.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { Type } from "typebox";
import type { DeviceLogin } from "../broker/login.io.ts";
import type { DeviceRecord } from "../store/devices.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;

/** What a device asks for itself: a nonce, a login, and how its enrolment stands. */
export function deviceSelfRoutes({ login }: { readonly login: DeviceLogin }): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/v1/device/nonce",
      operation: "makeDeviceNonce",
      summary: "A nonce for a device to sign; any name gets one.",
      role: "public",
      audit: false,
      body: Type.Object({ device: Name }, closed),
      answer: NonceResponse,
      handler: async ({ body }) => ok({ nonce: login.nonce(body.device), brokerId: login.brokerId }),
    }),
    defineRoute({
      method: "POST",
      path: "/v1/device/login",
      operation: "loginDevice",
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
        return ok({
          device: device.device,
          site: device.site,
          phase: device.phase,
          cloned: device.clonedAtMs !== null,
        });
      },
    }),
  ];
}

const LOGIN_CODES = [
  "DEVICE_LOGIN_REFUSED",
  "DEVICE_PENDING",
  "DEVICE_WIPED",
  "DEVICE_REJECTED",
  "DEVICE_REVOKED",
] as const;

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
