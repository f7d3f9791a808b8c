import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBellwether } from "../../kit/bellwether.ts";
import type { Bench, OpenBench } from "../bench.ts";
import { figureOf, measureFile } from "../child.io.ts";
import { ASKED, FROM_MS, MINUTES, POINTS, p95, STEP_MS, TO_MS, WARM_UP } from "./year.ts";

/** A year on one screen. */
export const queryYear: Bench = {
  what: `ms (95th percentile of ${ASKED - WARM_UP}) to answer a year of one channel, ${MINUTES.toLocaleString("en")} one-minute rollups read and joined to ${POINTS.toLocaleString("en")} points, as JSON over HTTP`,
  over: "SQLite's own sums over a table of a row per minute, in memory, in one process without a server",
  unit: "ms",
  goal: { of: "value", most: 50 },
  baselineFile: "query/plain.ts",
  open,
};

async function open(): Promise<OpenBench> {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const dir = join(folder, "server");
  const first = await startBellwether({ dir, until: "caller" });
  await first.stop();
  await measureFile("query/fill.ts", "filled", [dir]);
  const server = await startBellwether({
    dir,
    until: "caller",
    config: "retention: { telemetryDays: 0, minutesDays: 0 }",
  });
  const query = `fromMs=${FROM_MS}&toMs=${TO_MS}&asset=pump-1&channel=vib&stepMs=${STEP_MS}`;
  return {
    async value() {
      const tookMs: number[] = [];
      for (let asked = 0; asked < ASKED; asked++) {
        const startMs = performance.now();
        const { body } = await server.call(`GET /v1/rollups?${query}`, undefined, { token: server.admin });
        tookMs.push(performance.now() - startMs);
        const counted = (body.items[0].count as number[]).reduce((a, b) => a + b, 0);
        if (counted !== 2 * MINUTES) throw new Error(`the answer holds ${counted} samples`);
      }
      return p95(tookMs.slice(WARM_UP));
    },
    baseline: () => figureOf("query/plain.ts"),
    async close() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
