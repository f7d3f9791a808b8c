import type { Route } from "./route.ts";
import { type ServerRouteDeps, serverRoutes } from "./server.ts";

/** What the rooms' routes need; app.ts gives the real things, the OpenAPI document is made without them. */
export interface RouteDeps {
  readonly server: ServerRouteDeps;
}

/** Every route of the server. A room adds its line here. */
export function allRoutes(deps: RouteDeps): Route[] {
  return [...serverRoutes(deps.server)];
}
