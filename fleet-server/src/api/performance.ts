import { Name, TimeMs } from "@bellwether/protocol/ids.ts";
import { ok } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import type { PerformanceMeter } from "../retraining/performance.io.ts";
import { Performance } from "../retraining/performance.ts";
import { TargetSpec } from "../retraining/targets.ts";
import type { Store } from "../store/store.ts";
import { siteScope } from "./caller.ts";
import { findCohort } from "./cohorts.ts";
import { matchingDevices } from "./devices.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;
const Time = integer({ ...TimeMs, description: "Milliseconds since 1970 UTC, by the sources' clocks." });

export interface PerformanceRoutesDeps {
  readonly store: Pick<Store, "devices">;
  readonly performance: PerformanceMeter;
}

/** How good a model really is: its predictions against what happened. */
export function performanceRoutes({ store, performance }: PerformanceRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/v1/performance",
      operation: "measurePerformance",
      summary:
        "Real errors of a model's committed predictions, on a cohort or everywhere, as far as labels have matured.",
      role: "viewer",
      query: {
        model: Name,
        cohort: Type.Optional(Name),
        fromMs: Type.Optional(Time),
        toMs: Type.Optional(Time),
      },
      answer: Type.Object(
        {
          target: TargetSpec,
          whole: Performance,
          versions: Type.Array(Type.Object({ version: integer(), ...Performance.properties }, closed)),
        },
        closed,
      ),
      errors: ["NOT_FOUND", "SELECTOR_INVALID", "PERFORMANCE_TARGET_UNKNOWN"],
      handler: async ({ query: { cohort, ...asked }, caller }) => {
        const found = cohort === undefined ? undefined : await findCohort(store, cohort, caller);
        if (found && !found.ok) return found;
        const devices = await matchingDevices(store, found?.value.selector ?? "", siteScope(caller));
        if (!devices.ok) return devices;
        const measured = await performance.measure({ ...asked, devices: devices.value });
        return measured.ok ? ok({ ...measured.value, versions: [...measured.value.versions] }) : measured;
      },
    }),
  ];
}
