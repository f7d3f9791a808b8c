import { Digest, Name, TimeMs } from "@bellwether/protocol/ids.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import type { FleetSnapshots } from "../retraining/fleet-snapshots.io.ts";
import type { Histories } from "../retraining/histories.io.ts";
import { HistoryReport } from "../retraining/history/report.ts";
import { FleetRequest, HistoryRequest } from "../retraining/history/request.ts";
import type { Store } from "../store/store.ts";
import type { HistoryRecord } from "../store/training.ts";
import { type Caller, callerName } from "./caller.ts";
import { ownCohort, staysWithin } from "./cohorts.ts";
import { cursors, page, pageOf, pageQuery, seenRows } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

export interface HistoryRoutesDeps {
  readonly store: Pick<Store, "training" | "devices">;
  readonly histories: Histories;
  readonly snapshots: FleetSnapshots;
}

const closed = { additionalProperties: false } as const;
const listCursor = cursors(Type.Object({ createdAtMs: integer(), id: Type.String({ maxLength: 64 }) }, closed));
/** Largest uploaded file. */
export const HISTORY_FILE_BYTES_MAX = 1024 * 1024 * 1024;
const WRITERS = ["operator", "releaser"] as const;

const HistoryView = Type.Object(
  {
    id: Type.String(),
    label: Type.Union([Name, Type.Null()]),
    snapshot: Type.Intersect([Digest], { description: "Names the rows for ever: models carry it in their lineage." }),
    bytes: integer(),
    request: Type.Union([HistoryRequest, FleetRequest]),
    report: HistoryReport,
    createdAtMs: integer(),
    createdBy: Type.String(),
  },
  closed,
);

/** Routes of imported histories: upload files, import them, look at what was found. */
export function historyRoutes(deps: HistoryRoutesDeps): Route[] {
  return [
    uploadRoute(deps),
    importRoute(deps),
    snapshotRoute(deps),
    listRoute(deps),
    showRoute(deps),
    removeRoute(deps),
  ];
}

function uploadRoute({ histories }: HistoryRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/history-files",
    operation: "uploadHistoryFile",
    summary: "Uploads a file of samples or failures as it is; a history is then imported from it by its digest.",
    tag: "histories",
    role: WRITERS,
    body: { contentTypes: ["text/csv", "text/tab-separated-values", "text/plain", "application/octet-stream"] },
    bodyBytesMax: HISTORY_FILE_BYTES_MAX,
    answer: Type.Object({ digest: Digest, length: integer() }, closed),
    status: 201,
    errors: ["HISTORY_SPACE_EXHAUSTED"],
    handler: async ({ body }) => histories.upload(body.bytes),
  });
}

function importRoute({ histories }: HistoryRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/histories",
    operation: "importHistory",
    summary: "Imports uploaded samples, with failures or a target column, and reports what was found in them.",
    tag: "histories",
    role: WRITERS,
    body: HistoryRequest,
    answer: HistoryView,
    status: 201,
    errors: [
      "HISTORY_FILE_UNKNOWN",
      "HISTORY_SPACE_EXHAUSTED",
      "HISTORY_NOT_TEXT",
      "HISTORY_EMPTY",
      "HISTORY_LINE_WRONG",
      "HISTORY_COLUMN_MISSING",
      "HISTORY_COLUMN_WRONG",
      "HISTORY_UNIT_WRONG",
      "HISTORY_TIME_ZONE_MISSING",
      "HISTORY_TIME_ZONE_UNKNOWN",
      "HISTORY_TIME_MIXED",
      "HISTORY_TIME_WRONG",
      "HISTORY_FAILURE_UNPLACED",
      "TOO_LARGE",
      "CONFLICT",
    ],
    handler: async ({ body, caller }) => {
      const imported = await histories.import(body, callerName(caller));
      return imported.ok ? ok(viewOf(imported.value)) : imported;
    },
  });
}

const Time = integer({ ...TimeMs, description: "Milliseconds since 1970 UTC; now without it." });

function snapshotRoute({ store, snapshots }: HistoryRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/snapshots",
    operation: "createSnapshot",
    summary:
      "Makes a history of a cohort's own committed samples and outcomes, as they were known at a time. Made again from the same, it has the same digest.",
    tag: "histories",
    role: WRITERS,
    body: Type.Object(
      {
        cohort: Name,
        model: Name,
        version: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
        cutOffMs: Type.Optional(Time),
        knownAtMs: Type.Optional(Time),
        label: Type.Optional(Name),
      },
      closed,
    ),
    answer: HistoryView,
    status: 201,
    errors: [
      "NOT_FOUND",
      "FORBIDDEN",
      "SNAPSHOT_IN_FUTURE",
      "SELECTOR_INVALID",
      "SNAPSHOT_NO_LABELS",
      "SNAPSHOT_NO_ROWS",
      "HISTORY_SPACE_EXHAUSTED",
      "TOO_LARGE",
      "CONFLICT",
    ],
    handler: async ({ body, caller }) => {
      const cohort = await ownCohort(store, body.cohort, caller, "operator");
      if (!cohort.ok) return cohort;
      const made = await snapshots.create(body, callerName(caller));
      return made.ok ? ok(viewOf(made.value)) : made;
    },
  });
}

function listRoute({ store }: HistoryRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/histories",
    operation: "listHistories",
    summary: "Imported histories, newest first.",
    tag: "histories",
    role: "viewer",
    query: pageQuery,
    answer: pageOf(HistoryView),
    errors: ["INVALID_CURSOR"],
    handler: async ({ query, caller }) => {
      const cursor = listCursor.decode(query.cursor);
      if (!cursor.ok) return cursor;
      const limit = query.limit ?? 100;
      const position = ({ createdAtMs, id }: HistoryRecord) => ({ createdAtMs, id });
      const rows = await seenRows<HistoryRecord>(
        limit + 1,
        (last, count) => {
          const before = last ? position(last) : cursor.value;
          return store.training.listHistories({ limit: count, ...(before ? { before } : {}) });
        },
        (history) => seesHistory(caller, history),
      );
      const { items, ...rest } = page(rows, limit, listCursor, position);
      return ok({ items: items.map(viewOf), ...rest });
    },
  });
}

const nameParam = { history: Type.String({ minLength: 1, maxLength: 80, description: "Id, label or digest." }) };

function showRoute({ store }: HistoryRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/histories/:history",
    operation: "showHistory",
    summary: "One history with the report of its import.",
    tag: "histories",
    role: "viewer",
    params: nameParam,
    answer: HistoryView,
    errors: ["NOT_FOUND"],
    handler: async ({ params, caller }) => {
      const found = await findHistory(store, params.history, caller);
      return found.ok ? ok(viewOf(found.value)) : found;
    },
  });
}

function removeRoute({ store }: HistoryRoutesDeps): Route {
  return defineRoute({
    method: "DELETE",
    path: "/v1/histories/:history",
    operation: "removeHistory",
    summary: "Removes a history that no training run has learnt from; its files follow after a day.",
    tag: "histories",
    role: WRITERS,
    params: nameParam,
    answer: "none",
    errors: ["NOT_FOUND", "CONFLICT"],
    handler: async ({ params, caller }) => {
      const found = await findHistory(store, params.history, caller);
      if (!found.ok) return found;
      const removed = await store.training.removeHistory({ id: found.value.id });
      return removed.ok ? ok(undefined) : removed;
    },
  });
}

/** Files that people brought are the fleet's; what was taken from devices is seen by whoever sees all of these. */
export function seesHistory(caller: Caller, { request }: Pick<HistoryRecord, "request">): boolean {
  return !("fleet" in request) || staysWithin(caller, request.fleet.selector);
}

/** A history by id, label or digest; one the caller may not see does not exist. */
export async function findHistory(
  store: HistoryRoutesDeps["store"],
  name: string,
  caller: Caller,
): Promise<Result<HistoryRecord>> {
  const found = await store.training.findHistory({ name });
  return found && seesHistory(caller, found) ? ok(found) : err("NOT_FOUND", { what: "history", name });
}

function viewOf({ id, label, snapshot, bytes, request, report, createdAtMs, createdBy }: HistoryRecord) {
  return { id, label, snapshot, bytes, request, report, createdAtMs, createdBy };
}
