import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { oneOf } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import { LABELLED_ASSETS_MIN, Retraining, RetrainingPolicy, RolloutOptions } from "../retraining/job.ts";
import type { Retrainings } from "../retraining/retrainings.io.ts";
import type { Store } from "../store/store.ts";
import { callerName } from "./caller.ts";
import { cursors, page, pageOf, pageQuery } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

export interface RetrainingRoutesDeps {
  readonly store: Pick<Store, "retraining">;
  readonly retrainings: Retrainings;
  now(): number;
}

const closed = { additionalProperties: false } as const;
const Id = Type.String({ pattern: "^[A-Za-z0-9_-]{1,64}$" });
const Time = Type.Integer({ minimum: 0, description: "Milliseconds since 1970 UTC, by the sources' clocks." });
const listCursor = cursors(Type.Object({ before: Type.String({ maxLength: 64 }) }, closed));
const terms = {
  mode: Type.Optional(oneOf(["propose", "auto"])),
  holdoutAssets: Type.Optional(Type.Array(Name, { maxItems: 10_000 })),
  rollout: Type.Optional(RolloutOptions),
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
      handler: async () => ok({ items: await store.retraining.policies({}) }),
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
          labelledAssetsMin: Type.Optional(Type.Integer({ minimum: LABELLED_ASSETS_MIN, maximum: 100_000 })),
        },
        closed,
      ),
      answer: RetrainingPolicy,
      handler: async ({ params, body, caller }) => {
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
      errors: ["NOT_FOUND"],
      handler: async ({ params }) => {
        const removed = await store.retraining.removePolicy(params);
        const name = `${params.model} for ${params.cohort}`;
        return removed ? ok(undefined) : err("NOT_FOUND", { what: "retraining policy", name });
      },
    }),
  ];
}

function startRoute({ retrainings }: RetrainingRoutesDeps): Route {
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
    errors: ["RETRAINING_ASSETS_TOO_FEW", "RETRAINING_CHAMPION_UNKNOWN", "CONFLICT"],
    handler: async ({ body, caller }) => {
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
    handler: async ({ query: { cursor: text, limit = 100, ...wanted } }) => {
      const cursor = listCursor.decode(text);
      if (!cursor.ok) return cursor;
      const rows = await store.retraining.list({ ...wanted, ...cursor.value, limit: limit + 1 });
      const { items, ...rest } = page(rows, limit, listCursor, ({ id }) => ({ before: id }));
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
    handler: async ({ params }) => {
      const job = await store.retraining.get({ id: params.retraining });
      if (!job) return err("NOT_FOUND", { what: "retraining", name: params.retraining });
      return ok({ ...job, progress: retrainings.progress(job.id) ?? null });
    },
  });
}

function decideRoute({ retrainings }: RetrainingRoutesDeps): Route {
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
      const decided = await retrainings.decide(params.retraining, params.decision, callerName(caller));
      return decided.ok ? ok({ ...decided.value, progress: null }) : decided;
    },
  });
}
