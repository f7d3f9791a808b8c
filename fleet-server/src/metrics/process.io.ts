import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Answered } from "../api/app.io.ts";
import type { Metrics } from "./metrics.ts";

/** What a process says about itself, under the names Prometheus client libraries agree on. Call the answer to stop. */
export function addProcessMetrics(metrics: Metrics, version: string): () => void {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  metrics.gauge("bellwether_build_info", "1, with the program's version.", () => [
    { labels: { version, node: process.versions.node }, value: 1 },
  ]);
  metrics.gauge("process_resident_memory_bytes", "Resident memory.", () => [{ value: process.memoryUsage.rss() }]);
  metrics.gauge("process_cpu_seconds", "CPU time spent since the start.", () => {
    const { user, system } = process.cpuUsage();
    return [{ value: (user + system) / 1e6 }];
  });
  const startedAtSeconds = Math.round(Date.now() / 1000 - process.uptime());
  metrics.gauge("process_start_time_seconds", "Start, in seconds since 1970 UTC.", () => [{ value: startedAtSeconds }]);
  metrics.gauge("bellwether_event_loop_delay_p99_seconds", "99th percentile since the last scrape.", () => {
    const seconds = delay.percentile(99) / 1e9;
    delay.reset();
    return [{ value: Number.isFinite(seconds) ? seconds : 0 }];
  });
  return () => void delay.disable();
}

const SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** Counts answered requests; give its answer to `buildApp` as `observe`. */
export function addHttpMetrics(metrics: Metrics): (answered: Answered) => void {
  const requests = metrics.counter("bellwether_http_requests_total", "Answered requests by operation and HTTP code.");
  const seconds = metrics.histogram("bellwether_http_request_seconds", "Time to answer.", SECONDS);
  return ({ operation, method, http, durationMs }) => {
    requests.add(1, { operation, method, code: http });
    seconds.observe(durationMs / 1000, { operation });
  };
}
