import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { demanded, parseSelector } from "@bellwether/protocol/selector.ts";
import { Type } from "typebox";
import type { CohortRecord } from "../store/devices.ts";
import type { Store } from "../store/store.ts";
import { type Caller, siteScope } from "./caller.ts";
import { matchingDevices, Selector } from "./devices.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;
const CohortView = Type.Object(
  {
    cohort: Name,
    selector: Selector,
    createdAtMs: integer({ description: "Milliseconds since 1970 UTC." }),
    devices: integer({ minimum: 0 }),
  },
  closed,
);

type CohortStore = Pick<Store, "devices">;
export interface CohortRoutesDeps {
  readonly store: CohortStore;
}

/**
 * Whether a selector reaches no device outside the caller's sites, today or later: it names these sites itself. Today's
 * devices do not count, new ones may come in anywhere.
 */
export function staysWithin(caller: Caller, text: string): boolean {
  const scope = siteScope(caller);
  if (scope === undefined) return true;
  const selector = parseSelector(text);
  const sites = selector.ok ? demanded(selector.value, "site") : undefined;
  return sites?.every((site) => scope.includes(site)) ?? false;
}

const unknown = (cohort: string) => err("NOT_FOUND", { what: "cohort", name: cohort });
const notAllOfIt = (role: string) => err("FORBIDDEN", { role: `${role} of every site the cohort may reach` });

/** How many devices of the caller's a cohort selects; undefined where it is none of the caller's to see. */
async function countSeen(store: CohortStore, selector: string, caller: Caller): Promise<number | undefined> {
  const matching = await matchingDevices(store, selector, siteScope(caller));
  const devices = matching.ok ? matching.value.length : 0;
  return devices > 0 || staysWithin(caller, selector) ? devices : undefined;
}

/** A cohort the caller may see: one with devices of its sites, or one that names them; any other does not exist. */
export async function findCohort(store: CohortStore, name: string, caller: Caller): Promise<Result<CohortRecord>> {
  const found = (await store.devices.listCohorts({})).find(({ cohort }) => cohort === name);
  if (!found || (await countSeen(store, found.selector, caller)) === undefined) return unknown(name);
  return ok(found);
}

/** A cohort whose devices are all the caller's, now and later; `FORBIDDEN` where it sees only some of them. */
export async function ownCohort(
  store: CohortStore,
  name: string,
  caller: Caller,
  role: string,
): Promise<Result<CohortRecord>> {
  const found = await findCohort(store, name, caller);
  if (!found.ok || staysWithin(caller, found.value.selector)) return found;
  return notAllOfIt(role);
}

/** Names of the cohorts whose devices are all the caller's; undefined: every name, also those of cohorts that are gone. */
export async function ownCohorts(store: CohortStore, caller: Caller): Promise<ReadonlySet<string> | undefined> {
  if (siteScope(caller) === undefined) return undefined;
  const cohorts = await store.devices.listCohorts({});
  return new Set(cohorts.filter(({ selector }) => staysWithin(caller, selector)).map(({ cohort }) => cohort));
}

/** Cohorts: selectors under a name. */
export function cohortRoutes({ store }: CohortRoutesDeps): Route[] {
  return [listRoute(store), putRoute(store), deleteRoute(store)];
}

function listRoute(store: CohortStore): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/cohorts",
    operation: "listCohorts",
    summary: "Named selectors, with how many active devices each selects now.",
    role: "viewer",
    answer: Type.Object({ items: Type.Array(CohortView) }, closed),
    handler: async ({ caller }) => {
      const cohorts = await store.devices.listCohorts({});
      const counted = await Promise.all(
        cohorts.map(async (cohort) => ({ ...cohort, devices: await countSeen(store, cohort.selector, caller) })),
      );
      return ok({
        items: counted.flatMap(({ devices, ...rest }) => (devices === undefined ? [] : { ...rest, devices })),
      });
    },
  });
}

function putRoute(store: CohortStore): Route {
  return defineRoute({
    method: "PUT",
    path: "/v1/cohorts/:cohort",
    operation: "putCohort",
    summary: "Names a selector; a token of some sites can name only what the selector itself limits to them.",
    role: "operator",
    params: { cohort: Name },
    body: Type.Object({ selector: Selector }, closed),
    answer: CohortView,
    errors: ["SELECTOR_INVALID", "CONFLICT", "FORBIDDEN"],
    handler: async ({ params, body: { selector: text }, caller, request }) => {
      const selector = parseSelector(text);
      if (!selector.ok) return selector;
      if (!staysWithin(caller, text)) return notAllOfIt("operator");
      const known = (await store.devices.listCohorts({})).find(({ cohort }) => cohort === params.cohort);
      // Names are one space, as those of tokens and accounts are: whoever wants a taken one learns that, and no more.
      if (known && !staysWithin(caller, known.selector))
        return err("CONFLICT", { what: "The cohort", name: params.cohort, reason: "the name is taken" });
      const cohort = await store.devices.putCohort({
        cohort: { cohort: params.cohort, selector: text, createdAtMs: request.nowMs },
      });
      return ok({ ...cohort, devices: (await countSeen(store, text, caller)) ?? 0 });
    },
  });
}

function deleteRoute(store: CohortStore): Route {
  return defineRoute({
    method: "DELETE",
    path: "/v1/cohorts/:cohort",
    operation: "deleteCohort",
    summary: "Forgets a cohort's name; its devices stay as they are.",
    role: "operator",
    params: { cohort: Name },
    answer: "none",
    errors: ["NOT_FOUND", "FORBIDDEN"],
    handler: async ({ params, caller }) => {
      const found = await ownCohort(store, params.cohort, caller, "operator");
      if (!found.ok) return found;
      const deleted = await store.devices.deleteCohort({ cohort: params.cohort });
      return deleted ? ok(undefined) : unknown(params.cohort);
    },
  });
}
