import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBellwether } from "../../kit/bellwether.ts";
import { enrol } from "../../kit/device.ts";
import type { Bench, OpenBench } from "../bench.ts";
import { figureOf } from "../child.io.ts";
import { patiently } from "../patiently.ts";

const DEVICES = 100;

/** What dashboards ask for most. */
export const apiList: Bench = {
  what: `requests a second for a list of ${DEVICES} devices (GET /v1/devices, as an authenticated caller, 50 connections)`,
  over: "plain node:http running the same query and writing the same JSON, without login or checks",
  unit: "requests/s",
  goal: { of: "ratio", least: 0.6 },
  baselineFile: "api/plain.ts",
  open,
};

async function open(): Promise<OpenBench> {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const server = await startBellwether({ dir: join(folder, "server"), until: "caller" });
  for (let i = 1; i <= DEVICES; i++) await patiently(() => enrol(server, `gw-${i}`, { site: "bench" }));
  return {
    value: () => figureOf("api/load.ts", [`${server.url}/v1/devices?limit=${DEVICES}`, server.admin]),
    baseline: () => figureOf("api/plain.ts"),
    async close() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
