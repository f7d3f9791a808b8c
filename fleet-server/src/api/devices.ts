import { Name } from "@bellwether/protocol/ids.ts";
import { Labels } from "@bellwether/protocol/labels.ts";
import { DEVICE_PHASES, ReportedModel } from "@bellwether/protocol/messages/device.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer, mapOf, oneOf } from "@bellwether/protocol/schema.ts";
import { parseSelector, selects } from "@bellwether/protocol/selector.ts";
import { Type } from "typebox";
import type { QuotaUse } from "../broker/back-pressure.io.ts";
import { PRESENCES, type PresenceRule } from "../devices/presence.ts";
import { deviceView, selectable } from "../devices/view.ts";
import type { DeviceRecord } from "../store/devices.ts";
import type { Store } from "../store/store.ts";
import { type Caller, seesSite, siteScope } from "./caller.ts";
import { cursors, PAGE_DEFAULT, pageOf, pageQuery } from "./page.ts";
import { jsonArtifact } from "./repository.ts";
import { defineRoute, type Route, WrittenJson } from "./route.ts";

const closed = { additionalProperties: false } as const;
const Time = integer({ description: "Milliseconds since 1970 UTC." });
/** A label selector as text. */
export const Selector = Type.String({
  maxLength: 1_000,
  description: "Label selector; the empty one selects everything.",
});

const DeviceView = Type.Object(
  {
    device: Name,
    site: Name,
    phase: oneOf(DEVICE_PHASES),
    presence: oneOf(PRESENCES),
    /** Age of the last word, in milliseconds; null when there was none. */
    ageMs: Type.Union([integer({ minimum: 0 }), Type.Null()]),
    lastSeenAtMs: Type.Union([Time, Type.Null()]),
    clockAheadMs: Type.Union([integer(), Type.Null()], {
      description: "How far its clock was ahead of the server's when it last spoke of itself; below 0 it was behind.",
    }),
    labels: Labels,
    facts: mapOf(Type.String(), Type.String()),
    serial: Type.Union([Type.String(), Type.Null()]),
    agentVersion: Type.Union([Type.String(), Type.Null()]),
    enrolledAtMs: Time,
    cloned: Type.Boolean({ description: "Its key was seen on two machines; its next key takes this away." }),
    clonedAtMs: Type.Union([Time, Type.Null()]),
    replacedBy: Type.Union([Name, Type.Null()]),
  },
  closed,
);

const DeviceDetail = Type.Object(
  {
    ...DeviceView.properties,
    keyHex: Type.String(),
    health: Type.Unknown({ description: "What the device last said of itself; null before." }),
    assets: Type.Array(Type.Object({ asset: Name, channels: Type.Array(Type.Unknown()) }, closed)),
    models: Type.Array(ReportedModel),
    directorVersion: integer(),
    quota: Type.Object(
      {
        isPaused: Type.Boolean({
          description: "It sent more than it may in a minute and is not read until it may again.",
        }),
        pauses: integer({ minimum: 0, description: "How often that was so since the server started." }),
      },
      closed,
    ),
    refusals: Type.Array(Type.Object({ code: Type.String(), message: Type.String(), atMs: Time }, closed)),
  },
  closed,
);

export interface DeviceRoutesDeps {
  readonly store: Pick<Store, "devices">;
  readonly rule: PresenceRule;
  kick(device: string): void;
  /** Asks a device for the models that another one was asked for, where it was asked for none of that name itself. */
  inherit(from: string, device: string): Promise<void>;
  /** Whether a device has to wait for its quota now, and how often it had to since the server started. */
  quotaOf(device: string): QuotaUse;
  /** The newest director document of a device, sealed; undefined where there is none. */
  document(device: string): Promise<Uint8Array | undefined>;
}

/** Names of the active devices a selector matches, of these sites. */
export async function matchingDevices(
  store: Pick<Store, "devices">,
  text: string,
  sites?: readonly string[],
): Promise<Result<readonly string[]>> {
  const selector = parseSelector(text);
  if (!selector.ok) return selector;
  const all = await store.devices.list({ limit: 1_000_000, ...(sites ? { sites } : {}) });
  return ok(
    all
      .filter((device) => device.phase === "active" && selects(selector.value, selectable(device)))
      .map(({ device }) => device),
  );
}

/** Devices. */
export function deviceRoutes(deps: DeviceRoutesDeps): Route[] {
  return [...readRoutes(deps), documentRoute(deps), ...changeRoutes(deps)];
}

const list = cursors(Type.Object({ after: Name }, closed));

function readRoutes({ store, rule, quotaOf }: DeviceRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/v1/devices",
      operation: "listDevices",
      summary: "Devices by name, with their presence and its age.",
      role: "viewer",
      query: { ...pageQuery, selector: Type.Optional(Selector), presence: Type.Optional(oneOf(PRESENCES)) },
      answer: pageOf(DeviceView),
      errors: ["INVALID_CURSOR", "SELECTOR_INVALID"],
      handler: async ({ query, caller, request }) => {
        const from = list.decode(query.cursor);
        if (!from.ok) return from;
        const selector = parseSelector(query.selector ?? "");
        if (!selector.ok) return selector;
        const sites = siteScope(caller);
        const { items, last } = await store.devices.page({
          limit: query.limit ?? PAGE_DEFAULT,
          filter: {
            selector: selector.value,
            ...(query.presence === undefined ? {} : { presence: query.presence }),
          },
          nowMs: request.nowMs,
          rule,
          ...(sites ? { sites } : {}),
          ...from.value,
        });
        const next = last === undefined ? "" : `,"next":${JSON.stringify(list.encode({ after: last }))}`;
        return ok(new WrittenJson(`{"items":${items}${next}}`));
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/devices/:device",
      operation: "showDevice",
      summary: "One device: presence, health, assets, and what it reports of its models.",
      role: "viewer",
      params: { device: Name },
      answer: DeviceDetail,
      errors: ["NOT_FOUND"],
      handler: async ({ params, caller, request }) => {
        const device = await visible(store, params.device, caller);
        if (!device.ok) return device;
        const [births, reported] = await Promise.all([
          store.devices.births({ device: params.device }),
          store.devices.reportedModels({ device: params.device }),
        ]);
        return ok({
          ...deviceView(device.value, request.nowMs, rule),
          keyHex: device.value.publicHex,
          health: device.value.state?.health ?? null,
          assets: births.map(({ asset, channels }) => ({ asset, channels })),
          models: reported.models,
          directorVersion: reported.directorVersion,
          quota: quotaOf(params.device),
          refusals: [...reported.refusals],
        });
      },
    }),
  ];
}

function documentRoute({ store, document }: DeviceRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/devices/:device/document",
    operation: "getDirectorDocument",
    summary: "The signed document that says what a device should run, for a bundle; issued anew past half of its life.",
    role: "operator",
    params: { device: Name },
    answer: "artifact",
    errors: ["NOT_FOUND"],
    handler: async ({ params, caller }) => {
      const device = await visible(store, params.device, caller);
      if (!device.ok) return device;
      const bytes = await document(params.device);
      return bytes
        ? ok(jsonArtifact(bytes, false))
        : err("NOT_FOUND", { what: "director document of", name: params.device });
    },
  });
}

async function visible(store: Pick<Store, "devices">, name: string, caller: Caller): Promise<Result<DeviceRecord>> {
  const device = await store.devices.get({ device: name });
  if (!device || !seesSite(caller, device.site)) return err("NOT_FOUND", { what: "device", name });
  return ok(device);
}

/** Orders that bring a device from one phase into another; given again they change nothing. */
const ORDERS = {
  approve: { role: "operator", phase: "active", from: ["pending"], summary: "Lets a pending device in." },
  reject: {
    role: "operator",
    phase: "rejected",
    from: ["pending"],
    summary: "Refuses a pending device for good; its name and key never come in.",
  },
  reset: {
    role: "operator",
    phase: "wiped",
    from: ["pending", "active"],
    summary: "Says that a device lost its key: shuts it out until it enrols again, as the same device.",
  },
  revoke: {
    role: "admin",
    phase: "revoked",
    from: ["pending", "active", "wiped"],
    summary: "Shuts a device out for good, and its live session at once.",
  },
} as const;

function changeRoutes({ store, rule, kick, inherit }: DeviceRoutesDeps): Route[] {
  const replaceRoute = () =>
    defineRoute({
      method: "POST",
      path: "/v1/devices/:device/replace",
      operation: "replaceDevice",
      summary:
        "Gives another device its place: labels, assets, baselines and the models it should run. It is shut out for good.",
      role: "admin",
      params: { device: Name },
      body: Type.Object({ by: Name }, closed),
      answer: DeviceView,
      errors: ["NOT_FOUND", "CONFLICT"],
      handler: async ({ params, body, caller, request }) => {
        for (const name of [params.device, body.by]) {
          const found = await visible(store, name, caller);
          if (!found.ok) return found;
        }
        const { nowMs, id: reference } = request;
        const replaced = await store.devices.replace({ device: params.device, by: body.by, nowMs, reference });
        if (!replaced.ok) return replaced;
        await inherit(params.device, body.by);
        kick(params.device);
        // It comes again at once, and hears of everything that is its own now.
        kick(body.by);
        return ok(deviceView(replaced.value, nowMs, rule));
      },
    });
  const phaseRoute = (order: keyof typeof ORDERS) => {
    const { role, phase, from, summary } = ORDERS[order];
    return defineRoute({
      method: "POST",
      path: `/v1/devices/:device/${order}`,
      operation: `${order}Device`,
      summary,
      role,
      params: { device: Name },
      answer: DeviceView,
      errors: ["NOT_FOUND", "CONFLICT"],
      handler: async ({ params, caller, request }) => {
        const device = await visible(store, params.device, caller);
        if (!device.ok) return device;
        const { nowMs } = request;
        const changed = await store.devices.setPhase({ device: params.device, phase, from, nowMs });
        if (changed.ok && phase !== "active") kick(params.device);
        return changed.ok ? ok(deviceView(changed.value, request.nowMs, rule)) : changed;
      },
    });
  };
  return [
    defineRoute({
      method: "PUT",
      path: "/v1/devices/:device/labels",
      operation: "labelDevice",
      summary: "Sets a device's labels, whole.",
      role: "operator",
      params: { device: Name },
      body: Labels,
      answer: DeviceView,
      errors: ["NOT_FOUND"],
      handler: async ({ params, body, caller, request }) => {
        const device = await visible(store, params.device, caller);
        if (!device.ok) return device;
        const changed = await store.devices.setLabels({ device: params.device, labels: body });
        return changed.ok ? ok(deviceView(changed.value, request.nowMs, rule)) : changed;
      },
    }),
    replaceRoute(),
    phaseRoute("approve"),
    phaseRoute("reject"),
    phaseRoute("reset"),
    phaseRoute("revoke"),
  ];
}
