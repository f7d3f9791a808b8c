import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { oneOf } from "@bellwether/protocol/schema.ts";
import { parseSelector } from "@bellwether/protocol/selector.ts";
import { type Static, Type } from "typebox";
import { METADATA_BYTES_MAX } from "../registry/read-metadata.ts";
import type { Registry, ReleaseOrder } from "../registry/registry.io.ts";
import { ReleaseRequest } from "../registry/release-request.ts";
import type { DevicesStore } from "../store/devices.ts";
import { allows, callerName } from "./caller.ts";
import { VersionNumber } from "./models.ts";
import { defineRoute, type Route } from "./route.ts";

export interface ReleaseRoutesDeps {
  readonly store: { readonly devices: Pick<DevicesStore, "listCohorts"> };
  readonly registry: Pick<Registry, "request" | "publish">;
}

const closed = { additionalProperties: false } as const;
const Wanted = Type.Union([
  Type.Object({ change: Type.Literal("release"), model: Name, version: VersionNumber }, closed),
  Type.Object({ change: oneOf(["grant", "revoke", "on", "off"]), model: Name, cohort: Name }, closed),
  Type.Object({ change: Type.Literal("director") }, closed),
]);
const RequestBody = Type.Object({ changes: Type.Array(Wanted, { maxItems: 100 }) }, closed);
const UploadBody = Type.Object(
  {
    roots: Type.Optional(Type.Array(Type.String({ maxLength: METADATA_BYTES_MAX.root }), { maxItems: 16 })),
    targets: Type.Optional(Type.String({ maxLength: METADATA_BYTES_MAX.targets })),
  },
  closed,
);
const Named = Type.Array(Type.Object({ model: Name, version: VersionNumber }, closed));
const BODY_BYTES_MAX = 4 * 1_048_576;
const ERRORS = [
  ...(["NOT_FOUND", "CONFLICT", "RELEASE_EXISTS", "RETRAINING_ROLE_UNKNOWN", "FORBIDDEN"] as const),
] as const;

/** What the offline keys are asked to sign, and what they signed: no key that may release anything is on the server. */
export function releaseRoutes({ store, registry }: ReleaseRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/v1/repository/requests",
      operation: "requestRelease",
      summary: "What the offline keys have to sign for these changes; none renews the targets.",
      role: "releaser",
      wholeFleet: true,
      body: RequestBody,
      answer: ReleaseRequest,
      errors: [...ERRORS, "RETRAINING_COHORT_UNKNOWN"],
      handler: async ({ body: { changes }, caller }) => {
        if (changes.some(({ change }) => change !== "release") && !allows("admin", caller))
          return err("FORBIDDEN", { role: "admin" });
        const orders = await ordersOf(store, changes);
        return orders.ok ? registry.request(orders.value) : orders;
      },
    }),
    defineRoute({
      method: "POST",
      path: "/v1/repository/publications",
      operation: "publishRelease",
      summary: "Publishes root or targets metadata that offline keys signed, after judging them as a device would.",
      role: "releaser",
      wholeFleet: true,
      body: UploadBody,
      bodyBytesMax: BODY_BYTES_MAX,
      answer: Type.Object({ targets: VersionNumber, released: Named, withdrawn: Named }, closed),
      errors: [
        ...ERRORS,
        ...(["PUBLICATION_UNREADABLE", "PUBLICATION_UNSIGNED", "PUBLICATION_VERSION", "PUBLICATION_EXPIRED"] as const),
        ...(["TARGETS_INCONSISTENT", "ONLINE_KEY_MISSING"] as const),
      ],
      handler: async ({ body: { roots = [], targets }, caller }) => {
        const upload = { roots, ...(targets === undefined ? {} : { targets }) };
        const done = await registry.publish(upload, { by: callerName(caller), admin: allows("admin", caller) });
        if (!done.ok) return done;
        const named = (all: readonly { readonly model: string; readonly version: number }[]) =>
          all.map(({ model, version }) => ({ model, version }));
        const { released, withdrawn, change } = done.value;
        return ok({
          targets: change.state.versions.targets,
          released: named(released),
          withdrawn: named(withdrawn),
        });
      },
    }),
  ];
}

/** The orders with the selectors of their cohorts, as they are now. */
async function ordersOf(
  store: ReleaseRoutesDeps["store"],
  changes: readonly Static<typeof Wanted>[],
): Promise<Result<ReleaseOrder[]>> {
  const orders: ReleaseOrder[] = [];
  for (const wanted of changes) {
    if (wanted.change === "release" || wanted.change === "director") orders.push(wanted);
    else if (wanted.change !== "grant") orders.push({ ...wanted, change: wanted.change });
    else {
      const { model, cohort } = wanted;
      const found = (await store.devices.listCohorts({})).find((one) => one.cohort === cohort);
      if (!found) return err("RETRAINING_COHORT_UNKNOWN", { cohort, reason: "nobody has named it" });
      const selector = parseSelector(found.selector);
      if (!selector.ok || selector.value.length === 0)
        return err("RETRAINING_COHORT_UNKNOWN", { cohort, reason: "its selector demands nothing of a device" });
      orders.push({ change: "grant", model, cohort, selector: found.selector });
    }
  }
  return ok(orders);
}
