import { randomBytes } from "node:crypto";
import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { Type } from "typebox";
import { hashSecret } from "../governance/tokens.ts";
import type { DevicesStore } from "../store/devices.ts";
import { siteScope } from "./caller.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;
const SubscriberView = Type.Object(
  { account: Name, sites: Type.Array(Name), createdAtMs: Type.Integer(), revoked: Type.Boolean() },
  closed,
);

export interface SubscriberRoutesDeps {
  readonly store: { readonly devices: DevicesStore };
  kick(account: string): void;
}

/** Accounts that read the feed over MQTT. */
export function subscriberRoutes({ store, kick }: SubscriberRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/v1/subscribers",
      operation: "createSubscriber",
      summary: "Makes a read-only MQTT account for the feed of some sites; the answer alone holds its secret.",
      role: "admin",
      body: Type.Object(
        { account: Name, sites: Type.Array(Name, { minItems: 1, maxItems: 100, uniqueItems: true }) },
        closed,
      ),
      answer: Type.Object({ secret: Type.String(), subscriber: SubscriberView }, closed),
      status: 201,
      errors: ["CONFLICT", "FORBIDDEN"],
      handler: async ({ body, caller, request }) => {
        const scope = siteScope(caller);
        if (scope && !body.sites.every((site) => scope.includes(site)))
          return err("FORBIDDEN", { role: "admin of these sites" });
        const secret = `bws_${randomBytes(24).toString("base64url")}`;
        const subscriber = { ...body, createdAtMs: request.nowMs, revoked: false };
        const added = await store.devices.addSubscriber({ hash: hashSecret(secret), subscriber });
        return added.ok ? ok({ secret, subscriber }) : added;
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/subscribers",
      operation: "listSubscribers",
      summary: "Subscriber accounts, never their secrets.",
      role: "admin",
      answer: Type.Object({ items: Type.Array(SubscriberView) }, closed),
      handler: async () => {
        const subscribers = await store.devices.listSubscribers({});
        return ok({ items: subscribers.map((subscriber) => ({ ...subscriber, sites: [...subscriber.sites] })) });
      },
    }),
    defineRoute({
      method: "POST",
      path: "/v1/subscribers/:account/revoke",
      operation: "revokeSubscriber",
      summary: "Revokes an account and closes its connections.",
      role: "admin",
      params: { account: Name },
      answer: SubscriberView,
      errors: ["NOT_FOUND"],
      handler: async ({ params }) => {
        const revoked = await store.devices.revokeSubscriber({ account: params.account });
        if (!revoked.ok) return revoked;
        kick(params.account);
        return ok({ ...revoked.value, sites: [...revoked.value.sites] });
      },
    }),
  ];
}
