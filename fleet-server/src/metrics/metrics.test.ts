import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { testApi } from "../../../test/kit/api.ts";
import { metricsRoutes } from "../api/metrics.ts";
import { Metrics } from "./metrics.ts";
import { addHttpMetrics, addProcessMetrics } from "./process.io.ts";

/** A strict reader of the exposition format: every line is a comment of the family or one of its samples. */
function parse(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  let family = "";
  expect(text.endsWith("\n")).toBe(true);
  for (const line of text.slice(0, -1).split("\n")) {
    const comment = /^# (HELP|TYPE) ([a-z][a-z0-9_]*) (.+)$/.exec(line);
    if (comment) {
      family = comment[2]!;
      continue;
    }
    const sample = /^([a-z][a-z0-9_]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (NaN|[+-]Inf|-?[0-9.e+-]+)$/.exec(
      line,
    );
    expect(sample, line).not.toBeNull();
    expect(sample![1]).toMatch(new RegExp(`^${family}(_bucket|_sum|_count)?$`));
    expect(samples.has(sample![1]! + (sample![2] ?? "")), line).toBe(false);
    samples.set(sample![1]! + (sample![2] ?? ""), Number(sample![3]!.replace("Inf", "Infinity")));
  }
  return samples;
}

describe("the exposition", () => {
  it("counts, reads and buckets", async () => {
    const metrics = new Metrics();
    const rows = metrics.counter("rows_total", "Rows.");
    rows.add();
    rows.add(2, { stream: "telemetry" });
    rows.add(3, { stream: "telemetry" });
    metrics.gauge("devices", "Devices.", async () => [
      { labels: { presence: "late" }, value: 4 },
      { value: Number.NaN },
    ]);
    const seconds = metrics.histogram("seconds", "Seconds.", [0.1, 1]);
    for (const value of [0.05, 0.1, 0.5, 7]) seconds.observe(value);
    const samples = parse(await metrics.render());
    expect(Object.fromEntries(samples)).toEqual({
      rows_total: 1,
      'rows_total{stream="telemetry"}': 5,
      'devices{presence="late"}': 4,
      devices: Number.NaN,
      'seconds_bucket{le="0.1"}': 2,
      'seconds_bucket{le="1"}': 3,
      'seconds_bucket{le="+Inf"}': 4,
      seconds_sum: 7.65,
      seconds_count: 4,
      bellwether_metrics_failures_total: 0,
    });
  });

  it("leaves out what cannot be read, and counts that", async () => {
    const metrics = new Metrics();
    metrics.gauge("broken", "Broken.", () => Promise.reject(new Error("no store")));
    metrics.gauge("fine", "Fine.", () => [{ value: 1 }]);
    const samples = parse(await metrics.render());
    expect([samples.has("broken"), samples.get("fine"), samples.get("bellwether_metrics_failures_total")]).toEqual([
      false,
      1,
      1,
    ]);
  });

  it("stays readable with any label and bounded with any number of them", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string(), { maxLength: 20 }), async (names) => {
        const metrics = new Metrics();
        const counter = metrics.counter("n_total", "N.");
        for (const name of names) counter.add(1, { name });
        const samples = parse(await metrics.render());
        expect(samples.size).toBe(new Set(names).size + 1);
      }),
    );
    const metrics = new Metrics();
    const counter = metrics.counter("n_total", "N.");
    for (let i = 0; i < 5000; i++) counter.add(1, { i });
    expect(parse(await metrics.render()).size).toBe(2001);
  });

  it("refuses a name twice or badly formed", () => {
    const metrics = new Metrics();
    metrics.counter("a_total", "A.");
    expect(() => metrics.counter("a_total", "A.")).toThrow("two metrics");
    expect(() => metrics.counter("a", "A.")).toThrow("_total");
    expect(() => metrics.gauge("A-b", "A.", () => [])).toThrow("not a metric name");
  });
});

describe("GET /metrics", () => {
  it("answers without a token, with the HTTP counters in it", async () => {
    const metrics = new Metrics();
    const stop = addProcessMetrics(metrics, "1.2.3");
    const api = await testApi(metricsRoutes({ metrics }), { observe: addHttpMetrics(metrics) });
    await api.call(undefined, "GET /metrics");
    await api.call(undefined, "GET /nothing");
    const answer = await api.call(undefined, "GET /metrics");
    expect(answer.headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
    const samples = parse(answer.body);
    expect(samples.get('bellwether_http_requests_total{operation="scrapeMetrics",method="GET",code="200"}')).toBe(1);
    expect(samples.get('bellwether_http_requests_total{operation="none",method="GET",code="404"}')).toBe(1);
    expect(samples.get("process_resident_memory_bytes")).toBeGreaterThan(1e6);
    await api.close();
    stop();
  });
});
