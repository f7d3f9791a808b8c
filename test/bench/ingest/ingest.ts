import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Bellwether, startBellwether } from "../../kit/bellwether.ts";
import { credentials, type EnrolledDevice, enrol } from "../../kit/device.ts";
import type { Bench, OpenBench } from "../bench.ts";
import { figureOf } from "../child.io.ts";
import { patiently } from "../patiently.ts";
import { CLIENTS, connectLoad } from "./clients.ts";

const WHAT = `messages a second of ${CLIENTS} devices that the server acknowledged after their commit (one row of one channel each, the shortest batch there is: 220 bytes; 16 on their way per device)`;

/** The server's ingest beside the bare broker library. */
export const ingest: Bench = {
  what: WHAT,
  over: "bare aedes at QoS 1, which stores nothing, under the same load",
  unit: "messages/s",
  goal: { of: "ratio", least: 0.75 },
  baselineFile: "ingest/aedes.ts",
  open: () => open("ingest/aedes.ts"),
};

/** The server's ingest beside what people build otherwise. */
export const ingestMosquitto: Bench = {
  what: WHAT,
  over: "mosquitto and one subscriber that commits in groups (SQLite, synchronous=FULL) before it confirms",
  unit: "messages/s",
  goal: { of: "ratio", least: 1.5 },
  baselineFile: "ingest/mosquitto.ts",
  missing: () => {
    try {
      execFileSync("mosquitto", ["-h"], { stdio: "ignore" });
    } catch (cause) {
      // It ends with 1 or 3 after its help, by version.
      if ((cause as { code?: unknown }).code === "ENOENT") return "mosquitto is not installed (apt install mosquitto)";
    }
    return undefined;
  },
  open: () => open("ingest/mosquitto.ts"),
};

async function open(baselineFile: string): Promise<OpenBench> {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const server = await startBellwether({ dir: join(folder, "server"), until: "caller" });
  const clients: (Awaited<ReturnType<typeof credentials>> & { clientId: string; site: string })[] = [];
  for (let i = 1; i <= CLIENTS; i++) {
    const device = await patiently(() => enrol(server, `gw-${i}`, { site: "bench" }));
    clients.push(await patiently(() => login(server, device)));
  }
  const load = connectLoad({ port: server.mqttPort, clients, acknowledgedBy: "server" });
  return {
    value: () => load.round(),
    baseline: () => figureOf(baselineFile),
    async close() {
      await load.stop();
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function login(server: Bellwether, device: EnrolledDevice) {
  const { username, password } = await credentials(server, device);
  if (password.startsWith("undefined")) throw new Error(`no nonce for ${device.device}`);
  return { clientId: device.device, site: device.site, username, password };
}
