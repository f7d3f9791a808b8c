import { Digest, Name } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { oneOf } from "@bellwether/protocol/schema.ts";
import { parseSelector } from "@bellwether/protocol/selector.ts";
import { Type } from "typebox";
import type { Registry } from "../registry/registry.io.ts";
import type { ReleaseRepository, RetrainingView } from "../registry/repository.io.ts";
import type { RoleName } from "../registry/repository-state.ts";
import type { DevicesStore } from "../store/devices.ts";
import { callerName } from "./caller.ts";
import { VersionNumber, VersionView } from "./models.ts";
import { defineRoute, type Route } from "./route.ts";

export interface DelegationRoutesDeps {
  readonly store: { readonly devices: Pick<DevicesStore, "listCohorts"> };
  readonly registry: Pick<Registry, "releaseForCohort" | "undelegate">;
  readonly repository: Pick<ReleaseRepository, "retraining" | "delegate" | "setDelegation">;
}

const closed = { additionalProperties: false } as const;
const DelegationView = Type.Object(
  {
    model: Name,
    cohort: Name,
    selector: Type.String({ description: "As it was signed; devices judge themselves by it." }),
    enabled: Type.Boolean({ description: "False: switched off; devices take nothing of this role." }),
    versions: Type.Array(Type.Object({ version: VersionNumber, by: Type.String() }, closed), {
      description: "What the role released and nobody withdrew.",
    }),
    withdrawn: Type.Array(Digest, { description: "Manifests it released that no device takes any more." }),
  },
  closed,
);
const params = { model: Name, cohort: Name };
const PATH = "/v1/models/:model/delegations/:cohort";

/** Retraining roles: which models may be released automatically, and for which cohort. */
export function delegationRoutes(deps: DelegationRoutesDeps): Route[] {
  return [listRoute(deps), grantRoute(deps), revokeRoute(deps), switchRoute(deps), releaseRoute(deps)];
}

function listRoute({ repository }: DelegationRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/delegations",
    operation: "listDelegations",
    summary: "The retraining roles: each may release one model for one cohort.",
    role: "viewer",
    answer: Type.Object({ items: Type.Array(DelegationView) }, closed),
    handler: async () => ok({ items: repository.retraining().map(viewOf) }),
  });
}

function grantRoute(deps: DelegationRoutesDeps): Route {
  const { store, repository } = deps;
  return defineRoute({
    method: "PUT",
    path: PATH,
    operation: "grantDelegation",
    summary:
      "Lets automatic retraining release a model for a cohort, by an online key; signs the selector as it is now.",
    role: "admin",
    params,
    answer: DelegationView,
    errors: ["RETRAINING_COHORT_UNKNOWN"],
    handler: async ({ params: { model, cohort } }) => {
      const found = (await store.devices.listCohorts({})).find((one) => one.cohort === cohort);
      if (!found) return err("RETRAINING_COHORT_UNKNOWN", { cohort, reason: "nobody has named it" });
      const selector = parseSelector(found.selector);
      if (!selector.ok || selector.value.length === 0) {
        return err("RETRAINING_COHORT_UNKNOWN", { cohort, reason: "its selector demands nothing of a device" });
      }
      await repository.delegate({ model, cohort, selector: found.selector });
      return find(repository, { model, cohort });
    },
  });
}

function revokeRoute({ registry }: DelegationRoutesDeps): Route {
  return defineRoute({
    method: "DELETE",
    path: PATH,
    operation: "revokeDelegation",
    summary: "Takes a retraining role away with its key, and withdraws everything it released.",
    role: "admin",
    params,
    answer: Type.Object({ withdrawn: Type.Array(VersionNumber) }, closed),
    errors: ["RETRAINING_ROLE_UNKNOWN"],
    handler: async ({ params: role }) => {
      const withdrawn = await registry.undelegate(role);
      return withdrawn.ok ? ok({ withdrawn: [...withdrawn.value] }) : withdrawn;
    },
  });
}

function switchRoute({ repository }: DelegationRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: `${PATH}/:order`,
    operation: "switchDelegation",
    summary: "Switches a retraining role off or on again; what it released comes back with it.",
    role: "admin",
    params: { ...params, order: oneOf(["on", "off"]) },
    answer: DelegationView,
    errors: ["RETRAINING_ROLE_UNKNOWN"],
    handler: async ({ params: { order, ...role } }) => {
      const done = await repository.setDelegation(role, order === "on");
      return done.ok ? find(repository, role) : done;
    },
  });
}

function releaseRoute({ registry }: DelegationRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/models/:model/versions/:version/release/:cohort",
    operation: "releaseModelVersionForCohort",
    summary: "Has the retraining role of a cohort sign a valid version: only devices of the cohort accept it.",
    role: "releaser",
    params: { model: Name, version: VersionNumber, cohort: Name },
    answer: VersionView,
    errors: [
      ...(["NOT_FOUND", "CONFLICT", "RELEASE_EXISTS"] as const),
      ...(["RETRAINING_ROLE_UNKNOWN", "RETRAINING_ROLE_OFF", "RELEASE_WITHDRAWN"] as const),
    ],
    handler: async ({ params: version, caller }) => registry.releaseForCohort({ ...version, by: callerName(caller) }),
  });
}

function find(repository: Pick<ReleaseRepository, "retraining">, { model, cohort }: RoleName) {
  const role = repository.retraining().find((one) => one.model === model && one.cohort === cohort);
  return role ? ok(viewOf(role)) : err("RETRAINING_ROLE_UNKNOWN", { model, cohort });
}

function viewOf({ versions, withdrawn, ...role }: RetrainingView) {
  return { ...role, versions: versions.map((one) => ({ ...one })), withdrawn: [...withdrawn] };
}
