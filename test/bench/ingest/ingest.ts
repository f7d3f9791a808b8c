import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Bellwether, startBellwether } from "../../kit/bellwether.ts";
import { credentials, type EnrolledDevice, enrol, subscriber } from "../../kit/device.ts";
import type { Bench, OpenBench } from "../bench.ts";
import { figureOf } from "../child.io.ts";
import { patiently } from "../patiently.ts";
import { CLIENTS, connectLoad, type Load } from "./clients.ts";
import { openMqtt } from "./mqtt.ts";
import { ON_THEIR_WAY, SHAPES, type Size } from "./packets.ts";

const SAID: Readonly<Record<Size, string>> = {
  "100B": "one row of one channel each, the shortest batch there is: 220 bytes",
  "1kB": "one row of 24 channels each: 1.2 kB",
  "10kB": "56 rows of 24 channels each: 10 kB",
};
const what = (size: Size) =>
  `messages a second of ${CLIENTS} devices that the server acknowledged after their commit (${SAID[size]}; ${ON_THEIR_WAY} on their way per device)`;

/** The server's ingest beside the bare broker library. */
export const ingest: Bench = {
  what: what("100B"),
  over: "bare aedes at QoS 1, which stores nothing, under the same load",
  unit: "messages/s",
  goal: { of: "ratio", least: 1 },
  baselineFile: "ingest/aedes.ts",
  baselineArgs: ["100B"],
  open: () => beside("100B", "ingest/aedes.ts"),
};

/** The server's ingest of longer messages beside what bounds it: the broker library, or the disk. */
export function ingestOf(size: Size): Bench {
  return {
    what: what(size),
    over: "the slower of bare aedes at QoS 1 under the same load and a raw log of the same bytes with one fdatasync for all that are on their way",
    unit: "messages/s",
    goal: { of: "ratio", least: 0.6 },
    baselineFile: "ingest/log.ts",
    baselineArgs: [size],
    open: () => beside(size, "ingest/log.ts"),
  };
}

/** The server's ingest while one subscriber takes the feed and another has stopped reading. */
export function ingestSubscribed(size: Size): Bench {
  return {
    what: `${what(size)}, while one subscriber takes all of the feed and another has stopped reading`,
    over: "the same without subscribers",
    unit: "messages/s",
    goal: { of: "ratio", least: 0.9 },
    open: () => subscribed(size),
  };
}

/** The server's ingest beside what people build otherwise. */
export const ingestMosquitto: Bench = {
  what: what("100B"),
  over: "mosquitto and one subscriber that commits in groups (SQLite, synchronous=FULL) before it confirms",
  unit: "messages/s",
  goal: { of: "ratio", least: 2 },
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
  open: () => beside("100B", "ingest/mosquitto.ts"),
};

interface Loaded {
  readonly server: Bellwether;
  readonly load: Load;
  close(): Promise<void>;
}

async function loaded(size: Size): Promise<Loaded> {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const server = await startBellwether({ dir: join(folder, "server"), until: "caller" });
  const clients: (Awaited<ReturnType<typeof credentials>> & { clientId: string; site: string })[] = [];
  for (let i = 1; i <= CLIENTS; i++) {
    const device = await patiently(() => enrol(server, `gw-${i}`, { site: "bench" }));
    clients.push(await patiently(() => login(server, device)));
  }
  const load = connectLoad({ port: server.mqttPort, clients, acknowledgedBy: "server", shape: SHAPES[size] });
  return {
    server,
    load,
    async close() {
      await load.stop();
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function beside(size: Size, baselineFile: string): Promise<OpenBench> {
  const { load, close } = await loaded(size);
  return { value: () => load.round(), baseline: () => figureOf(baselineFile, [size]), close };
}

async function subscribed(size: Size): Promise<OpenBench> {
  const { server, load, close } = await loaded(size);
  const accounts = await Promise.all(["live", "stalled"].map((account) => subscriber(server, account, ["bench"])));
  return {
    async value() {
      const feeds = await Promise.all(accounts.map((account) => subscribe(server.mqttPort, account)));
      feeds[1]?.pause();
      try {
        return await load.round();
      } finally {
        for (const feed of feeds) feed.close();
      }
    },
    baseline: () => load.round(),
    close,
  };
}

function subscribe(port: number, account: { readonly username: string; readonly password: string }) {
  return openMqtt(port, { clientId: account.username, ...account }, ["bw/v1/bench/feed/#"], {});
}

async function login(server: Bellwether, device: EnrolledDevice) {
  const { username, password } = await credentials(server, device);
  if (password.startsWith("undefined")) throw new Error(`no nonce for ${device.device}`);
  return { clientId: device.device, site: device.site, username, password };
}
