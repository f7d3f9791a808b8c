import { emptySketch, fitsReference, mergeSketches } from "@bellwether/protocol/drift/merge.ts";
import { Digest, Name, TimeMs } from "@bellwether/protocol/ids.ts";
import { DriftRecord, DriftSketch } from "@bellwether/protocol/messages/drift.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import type { References } from "../drift/references.io.ts";
import { CohortVerdict } from "../drift/verdict.ts";
import type { Store } from "../store/store.ts";
import { type Caller, siteScope } from "./caller.ts";
import { findCohort } from "./cohorts.ts";
import { matchingDevices } from "./devices.ts";
import { cursors, page, pageOf, pageQuery } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;
const Time = integer({ ...TimeMs, description: "Milliseconds since 1970 UTC, by the sources' clocks." });
const byId = cursors(Type.Object({ afterId: integer({ minimum: 0 }) }, closed));
const HISTORY_MAX = 100;
const WINDOWS_AT_ONCE = 1_000;

export interface DriftRoutesDeps {
  readonly store: Pick<Store, "devices" | "drift">;
  readonly references: References;
}

const WindowView = Type.Object(
  {
    id: integer(),
    device: Name,
    site: Name,
    committedAtMs: integer(),
    hist: Type.Boolean(),
    record: DriftRecord,
  },
  closed,
);

const SketchView = Type.Object(
  {
    cohort: Name,
    model: Name,
    reference: Digest,
    features: Type.Array(Type.String()),
    windows: integer({ description: "Windows that were added up, each once." }),
    refused: integer({ description: "Windows left out because they were made with other edges." }),
    sketch: DriftSketch,
  },
  closed,
);

/** Routes of drift: where cohorts stand and why, and the windows behind it. */
export function driftRoutes(deps: DriftRoutesDeps): Route[] {
  return [verdictsRoute(deps), verdictRoute(deps), windowsRoute(deps), sketchRoute(deps)];
}

/** Verdicts that speak only of devices the caller may see. */
async function visible(
  store: DriftRoutesDeps["store"],
  caller: Caller,
  verdicts: readonly CohortVerdict[],
): Promise<CohortVerdict[]> {
  const sites = siteScope(caller);
  if (sites === undefined) return [...verdicts];
  const own = new Set((await store.devices.list({ sites, limit: 1_000_000 })).map(({ device }) => device));
  const named = ({ devices, quality, features }: CohortVerdict) => [
    ...devices,
    ...quality.map(({ device }) => device),
    ...features.flatMap((feature) => feature.devices),
  ];
  return verdicts.filter((verdict) => verdict.devices.length > 0 && named(verdict).every((device) => own.has(device)));
}

function verdictsRoute({ store }: DriftRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/drift",
    operation: "listDrift",
    summary: "Where every cohort stands under every model, with the sentence that explains it.",
    tag: "drift",
    role: "viewer",
    query: { cohort: Type.Optional(Name), model: Type.Optional(Name) },
    answer: Type.Object({ items: Type.Array(CohortVerdict) }, closed),
    handler: async ({ query, caller }) =>
      ok({ items: await visible(store, caller, await store.drift.verdicts(query)) }),
  });
}

function verdictRoute({ store }: DriftRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/drift/:cohort/:model",
    operation: "showDrift",
    summary:
      "One cohort under one model: its verdicts (one per reference in use) and what was called before, newest first.",
    tag: "drift",
    role: "viewer",
    params: { cohort: Name, model: Name },
    answer: Type.Object({ verdicts: Type.Array(CohortVerdict), history: Type.Array(CohortVerdict) }, closed),
    errors: ["NOT_FOUND"],
    handler: async ({ params, caller }) => {
      const verdicts = await visible(store, caller, await store.drift.verdicts(params));
      const history = await store.drift.history({ ...params, limit: HISTORY_MAX });
      const seen = await visible(store, caller, history);
      if (verdicts.length + seen.length === 0) {
        return err("NOT_FOUND", { what: "drift verdict", name: `${params.cohort} under ${params.model}` });
      }
      return ok({ verdicts, history: seen });
    },
  });
}

function windowsRoute({ store }: DriftRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/drift-windows",
    operation: "listDriftWindows",
    summary: "Closed drift windows of single assets, as devices sent them, in the order of their commit.",
    tag: "drift",
    role: "viewer",
    query: {
      ...pageQuery,
      device: Type.Optional(Name),
      asset: Type.Optional(Name),
      model: Type.Optional(Name),
      fromMs: Type.Optional(Time),
      toMs: Type.Optional(Time),
    },
    answer: pageOf(WindowView),
    errors: ["INVALID_CURSOR"],
    handler: async ({ query: { cursor: text, limit = 100, ...about }, caller }) => {
      const cursor = byId.decode(text);
      if (!cursor.ok) return cursor;
      const sites = siteScope(caller);
      const rows = await store.drift.windows({
        ...about,
        ...cursor.value,
        ...(sites ? { sites } : {}),
        limit: limit + 1,
      });
      return ok(page(rows, limit, byId, ({ id }) => ({ afterId: id })));
    },
  });
}

function sketchRoute({ store, references }: DriftRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/drift-sketches/:cohort/:model",
    operation: "mergeDriftSketches",
    summary:
      "The windows of a cohort's devices added up: counts in the reference's frozen bins, and sums. Exact, whatever the order.",
    tag: "drift",
    role: "viewer",
    params: { cohort: Name, model: Name },
    query: { reference: Type.Optional(Digest), fromMs: Type.Optional(Time), toMs: Type.Optional(Time) },
    answer: SketchView,
    errors: ["NOT_FOUND", "SELECTOR_INVALID"],
    handler: async ({ params: { cohort, model }, query, caller }) => {
      const missing = err("NOT_FOUND", { what: "drift window", name: `${cohort} under ${model}` });
      const found = await findCohort(store, cohort, caller);
      if (!found.ok) return found;
      const matching = await matchingDevices(store, found.value.selector, siteScope(caller));
      if (!matching.ok) return matching;
      const devices = new Set(matching.value);
      const wanted = query.reference ?? (await store.drift.verdicts({ cohort, model })).at(-1)?.reference;
      if (wanted === undefined) return missing;
      let merged:
        | { drift: NonNullable<Awaited<ReturnType<References["open"]>>>["drift"]; sketch: DriftSketch }
        | undefined;
      let windows = 0;
      let refused = 0;
      for await (const { device, record } of allWindows(store, { ...query, model, reference: wanted })) {
        if (!devices.has(device)) continue;
        if (merged === undefined) {
          const known = await references.open(model, record.digest, wanted);
          if (known === undefined) return missing;
          merged = { drift: known.drift, sketch: emptySketch(known.drift) };
        }
        if (fitsReference(record.sketch, merged.drift).ok) {
          merged.sketch = mergeSketches(merged.sketch, record.sketch);
          windows += 1;
        } else refused += 1;
      }
      if (merged === undefined) return missing;
      const { drift, sketch } = merged;
      return ok({ cohort, model, reference: wanted, features: drift.features, windows, refused, sketch });
    },
  });
}

async function* allWindows(
  store: DriftRoutesDeps["store"],
  query: Omit<Parameters<Store["drift"]["windows"]>[0], "limit" | "afterId">,
) {
  for (let afterId = 0; ; ) {
    const rows = await store.drift.windows({ ...query, afterId, limit: WINDOWS_AT_ONCE });
    yield* rows;
    if (rows.length < WINDOWS_AT_ONCE) return;
    afterId = rows.at(-1)!.id;
  }
}
