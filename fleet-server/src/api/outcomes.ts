import { Name, TimeMs } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import { NewOutcome, Outcome } from "../outcomes/outcomes.ts";
import type { Store } from "../store/store.ts";
import { callerName, siteScope } from "./caller.ts";
import { findCohort } from "./cohorts.ts";
import { matchingDevices } from "./devices.ts";
import { cursors, page, pageOf, pageQuery } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;
const Time = integer({ ...TimeMs, description: "Milliseconds since 1970 UTC." });
const byId = cursors(Type.Object({ afterId: integer({ minimum: 0 }) }, closed));
const OUTCOMES_AT_ONCE = 10_000;
const BODY_BYTES_MAX = 8 * 1024 * 1024;

export interface OutcomeRoutesDeps {
  readonly store: Pick<Store, "devices" | "outcomes">;
  now(): number;
}

/** Routes of what maintenance found. */
export function outcomeRoutes(deps: OutcomeRoutesDeps): Route[] {
  return [addRoute(deps), listRoute(deps), retractRoute(deps)];
}

function addRoute({ store, now }: OutcomeRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/outcomes",
    operation: "addOutcomes",
    summary:
      "Records what maintenance found, all of the list or nothing of it; what is known already is answered as it is.",
    role: "operator",
    body: Type.Object({ outcomes: Type.Array(NewOutcome, { minItems: 1, maxItems: OUTCOMES_AT_ONCE }) }, closed),
    bodyBytesMax: BODY_BYTES_MAX,
    answer: Type.Object({ items: Type.Array(Outcome) }, closed),
    status: 201,
    errors: ["OUTCOME_ASSET_UNKNOWN", "OUTCOME_SITE_MISSING", "OUTCOME_IN_FUTURE"],
    handler: async ({ body, caller }) => {
      const sites = siteScope(caller);
      // Who is limited to one site means that one; assets of others do not exist for them.
      const only = sites?.length === 1 ? sites[0] : undefined;
      const given = body.outcomes.map((one) => (only === undefined ? one : { ...one, site: one.site ?? only }));
      const foreign = sites && given.findIndex(({ site }) => site === undefined || !sites.includes(site));
      if (foreign !== undefined && foreign >= 0) {
        return err("OUTCOME_ASSET_UNKNOWN", { asset: given[foreign]!.asset, item: foreign + 1 });
      }
      const added = await store.outcomes.add({ outcomes: given, by: callerName(caller), nowMs: now() });
      return added.ok ? ok({ items: added.value }) : added;
    },
  });
}

function listRoute({ store }: OutcomeRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/outcomes",
    operation: "listOutcomes",
    summary: "What maintenance found, in the order it was recorded; what was taken back says by whom.",
    role: "viewer",
    query: {
      ...pageQuery,
      asset: Type.Optional(Name),
      cohort: Type.Optional(Name),
      fromMs: Type.Optional(Time),
      toMs: Type.Optional(Time),
    },
    answer: pageOf(Outcome),
    errors: ["INVALID_CURSOR", "NOT_FOUND", "SELECTOR_INVALID"],
    handler: async ({ query: { cursor: text, limit = 100, cohort, ...about }, caller }) => {
      const cursor = byId.decode(text);
      if (!cursor.ok) return cursor;
      const sites = siteScope(caller);
      let devices: readonly string[] | undefined;
      if (cohort !== undefined) {
        const found = await findCohort(store, cohort, caller);
        if (!found.ok) return found;
        const matching = await matchingDevices(store, found.value.selector, sites);
        if (!matching.ok) return matching;
        devices = matching.value;
      }
      const rows = await store.outcomes.list({
        ...about,
        ...cursor.value,
        ...(sites ? { sites } : {}),
        ...(devices ? { devices } : {}),
        limit: limit + 1,
      });
      return ok(page(rows, limit, byId, ({ id }) => ({ afterId: id })));
    },
  });
}

function retractRoute({ store, now }: OutcomeRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/outcomes/:outcome/retract",
    operation: "retractOutcome",
    summary: "Takes an outcome back: it was a mistake. It stays readable.",
    role: "operator",
    params: { outcome: integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }) },
    answer: Outcome,
    errors: ["NOT_FOUND"],
    handler: async ({ params, caller }) => {
      const sites = siteScope(caller);
      const missing = err("NOT_FOUND", { what: "outcome", name: String(params.outcome) });
      if (sites !== undefined) {
        const [own] = await store.outcomes.list({ sites, afterId: params.outcome - 1, limit: 1 });
        if (own?.id !== params.outcome) return missing;
      }
      return store.outcomes.retract({ id: params.outcome, by: callerName(caller), nowMs: now() });
    },
  });
}
