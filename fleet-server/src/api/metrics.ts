import { ok } from "@bellwether/protocol/result.ts";
import type { Metrics } from "../metrics/metrics.ts";
import { defineRoute, type Route } from "./route.ts";

/** `GET /metrics` for Prometheus: counts of the whole server, no device's or site's name in them. */
export function metricsRoutes({ metrics }: { readonly metrics: Metrics }): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/metrics",
      operation: "scrapeMetrics",
      summary: "Counters and gauges in the Prometheus text format.",
      tag: "server",
      role: "public",
      answer: "stream",
      ratePerMinute: 600,
      handler: async () =>
        ok({ contentType: "text/plain; version=0.0.4; charset=utf-8", body: [await metrics.render()] }),
    }),
  ];
}
