import type { GovernanceStore } from "../store/governance.ts";
import { auditRoutes } from "./audit.ts";
import { type RolloutRoutesPorts, rolloutRoutes } from "./rollouts.ts";
import type { Route } from "./route.ts";
import { type ServerRouteDeps, serverRoutes } from "./server.ts";
import { type TokenRoutesDeps, tokenRoutes } from "./tokens.ts";

/** What the rooms' routes need; app.ts gives the real things, the OpenAPI document is made without them. */
export interface RouteDeps {
  readonly server: ServerRouteDeps;
  readonly tokens: TokenRoutesDeps;
  readonly audit: { readonly store: { readonly governance: GovernanceStore } };
  readonly rollouts: RolloutRoutesPorts;
}

/** Every route of the server. A room adds its line here. */
export function allRoutes(deps: RouteDeps): Route[] {
  return [
    ...serverRoutes(deps.server),
    ...tokenRoutes(deps.tokens),
    ...auditRoutes(deps.audit),
    ...rolloutRoutes(deps.rollouts),
  ];
}
