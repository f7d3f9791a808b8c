import { Digest, Name } from "@bellwether/protocol/ids.ts";
import { ok } from "@bellwether/protocol/result.ts";
import { Type } from "typebox";
import type { Registry } from "../registry/registry.io.ts";
import type { ReleaseRepository, RetrainingView } from "../registry/repository.io.ts";
import { callerName } from "./caller.ts";
import { staysWithin } from "./cohorts.ts";
import { VersionNumber, VersionView } from "./models.ts";
import { defineRoute, type Route } from "./route.ts";

export interface DelegationRoutesDeps {
  readonly registry: Pick<Registry, "releaseForCohort">;
  readonly repository: Pick<ReleaseRepository, "retraining">;
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

/** Retraining roles: which models may be released automatically, and for which cohort. */
export function delegationRoutes(deps: DelegationRoutesDeps): Route[] {
  return [listRoute(deps), releaseRoute(deps)];
}

function listRoute({ repository }: DelegationRoutesDeps): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/delegations",
    operation: "listDelegations",
    summary: "The retraining roles: each may release one model for one cohort.",
    role: "viewer",
    answer: Type.Object({ items: Type.Array(DelegationView) }, closed),
    handler: async ({ caller }) =>
      ok({
        items: repository
          .retraining()
          .filter(({ selector }) => staysWithin(caller, selector))
          .map(viewOf),
      }),
  });
}

function releaseRoute({ registry }: DelegationRoutesDeps): Route {
  return defineRoute({
    method: "POST",
    path: "/v1/models/:model/versions/:version/release/:cohort",
    operation: "releaseModelVersionForCohort",
    summary: "Has the retraining role of a cohort sign a valid version: only devices of the cohort accept it.",
    role: "releaser",
    wholeFleet: true,
    params: { model: Name, version: VersionNumber, cohort: Name },
    answer: VersionView,
    errors: [
      ...(["NOT_FOUND", "CONFLICT", "RELEASE_EXISTS"] as const),
      ...(["RETRAINING_ROLE_UNKNOWN", "RETRAINING_ROLE_OFF", "RELEASE_WITHDRAWN"] as const),
    ],
    handler: async ({ params: version, caller }) => registry.releaseForCohort({ ...version, by: callerName(caller) }),
  });
}

function viewOf({ versions, withdrawn, ...role }: RetrainingView) {
  return { ...role, versions: versions.map((one) => ({ ...one })), withdrawn: [...withdrawn] };
}
