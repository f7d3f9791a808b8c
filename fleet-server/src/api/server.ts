import { ok, type Result } from "@bellwether/protocol/result.ts";
import { Type } from "typebox";
import { defineRoute, type Route } from "./route.ts";

/** What the server's own routes need to know. */
export interface ServerRouteDeps {
  /** Version of the program. */
  readonly version: string;
  /** The problem that keeps the server from working, or ok. May touch the store; bounded in time. */
  ready(): Promise<Result<undefined>>;
}

/** Liveness, readiness and version: what a supervisor, a load balancer and a person ask first. */
export function serverRoutes(deps: ServerRouteDeps): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/healthz",
      operation: "checkLiveness",
      summary: "Whether the process is alive; asks nothing of the store.",
      tag: "server",
      role: "public",
      answer: Type.Object({ alive: Type.Literal(true) }, { additionalProperties: false }),
      ratePerMinute: 60_000,
      handler: async () => ok({ alive: true as const }),
    }),
    defineRoute({
      method: "GET",
      path: "/readyz",
      operation: "checkReadiness",
      summary: "Whether the store, the broker and the workers are ready to serve.",
      tag: "server",
      role: "public",
      answer: Type.Object({ ready: Type.Literal(true) }, { additionalProperties: false }),
      ratePerMinute: 6000,
      errors: ["UNAVAILABLE"],
      handler: async () => {
        const ready = await deps.ready();
        if (ready.ok) return ok({ ready: true as const });
        return ready;
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/version",
      operation: "showVersion",
      summary: "The server's version.",
      tag: "server",
      role: "public",
      answer: Type.Object({ version: Type.String() }, { additionalProperties: false }),
      handler: async () => ok({ version: deps.version }),
    }),
  ];
}
