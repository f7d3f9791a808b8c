import { Digest, Name } from "@bellwether/protocol/ids.ts";
import { DeploymentEvidence, ShadowFindings } from "@bellwether/protocol/messages/device.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer, mapOf, oneOf } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import { EXECUTION_PHASES, type Execution } from "../rollouts/executions.ts";
import { COMMANDS, ROLLOUT_PHASES, type RolloutCommand, TRANSITIONS, WAVE_PHASES } from "../rollouts/machine.ts";
import type { RolloutOrders } from "../rollouts/orders.io.ts";
import { RolloutRequest } from "../rollouts/plan.ts";
import type { ExecutionView, RolloutRecord } from "../store/rollouts.ts";
import type { Store } from "../store/store.ts";
import { type Caller, callerName, siteScope } from "./caller.ts";
import { cursors, PAGE_DEFAULT, page, pageOf, pageQuery } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

/** What the rollout routes need of the other rooms. */
export interface RolloutRoutesPorts {
  readonly store: Store;
  readonly orders: RolloutOrders;
}

const closed = { additionalProperties: false } as const;
const Id = Type.String({ pattern: "^[A-Za-z0-9_-]{1,64}$" });
const Time = integer({ description: "Milliseconds since 1970 UTC." });

const WaveView = Type.Object(
  {
    name: Name,
    phase: oneOf(WAVE_PHASES),
    reason: Type.Optional(Type.String()),
    startedAtMs: Type.Optional(Time),
    soakStartedAtMs: Type.Optional(Time),
    endedAtMs: Type.Optional(Time),
    devices: integer(),
    executions: mapOf(Type.String(), integer(), { description: "How many devices stand where." }),
  },
  closed,
);

const RolloutView = Type.Object(
  {
    id: Id,
    model: Name,
    version: integer(),
    manifestDigest: Digest,
    phase: oneOf(ROLLOUT_PHASES),
    reason: Type.Optional(Type.String()),
    selector: Type.String(),
    selection: oneOf(["SNAPSHOT", "CONTINUOUS"]),
    waveIndex: integer(),
    waves: Type.Array(WaveView),
    incompatible: integer({ description: "Devices that were left out because they cannot run this version." }),
    devicesTouched: integer({ description: "Devices that were ever asked to run this version." }),
    createdAtMs: Time,
    createdBy: Type.String(),
    updatedAtMs: Time,
    allowed: Type.Array(oneOf(COMMANDS), { description: "The orders it takes now." }),
  },
  closed,
);

const ExecutionAnswer = Type.Object(
  {
    device: Name,
    wave: integer(),
    phase: oneOf(EXECUTION_PHASES),
    assignedAtMs: Type.Union([Time, Type.Null()]),
    directorVersion: Type.Union([integer(), Type.Null()]),
    previousVersion: Type.Union([integer(), Type.Null()]),
    activeVersion: Type.Union([integer(), Type.Null()]),
    devicePhase: Type.Union([Type.String(), Type.Null()]),
    progress: Type.Union([Type.Number(), Type.Null()]),
    errorCode: Type.Union([Type.String(), Type.Null()]),
    errorMessage: Type.Union([Type.String(), Type.Null()]),
    evidence: Type.Union([DeploymentEvidence, Type.Null()]),
    /** What the version did as a shadow there, where it was asked to. */
    shadow: Type.Union([ShadowFindings, Type.Null()]),
    lastSeenAtMs: Type.Union([Time, Type.Null()]),
  },
  closed,
);

const IncompatibleAnswer = Type.Object(
  { device: Name, code: Type.String(), reason: Type.String(), atMs: Time },
  closed,
);

const GateAnswer = Type.Object(
  {
    id: integer(),
    wave: integer(),
    gate: Type.String(),
    verdict: oneOf(["pass", "fail", "inconclusive"]),
    statistic: Type.Union([Type.Number(), Type.Null()]),
    n: integer(),
    controlN: integer(),
    threshold: Type.Number(),
    reason: Type.String(),
    firstAtMs: integer({ description: "When it was first decided so." }),
    atMs: integer({ description: "When it was last decided so; the figures are of then." }),
    times: integer({ description: "How often in a row it was decided so." }),
  },
  closed,
);

const gateCursor = cursors(Type.Object({ before: integer({ minimum: 0 }) }, closed));
const listCursor = cursors(Type.Object({ createdAtMs: integer(), id: Id }, closed));

/** Routes of rollouts: create, look at, order about. */
export function rolloutRoutes(ports: RolloutRoutesPorts): Route[] {
  return [createRoute(ports), listRoute(ports), showRoute(ports), ...detailRoutes(ports), orderRoute(ports)];
}

function createRoute(ports: RolloutRoutesPorts): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/rollouts",
    operation: "createRollout",
    summary: "Plans a rollout of a released version in waves; it begins when it is ordered to start.",
    role: "operator",
    body: RolloutRequest,
    answer: RolloutView,
    status: 201,
    errors: [
      ...(["ROLLOUT_VERSION_UNKNOWN", "ROLLOUT_VERSION_NOT_RELEASED", "ROLLOUT_TARGET_EMPTY", "CONFLICT"] as const),
      ...([
        "SELECTOR_INVALID",
        "ROLLOUT_TARGET_INCOMPATIBLE",
        "ROLLOUT_OUTSIDE_COHORT",
        "RETRAINING_ROLE_OFF",
      ] as const),
    ],
    handler: async ({ body, caller }) => {
      const made = await ports.orders.create(body, callerName(caller), siteScope(caller));
      return made.ok ? ok(await viewOf(ports.store, made.value)) : made;
    },
  });
}

function listRoute(ports: RolloutRoutesPorts): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/rollouts",
    operation: "listRollouts",
    summary: "Rollouts, newest first.",
    role: "viewer",
    query: { ...pageQuery, phase: Type.Optional(oneOf(ROLLOUT_PHASES)) },
    answer: pageOf(RolloutView),
    errors: ["INVALID_CURSOR"],
    handler: async ({ query, caller }) => {
      const cursor = listCursor.decode(query.cursor);
      if (!cursor.ok) return cursor;
      const limit = query.limit ?? PAGE_DEFAULT;
      const sites = siteScope(caller);
      const rows = await ports.store.rollouts.list({
        limit: limit + 1,
        ...(cursor.value ? { before: cursor.value } : {}),
        ...(query.phase ? { phase: query.phase } : {}),
        ...(sites ? { sites } : {}),
      });
      const { items, ...rest } = page(rows, limit, listCursor, ({ createdAtMs, id }) => ({ createdAtMs, id }));
      return ok({ items: await Promise.all(items.map((row) => viewOf(ports.store, row))), ...rest });
    },
  });
}

function showRoute(ports: RolloutRoutesPorts): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/rollouts/:rollout",
    operation: "showRollout",
    summary: "One rollout with its waves.",
    role: "viewer",
    params: { rollout: Id },
    answer: RolloutView,
    errors: ["NOT_FOUND"],
    handler: async ({ params, caller }) => {
      const rollout = await visible(ports.store, params.rollout, caller);
      return rollout ? ok(await viewOf(ports.store, rollout)) : missing(params.rollout);
    },
  });
}

function detailRoutes(ports: RolloutRoutesPorts): Route[] {
  const { rollouts } = ports.store;
  const detail = (name: string) =>
    ({
      method: "GET",
      path: `/v1/rollouts/:rollout/${name}`,
      role: "viewer",
      params: { rollout: Id },
      errors: ["NOT_FOUND"],
    }) as const;
  /** Everything of one kind that belongs to a rollout. */
  async function itemsOf<T>(id: string, caller: Caller, read: () => Promise<T[]>): Promise<Result<{ items: T[] }>> {
    return (await visible(ports.store, id, caller)) ? ok({ items: await read() }) : missing(id);
  }
  return [
    defineRoute({
      ...detail("executions"),
      operation: "listRolloutExecutions",
      summary: "Where every device of the rollout stands, and what it proved.",
      answer: Type.Object({ items: Type.Array(ExecutionAnswer) }, closed),
      handler: ({ params: { rollout: id }, caller }) =>
        itemsOf(id, caller, async () => (await rollouts.executions({ id })).map(executionAnswer)),
    }),
    defineRoute({
      ...detail("incompatible"),
      operation: "listRolloutIncompatible",
      summary: "Devices of the target that were left out, with why they cannot run this version.",
      answer: Type.Object({ items: Type.Array(IncompatibleAnswer) }, closed),
      handler: ({ params: { rollout: id }, caller }) => itemsOf(id, caller, () => rollouts.incompatible({ id })),
    }),
    defineRoute({
      ...detail("gates"),
      operation: "listRolloutGates",
      summary: "Every gate decision, newest first: statistic, counts, threshold and reason.",
      query: pageQuery,
      answer: pageOf(GateAnswer),
      errors: ["NOT_FOUND", "INVALID_CURSOR"],
      handler: async ({ params: { rollout: id }, query: { cursor, limit = PAGE_DEFAULT }, caller }) => {
        const from = gateCursor.decode(cursor);
        if (!from.ok) return from;
        if (!(await visible(ports.store, id, caller))) return missing(id);
        const rows = await rollouts.gates({ id, ...from.value, limit: limit + 1 });
        return ok(page(rows, limit, gateCursor, (last) => ({ before: last.id })));
      },
    }),
  ];
}

function orderRoute(ports: RolloutRoutesPorts): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/rollouts/:rollout/:order",
    operation: "orderRollout",
    summary: "Orders a rollout to start, pause, resume, stop, revert or retry, or answers its approval.",
    role: ["operator", "approver"],
    params: { rollout: Id, order: oneOf(COMMANDS) },
    answer: RolloutView,
    errors: ["NOT_FOUND", "ROLLOUT_COMMAND_REFUSED", "FORBIDDEN", "CONFLICT"],
    handler: async ({ params, caller }) => {
      const needed = params.order === "approve" || params.order === "deny" ? "approver" : "operator";
      if (caller.kind !== "token" || !(caller.roles.includes(needed) || caller.roles.includes("admin"))) {
        return err("FORBIDDEN");
      }
      if (!(await visible(ports.store, params.rollout, caller))) return missing(params.rollout);
      const ordered = await ports.orders.order(params.rollout, params.order);
      return ordered.ok ? ok(await viewOf(ports.store, ordered.value)) : ordered;
    },
  });
}

function missing(id: string) {
  return err("NOT_FOUND", { what: "rollout", name: id });
}

/** The rollout, where the caller may see it: who is limited to some sites sees what was planned for these alone. */
async function visible(store: Store, id: string, caller: Caller): Promise<RolloutRecord | undefined> {
  const rollout = await store.rollouts.get({ id });
  const sites = siteScope(caller);
  return !sites || rollout?.plan.sites?.every((site) => sites.includes(site)) ? rollout : undefined;
}

async function viewOf(store: Store, rollout: RolloutRecord) {
  const executions = await store.rollouts.executions({ id: rollout.id });
  const { plan, state } = rollout;
  return {
    id: rollout.id,
    model: plan.model,
    version: plan.version,
    manifestDigest: plan.manifestDigest,
    phase: state.phase,
    ...(state.reason ? { reason: state.reason } : {}),
    selector: plan.selector,
    selection: plan.selection,
    waveIndex: state.waveIndex,
    waves: state.waves.map(({ acknowledgedFailures: _failures, acknowledgedGates: _gates, ...wave }, index) => {
      const own = executions.filter((execution) => execution.wave === index);
      return { ...wave, devices: own.length, executions: countPhases(own) };
    }),
    incompatible: (await store.rollouts.incompatible({ id: rollout.id })).length,
    devicesTouched: executions.filter((execution) => execution.assignedAtMs !== null).length,
    createdAtMs: rollout.createdAtMs,
    createdBy: rollout.createdBy,
    updatedAtMs: rollout.updatedAtMs,
    allowed: Object.keys(TRANSITIONS[state.phase]) as RolloutCommand[],
  };
}

function countPhases(executions: readonly Execution[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { phase } of executions) counts[phase] = (counts[phase] ?? 0) + 1;
  return counts;
}

function executionAnswer(view: ExecutionView) {
  const { reported, refusal } = view;
  return {
    device: view.device,
    wave: view.wave,
    phase: view.phase,
    assignedAtMs: view.assignedAtMs,
    directorVersion: view.directorVersion,
    previousVersion: view.previous?.version ?? null,
    activeVersion: reported?.active?.version ?? null,
    devicePhase: reported?.phase ?? null,
    progress: reported?.progress ?? null,
    errorCode: view.errorCode,
    errorMessage: (view.errorCode === refusal?.code ? refusal?.message : reported?.error?.message) ?? null,
    evidence: reported?.evidence ?? null,
    shadow: reported?.shadow ?? null,
    lastSeenAtMs: view.lastSeenAtMs,
  };
}
