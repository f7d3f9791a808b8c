import { integer } from "@bellwether/protocol/schema.ts";
import type { LineageReader } from "../retraining/lineage.io.ts";
import { Lineage } from "../retraining/lineage.ts";
import { siteScope } from "./caller.ts";
import { defineRoute, type Route } from "./route.ts";

export interface LineageRoutesDeps {
  readonly lineage: LineageReader;
}

/** Where predictions come from. */
export function lineageRoutes({ lineage }: LineageRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/v1/predictions/:prediction/lineage",
      operation: "showLineage",
      summary:
        "Where one prediction comes from: model digest, training run, data snapshots, and who let devices run it.",
      tag: "predictions",
      role: "viewer",
      params: { prediction: integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }) },
      answer: Lineage,
      errors: ["NOT_FOUND"],
      handler: async ({ params, caller }) => lineage.of(params.prediction, siteScope(caller)),
    }),
  ];
}
