import { randomBytes } from "node:crypto";
import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer, oneOf } from "@bellwether/protocol/schema.ts";
import { FEED_CLASSES } from "@bellwether/protocol/topics.ts";
import { Type } from "typebox";
import { hashSecret, withinSites } from "../governance/tokens.ts";
import type { DevicesStore, SubscriberRecord } from "../store/devices.ts";
import { siteScope } from "./caller.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;
const Classes = Type.Array(oneOf(FEED_CLASSES), { minItems: 1, maxItems: FEED_CLASSES.length, uniqueItems: true });
const SubscriberView = Type.Object(
  {
    account: Name,
    sites: Type.Array(Name),
    classes: Type.Union([Classes, Type.Null()], { description: "What of the feed it may read; null is all of it." }),
    createdAtMs: integer(),
    revoked: Type.Boolean(),
  },
  closed,
);

function view(subscriber: SubscriberRecord) {
  const { sites, classes } = subscriber;
  return { ...subscriber, sites: [...sites], classes: classes && [...classes] };
}

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
        {
          account: Name,
          sites: Type.Array(Name, { minItems: 1, maxItems: 100, uniqueItems: true }),
          classes: Type.Optional(Classes),
        },
        closed,
      ),
      answer: Type.Object({ secret: Type.String(), subscriber: SubscriberView }, closed),
      status: 201,
      errors: ["CONFLICT", "FORBIDDEN"],
      handler: async ({ body, caller, request }) => {
        if (!withinSites(siteScope(caller), body.sites)) return err("FORBIDDEN", { role: "admin of these sites" });
        const secret = `bws_${randomBytes(24).toString("base64url")}`;
        const { account, sites, classes = null } = body;
        const subscriber = { account, sites, classes, createdAtMs: request.nowMs, revoked: false };
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
      handler: async ({ caller }) => {
        const subscribers = await store.devices.listSubscribers({});
        return ok({ items: subscribers.filter(({ sites }) => withinSites(siteScope(caller), sites)).map(view) });
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
      handler: async ({ params, caller }) => {
        const known = (await store.devices.listSubscribers({})).find(({ account }) => account === params.account);
        if (known && !withinSites(siteScope(caller), known.sites))
          return err("NOT_FOUND", { what: "subscriber", name: params.account });
        const revoked = await store.devices.revokeSubscriber({ account: params.account });
        if (!revoked.ok) return revoked;
        kick(params.account);
        return ok(view(revoked.value));
      },
    }),
  ];
}
