import { Name, TimeMs } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer, oneOf } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import { LABELLED_ASSETS_MIN, Retraining, RetrainingPolicy } from "../retraining/job.ts";
import type { Retrainings } from "../retraining/retrainings.io.ts";
import { RolloutRequest } from "../rollouts/plan.ts";
import type { Store } from "../store/store.ts";
import { type Caller, callerName, siteScope } from "./caller.ts";
import { ownCohort, ownCohorts } from "./cohorts.ts";
import { cursors, page, pageOf, pageQuery, seenRows } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

export interface RetrainingRoutesDeps {
  readonly store: Pick<Store, "retraining" | "devices">;
  readonly retrainings: Retrainings;
  now(): number;
}

const closed = { additionalProperties: false } as const;
const Id = Type.String({ pattern: "^[A-Za-z0-9_-]{1,64}$" });
const Time = integer({ ...TimeMs, description: "Milliseconds since 1970 UTC, by the sources' clocks." });
const listCursor = cursors(Type.Object({ before: Type.String({ maxLength: 64 }) }, closed));
/** What the rollout after it is told beside its version and cohort, judged now: it is planned days later, with nobody there. */
const { waves, confirm, gateTimeoutMinutes } = RolloutRequest.properties;
const RolloutTerms = Type.Object({ waves, confirm, gateTimeoutMinutes }, closed);
const terms = {
  mode: Type.Optional(oneOf(["propose", "auto"])),
  holdoutAssets: Type.Optional(Type.Array(Name, { maxItems: 10_000 })),
  rollout: Type.Optional(RolloutTerms),
};
const View = Type.Object({
  ...Retraining.properties,
  progress: Type.Union([Type.Object({ done: Type.Number(), step: Type.String() }, closed), Type.Null()]),
});
const about = { model: Name, cohort: Name };

/** Routes of retraining: when it happens by itself, asking for it, looking at it, deciding on it. */
export function retrainingRoutes(deps: RetrainingRoutesDeps): Route[] {
  return [...policyRoutes(deps), startRoute(deps), listRoute(deps), showRoute(deps), decideRoute(deps)];
}

function policyRoutes({ store, now }: RetrainingRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/v1/retraining-policies",
      operation: "listRetrainingPolicies",
      summary: "When models are retrained for cohorts by themselves.",
      tag: "retraining",
      role: "viewer",
      answer: Type.Object({ items: Type.Array(RetrainingPolicy) }, closed),
      handler: async ({ caller }) => {
        const own = await ownCohorts(store, caller);
        return ok({ items: (await store.retraining.policies({})).filter(({ cohort }) => own?.has(cohort) ?? true) });
      },
    }),
    defineRoute({
      method: "PUT",
      path: "/v1/retraining-policies/:model/:cohort",
      operation: "putRetrainingPolicy",
      summary: "Retrains a model for a cohort once it is called drifted and enough of its assets have failed since.",
      tag: "retraining",
      role: "releaser",
      params: about,
      body: Type.Object(
        {
          ...terms,
          labelledAssetsMin: Type.Optional(integer({ minimum: LABELLED_ASSETS_MIN, maximum: 100_000 })),
        },
        closed,
      ),
      answer: RetrainingPolicy,
      errors: ["NOT_FOUND", "FORBIDDEN"],
      handler: async ({ params, body, caller }) => {
        const limits = await reaches(store, params.cohort, caller, "releaser");
        if (!limits.ok) return limits;
        const { mode = "propose", holdoutAssets = [], rollout = {}, labelledAssetsMin = LABELLED_ASSETS_MIN } = body;
        const policy = { ...params, mode, holdoutAssets, rollout, labelledAssetsMin };
        return ok(
          await store.retraining.putPolicy({
            policy: { ...policy, updatedAtMs: now(), updatedBy: callerName(caller) },
          }),
        );
      },
    }),
    defineRoute({
      method: "DELETE",
      path: "/v1/retraining-policies/:model/:cohort",
      operation: "removeRetrainingPolicy",
      summary: "Nothing is retrained by itself any more; what is under way goes on.",
      tag: "retraining",
      role: "releaser",
      params: about,
      answer: "none",
      errors: ["NOT_FOUND", "FORBIDDEN"],
      handler: async ({ params, caller }) => {
        const limits = await reaches(store, params.cohort, caller, "releaser");
        if (!limits.ok) return limits;
        const removed = await store.retraining.removePolicy(params);
        const name = `${params.model} for ${params.cohort}`;
        return removed ? ok(undefined) : err("NOT_FOUND", { what: "retraining policy", name });
      },
    }),
  ];
}

function startRoute({ store, retrainings }: RetrainingRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/retrainings",
    operation: "startRetraining",
    summary:
      "Retrains a model for a cohort now: snapshot, candidates, evaluation; it is proposed unless its mode is auto.",
    tag: "retraining",
    role: "releaser",
    body: Type.Object({ ...about, ...terms, sinceMs: Type.Optional(Time), cutOffMs: Type.Optional(Time) }, closed),
    answer: View,
    status: 201,
    errors: ["NOT_FOUND", "FORBIDDEN", "RETRAINING_ASSETS_TOO_FEW", "RETRAINING_CHAMPION_UNKNOWN", "CONFLICT"],
    handler: async ({ body, caller }) => {
      const limits = await reaches(store, body.cohort, caller, "releaser");
      if (!limits.ok) return limits;
      const started = await retrainings.start(body, callerName(caller));
      return started.ok ? ok({ ...started.value, progress: null }) : started;
    },
  });
}

function listRoute({ store, retrainings }: RetrainingRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/retrainings",
    operation: "listRetrainings",
    summary: "Retrainings, newest first.",
    tag: "retraining",
    role: "viewer",
    query: { ...pageQuery, model: Type.Optional(Name), cohort: Type.Optional(Name) },
    answer: pageOf(View),
    errors: ["INVALID_CURSOR"],
    handler: async ({ query: { cursor: text, limit = 100, ...wanted }, caller }) => {
      const cursor = listCursor.decode(text);
      if (!cursor.ok) return cursor;
      const own = await ownCohorts(store, caller);
      const position = ({ id }: Retraining) => ({ before: id });
      const rows = await seenRows<Retraining>(
        limit + 1,
        (last, count) => store.retraining.list({ ...wanted, ...(last ? position(last) : cursor.value), limit: count }),
        ({ cohort }) => own?.has(cohort) ?? true,
      );
      const { items, ...rest } = page(rows, limit, listCursor, position);
      return ok({ items: items.map((job) => ({ ...job, progress: retrainings.progress(job.id) ?? null })), ...rest });
    },
  });
}

function showRoute({ store, retrainings }: RetrainingRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/retrainings/:retraining",
    operation: "showRetraining",
    summary:
      "One retraining: what it was measured on, how every candidate did beside the champion, and what became of it.",
    tag: "retraining",
    role: "viewer",
    params: { retraining: Id },
    answer: View,
    errors: ["NOT_FOUND"],
    handler: async ({ params, caller }) => {
      const job = await seen(store, params.retraining, caller);
      if (!job) return err("NOT_FOUND", { what: "retraining", name: params.retraining });
      return ok({ ...job, progress: retrainings.progress(job.id) ?? null });
    },
  });
}

function decideRoute({ store, retrainings }: RetrainingRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/retrainings/:retraining/:decision",
    operation: "decideRetraining",
    summary: "Lets a proposed version be released for its cohort and rolled out to it, or not.",
    tag: "retraining",
    role: "approver",
    params: { retraining: Id, decision: oneOf(["approve", "reject"]) },
    answer: View,
    errors: ["NOT_FOUND", "CONFLICT"],
    handler: async ({ params, caller }) => {
      if (!(await seen(store, params.retraining, caller)))
        return err("NOT_FOUND", { what: "retraining", name: params.retraining });
      const decided = await retrainings.decide(params.retraining, params.decision, callerName(caller));
      return decided.ok ? ok({ ...decided.value, progress: null }) : decided;
    },
  });
}

/** A retraining ends on every device of its cohort: a caller of some sites may order it where they are all of these. */
async function reaches(store: RetrainingRoutesDeps["store"], cohort: string, caller: Caller, role: string) {
  if (siteScope(caller) === undefined) return ok(undefined);
  return ownCohort(store, cohort, caller, role);
}

/** One the caller may see: it names devices and assets of its whole cohort. */
async function seen(store: RetrainingRoutesDeps["store"], id: string, caller: Caller): Promise<Retraining | undefined> {
  const [job, own] = [await store.retraining.get({ id }), await ownCohorts(store, caller)];
  return job && (own?.has(job.cohort) ?? true) ? job : undefined;
}
