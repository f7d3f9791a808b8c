import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer, oneOf } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import type { Tokens } from "../governance/governance.io.ts";
import { withinSites } from "../governance/tokens.ts";
import type { GovernanceStore, TokenRecord } from "../store/governance.ts";
import { callerName, ROLES, siteScope } from "./caller.ts";
import { cursors, PAGE_DEFAULT, page, pageOf, pageQuery, seenRows } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;
const Time = integer({ description: "Milliseconds since 1970 UTC." });
const Roles = Type.Array(oneOf(ROLES), { minItems: 1, maxItems: ROLES.length, uniqueItems: true });
const Sites = Type.Array(Name, { minItems: 1, maxItems: 100, uniqueItems: true });

const TokenView = Type.Object(
  {
    id: Type.String(),
    name: Name,
    roles: Roles,
    sites: Type.Optional(Sites),
    createdAtMs: Time,
    createdBy: Type.String(),
    expiresAtMs: Type.Optional(Time),
    lastUsedAtMs: Type.Optional(Time),
    revokedAtMs: Type.Optional(Time),
  },
  closed,
);
const NewTokenView = Type.Object(
  { secret: Type.String({ description: "Shown this once; only its hash is kept." }), token: TokenView },
  closed,
);
const TokenRequest = Type.Object(
  {
    name: Name,
    roles: Roles,
    sites: Type.Optional(Sites),
    ttlSeconds: Type.Optional(integer({ minimum: 60, maximum: 315_360_000, description: "None: until revoked." })),
  },
  closed,
);

const list = cursors(Type.Object({ afterId: Type.String({ maxLength: 64 }) }, closed));

export interface TokenRoutesDeps {
  readonly store: { readonly governance: GovernanceStore };
  readonly tokens: Tokens;
}

/** Tokens of people and programs: make, list, revoke. */
export function tokenRoutes({ store, tokens }: TokenRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/v1/tokens",
      operation: "listTokens",
      summary: "Tokens with their roles and last use, never their secrets.",
      role: "admin",
      query: pageQuery,
      answer: pageOf(TokenView),
      handler: async ({ query, caller }) => {
        const from = list.decode(query.cursor);
        if (!from.ok) return from;
        const limit = query.limit ?? PAGE_DEFAULT;
        const position = ({ id }: TokenRecord) => ({ afterId: id });
        const rows = await seenRows<TokenRecord>(
          limit + 1,
          (last, count) => store.governance.listTokens({ ...(last ? position(last) : from.value), limit: count }),
          ({ sites }) => withinSites(siteScope(caller), sites),
        );
        const { items, ...rest } = page(rows, limit, list, position);
        return ok({ items: items.map(view), ...rest });
      },
    }),
    defineRoute({
      method: "POST",
      path: "/v1/tokens",
      operation: "createToken",
      summary: "Makes a token; the answer alone holds its secret.",
      role: "admin",
      body: TokenRequest,
      answer: NewTokenView,
      status: 201,
      errors: ["CONFLICT", "FORBIDDEN"],
      handler: async ({ body, caller, request }) => {
        // A caller of some sites hands out no more than it has.
        if (!withinSites(siteScope(caller), body.sites)) return err("FORBIDDEN", { role: "admin of these sites" });
        const { ttlSeconds, ...asked } = body;
        const made = await tokens.create({
          ...asked,
          ...(ttlSeconds === undefined ? {} : { expiresAtMs: request.nowMs + ttlSeconds * 1000 }),
          createdBy: callerName(caller),
          nowMs: request.nowMs,
        });
        return made.ok ? ok({ secret: made.value.secret, token: view(made.value.token) }) : made;
      },
    }),
    defineRoute({
      method: "POST",
      path: "/v1/tokens/:token/revoke",
      operation: "revokeToken",
      summary: "Revokes a token at once and for good.",
      role: "admin",
      params: { token: Name },
      answer: TokenView,
      errors: ["NOT_FOUND", "CONFLICT"],
      handler: async ({ params, caller, request }) => {
        const id = params.token;
        const scope = siteScope(caller);
        if (scope !== undefined) {
          const token = await store.governance.getToken({ id });
          if (!token || !withinSites(scope, token.sites)) return err("NOT_FOUND", { what: "token", name: id });
        }
        const revoked = await tokens.revoke(id, request.nowMs);
        return revoked.ok ? ok(view(revoked.value)) : revoked;
      },
    }),
  ];
}

function view({ roles, sites, ...rest }: TokenRecord) {
  return { ...rest, roles: [...roles], ...(sites === undefined ? {} : { sites: [...sites] }) };
}
