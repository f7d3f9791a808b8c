import { randomBytes } from "node:crypto";
import { Name } from "@bellwether/protocol/ids.ts";
import { Labels } from "@bellwether/protocol/labels.ts";
import { EnrolmentRequest, EnrolmentResponse } from "@bellwether/protocol/messages/device.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { isDeviceName } from "@bellwether/protocol/topics.ts";
import { readPublicKey } from "@bellwether/protocol/trust/keys.ts";
import { enrolmentBytes, verifyHex } from "@bellwether/protocol/trust/login.ts";
import { Type } from "typebox";
import type { DeviceLogin } from "../broker/login.io.ts";
import { hashSecret } from "../governance/tokens.ts";
import type { DevicesStore, EnrolmentTokenRecord } from "../store/devices.ts";
import { callerName, seesSite, siteScope } from "./caller.ts";
import { type DeviceSelfDeps, deviceSelfRoutes } from "./device-self.ts";
import { cursors, PAGE_DEFAULT, page, pageOf, pageQuery } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;
const Time = integer({ description: "Milliseconds since 1970 UTC." });

const TokenRequest = Type.Object(
  {
    site: Name,
    labels: Type.Optional(Labels),
    uses: Type.Optional(integer({ minimum: 1, maximum: 100_000, description: "Devices it lets in; 1 by default." })),
    serials: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 128 }), { minItems: 1, maxItems: 10_000 }),
    ),
    ttlSeconds: Type.Optional(integer({ minimum: 60, maximum: 31_536_000, description: "One day by default." })),
    preapproved: Type.Optional(
      Type.Boolean({ description: "False: every device waits for approval. True by default." }),
    ),
  },
  closed,
);
const TokenView = Type.Object(
  {
    id: Type.String(),
    site: Name,
    labels: Labels,
    serials: Type.Union([Type.Array(Type.String()), Type.Null()]),
    preapproved: Type.Boolean(),
    usesLeft: integer(),
    expiresAtMs: Time,
    createdAtMs: Time,
    createdBy: Type.String(),
    revoked: Type.Boolean(),
  },
  closed,
);

const list = cursors(Type.Object({ createdAtMs: integer(), id: Type.String({ maxLength: 64 }) }, closed));

/** What enrolment and login need of the other rooms. */
export interface EnrolmentRoutesDeps {
  readonly store: { readonly devices: DevicesStore };
  readonly login: DeviceLogin;
  readonly certificates?: DeviceSelfDeps["certificates"];
  readonly timeKey: DeviceSelfDeps["timeKey"];
  mqttUrl(): string;
  /** The first root metadata, which the device pins. */
  rootMetadata(): Promise<string>;
  kick(device: string): void;
}

/** Enrolment tokens, enrolment, and what an enrolled device asks for itself. */
export function enrolmentRoutes(deps: EnrolmentRoutesDeps): Route[] {
  return [...tokenRoutes(deps), enrolRoute(deps), ...deviceSelfRoutes(deps)];
}

function tokenRoutes({ store }: EnrolmentRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/v1/enrolment-tokens",
      operation: "createEnrolmentToken",
      summary: "Makes a token that lets devices of one site enrol; the answer alone holds its secret.",
      role: "operator",
      body: TokenRequest,
      answer: Type.Object({ secret: Type.String(), token: TokenView }, closed),
      status: 201,
      errors: ["FORBIDDEN"],
      handler: async ({ body, caller, request }) => {
        if (!seesSite(caller, body.site)) return err("FORBIDDEN", { role: "operator of this site" });
        const secret = `bwe_${randomBytes(24).toString("base64url")}`;
        const token: EnrolmentTokenRecord = {
          id: `e-${randomBytes(6).toString("hex")}`,
          site: body.site,
          labels: body.labels ?? {},
          serials: body.serials ?? null,
          preapproved: body.preapproved ?? true,
          usesLeft: body.uses ?? 1,
          expiresAtMs: request.nowMs + (body.ttlSeconds ?? 86_400) * 1000,
          createdAtMs: request.nowMs,
          createdBy: callerName(caller),
          revoked: false,
        };
        const added = await store.devices.addEnrolmentToken({ hash: hashSecret(secret), token });
        return added.ok ? ok({ secret, token: view(added.value) }) : added;
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/enrolment-tokens",
      operation: "listEnrolmentTokens",
      summary: "Enrolment tokens, newest first, never their secrets.",
      role: "operator",
      query: pageQuery,
      answer: pageOf(TokenView),
      errors: ["INVALID_CURSOR"],
      handler: async ({ query: { cursor, limit = PAGE_DEFAULT }, caller }) => {
        const after = list.decode(cursor);
        if (!after.ok) return after;
        const sites = siteScope(caller);
        const rows = await store.devices.listEnrolmentTokens({
          ...(sites ? { sites } : {}),
          ...(after.value ? { after: after.value } : {}),
          limit: limit + 1,
        });
        const { items, ...rest } = page(rows, limit, list, ({ createdAtMs, id }) => ({ createdAtMs, id }));
        return ok({ items: items.map(view), ...rest });
      },
    }),
    defineRoute({
      method: "POST",
      path: "/v1/enrolment-tokens/:token/revoke",
      operation: "revokeEnrolmentToken",
      summary: "Revokes an enrolment token; devices it let in stay.",
      role: "operator",
      params: { token: Name },
      answer: TokenView,
      errors: ["NOT_FOUND"],
      handler: async ({ params, caller }) => {
        const sites = siteScope(caller);
        const revoked = await store.devices.revokeEnrolmentToken({ id: params.token, ...(sites ? { sites } : {}) });
        return revoked.ok ? ok(view(revoked.value)) : revoked;
      },
    }),
  ];
}

function view(token: EnrolmentTokenRecord) {
  return { ...token, serials: token.serials ? [...token.serials] : null, labels: { ...token.labels } };
}

/** Why a device may not come in; the codes of the token are told to whoever holds its secret. */
const ENROLMENT_CODES = [
  "ENROLMENT_REFUSED",
  "ENROLMENT_SIGNATURE_INVALID",
  "ENROLMENT_TOKEN_EXPIRED",
  "ENROLMENT_TOKEN_REVOKED",
  "ENROLMENT_TOKEN_USED_UP",
  "ENROLMENT_SERIAL_UNLISTED",
  "DEVICE_NAME_TAKEN",
  "DEVICE_REJECTED",
  "DEVICE_REVOKED",
  "SERIAL_TAKEN",
  "SERIAL_DIFFERS",
  "KEY_IN_USE",
  "KEY_INVALID",
] as const;

function enrolRoute({ store, login, mqttUrl, rootMetadata, kick }: EnrolmentRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/enrolment",
    operation: "enrolDevice",
    summary: "Enrols a device by its token and a proof that it holds its key.",
    role: "public",
    body: EnrolmentRequest,
    answer: EnrolmentResponse,
    status: 201,
    errors: ENROLMENT_CODES,
    handler: async ({ body, request }) => {
      const { token, device, serial, key } = body;
      const publicKey = readPublicKey(key.publicHex);
      if (!publicKey.ok) return publicKey;
      const signed = enrolmentBytes({ token, device, publicHex: key.publicHex, ...(serial ? { serial } : {}) });
      if (!verifyHex(signed, body.signatureHex, publicKey.value)) {
        return err("ENROLMENT_SIGNATURE_INVALID", { device });
      }
      if (!isDeviceName(device)) return err("DEVICE_NAME_TAKEN", { device });
      const enrolled = await store.devices.enrol({
        hash: hashSecret(token),
        device,
        serial: serial ?? null,
        publicHex: key.publicHex,
        nowMs: request.nowMs,
        reference: request.id,
      });
      if (!enrolled.ok) return enrolled;
      // A wiped device that is back: whoever still holds a connection by its old key has none.
      kick(device);
      return ok({
        site: enrolled.value.site,
        device,
        phase: enrolled.value.phase === "active" ? ("active" as const) : ("pending" as const),
        brokerId: login.brokerId,
        mqttUrl: mqttUrl(),
        rootMetadata: await rootMetadata(),
        labels: { ...enrolled.value.labels },
      });
    },
  });
}
