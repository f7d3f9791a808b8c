import { Digest, Name } from "@bellwether/protocol/ids.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer, mapOf, oneOf } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import { TRAINING_PHASES, TrainingProgress, TrainingRequest, TrainingSummary } from "../retraining/order.ts";
import type { TrainingRuns } from "../retraining/runs.io.ts";
import type { Store } from "../store/store.ts";
import type { TrainingRun } from "../store/training.ts";
import { type Caller, callerName, siteScope } from "./caller.ts";
import { findHistory } from "./histories.ts";
import { cursors, page, pageOf, pageQuery, seenRows } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

export interface TrainingRoutesDeps {
  readonly store: Pick<Store, "training" | "devices">;
  readonly runs: TrainingRuns;
}

const closed = { additionalProperties: false } as const;
const orNull = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) => Type.Union([schema, Type.Null()]);
const Id = Type.String({ pattern: "^[A-Za-z0-9_-]{1,64}$" });
const listCursor = cursors(Type.Object({ before: Type.String({ maxLength: 64 }) }, closed));

const RunView = Type.Object(
  {
    id: Id,
    history: Type.String(),
    model: Name,
    phase: oneOf(TRAINING_PHASES),
    request: TrainingRequest,
    progress: orNull(TrainingProgress),
    summary: orNull(TrainingSummary),
    result: orNull(Type.Object({ model: Name, version: integer(), manifestDigest: Digest }, closed)),
    error: orNull(
      Type.Object({ code: Type.String(), message: Type.String(), detail: mapOf(Type.String(), Type.Unknown()) }),
    ),
    createdAtMs: integer(),
    createdBy: Type.String(),
    startedAtMs: orNull(integer()),
    endedAtMs: orNull(integer()),
  },
  closed,
);

/** Routes of training runs: start, watch, cancel. */
export function trainingRoutes(deps: TrainingRoutesDeps): Route[] {
  return [startRoute(deps), listRoute(deps), showRoute(deps), eventsRoute(deps), cancelRoute(deps)];
}

function startRoute({ store, runs }: TrainingRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/training-runs",
    operation: "startTrainingRun",
    summary: "Queues a training run; it ends with a new version of the model, which is then released like any other.",
    tag: "training",
    role: "releaser",
    body: TrainingRequest,
    answer: RunView,
    status: 202,
    errors: ["NOT_FOUND", "TRAINING_QUEUE_FULL", "TRAINING_TARGET_MISSING"],
    handler: async ({ body, caller }) => {
      const history = await findHistory(store, body.history, caller);
      if (!history.ok) return history;
      const run = await runs.start(body, callerName(caller));
      return run.ok ? ok(viewOf(run.value)) : run;
    },
  });
}

function listRoute({ store }: TrainingRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/training-runs",
    operation: "listTrainingRuns",
    summary: "Training runs, newest first.",
    tag: "training",
    role: "viewer",
    query: { ...pageQuery, phase: Type.Optional(oneOf(TRAINING_PHASES)), model: Type.Optional(Name) },
    answer: pageOf(RunView),
    errors: ["INVALID_CURSOR"],
    handler: async ({ query, caller }) => {
      const cursor = listCursor.decode(query.cursor);
      if (!cursor.ok) return cursor;
      const limit = query.limit ?? 100;
      const wanted = {
        ...(query.phase === undefined ? {} : { phase: query.phase }),
        ...(query.model === undefined ? {} : { model: query.model }),
      };
      const position = ({ id }: TrainingRun) => ({ before: id });
      const rows = await seenRows<TrainingRun>(
        limit + 1,
        (last, count) =>
          store.training.listRuns({ ...wanted, limit: count, ...(last ? position(last) : cursor.value) }),
        (run) => seesRun(store, run, caller),
      );
      const { items, ...rest } = page(rows, limit, listCursor, position);
      return ok({ items: items.map(viewOf), ...rest });
    },
  });
}

function showRoute(deps: TrainingRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/training-runs/:run",
    operation: "showTrainingRun",
    summary: "One training run: progress while it is under way, then its figures on held-out assets and its version.",
    tag: "training",
    role: "viewer",
    params: { run: Id },
    answer: RunView,
    errors: ["NOT_FOUND"],
    handler: async ({ params, caller }) => {
      const run = await findRun(deps, params.run, caller);
      return run.ok ? ok(viewOf(run.value)) : run;
    },
  });
}

function eventsRoute(deps: TrainingRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/training-runs/:run/events",
    operation: "followTrainingRun",
    summary: "The run at every change as server-sent events, until it has ended.",
    tag: "training",
    role: "viewer",
    params: { run: Id },
    answer: "stream",
    errors: ["NOT_FOUND"],
    handler: async ({ params, caller, request }) => {
      const found = await findRun(deps, params.run, caller);
      if (!found.ok) return found;
      async function* events() {
        for await (const run of deps.runs.follow(params.run, request.signal)) {
          yield `event: run\ndata: ${JSON.stringify(viewOf(run))}\n\n`;
        }
      }
      return ok({ contentType: "text/event-stream", body: events() });
    },
  });
}

function cancelRoute(deps: TrainingRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/training-runs/:run/cancel",
    operation: "cancelTrainingRun",
    summary: "Ends a run that waits or is under way; nothing of it is kept.",
    tag: "training",
    role: "releaser",
    params: { run: Id },
    answer: RunView,
    errors: ["NOT_FOUND", "CONFLICT"],
    handler: async ({ params, caller }) => {
      const found = await findRun(deps, params.run, caller);
      if (!found.ok) return found;
      const run = await deps.runs.cancel(params.run);
      return run.ok ? ok(viewOf(run.value)) : run;
    },
  });
}

/** A run is seen by whoever sees what it learnt from. */
async function seesRun(store: TrainingRoutesDeps["store"], run: TrainingRun, caller: Caller): Promise<boolean> {
  if (siteScope(caller) === undefined) return true;
  return (await findHistory(store, run.history, caller)).ok;
}

async function findRun({ store, runs }: TrainingRoutesDeps, id: string, caller: Caller): Promise<Result<TrainingRun>> {
  const run = await runs.get(id);
  return run && (await seesRun(store, run, caller)) ? ok(run) : err("NOT_FOUND", { what: "training run", name: id });
}

function viewOf(run: TrainingRun) {
  return { ...run, model: run.request.model };
}
