import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { BACKOFF } from "../../../agent/src/link/machine.ts";
import { type Bellwether, startBellwether } from "../../kit/bellwether.ts";
import { testPackage } from "../../kit/packages.ts";
import { releaseVersion, uploadTo } from "../../kit/release.ts";
import type { Bench, Beside, FleetCost, OpenBench, Round } from "../bench.ts";
import { startFile } from "../child.io.ts";
import { HEARTBEAT_MS } from "./device.ts";
import type { FleetAnswer, FleetOrder } from "./fleet.ts";
import { measureCost } from "./server-cost.ts";

const DEVICES = 10_000;
const SIZES = [100, 300, 1_000, 3_000, DEVICES];
const SITE = "bench";
const MODEL = "pump-rul";
/** Files that are open beside the connections. */
const OTHER_FILES = 200;
const RATIO_MOST = 1.2;

/** A fleet that is connected to one server: what that takes. */
export const connections: Bench = {
  what: `resident MB of the server with ${DEVICES} devices connected, each with a heartbeat and a batch of ten rows every ${HEARTBEAT_MS / 1_000} s`,
  over: "nothing: a plain figure",
  unit: "MB",
  goal: { of: "value", most: 300 },
  rounds: 1,
  missing() {
    const [, most = "0"] = /Max open files\s+\d+\s+(\d+)/.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    if (Number(most) >= DEVICES + OTHER_FILES) return undefined;
    return `this machine lets a process open ${most} files, and ${DEVICES} connections need more (ulimit -Hn)`;
  },
  open,
};

const withConnections = { with: "connections-10k" } as const;
const cost = { unit: "", goal: { of: "ratio", most: RATIO_MOST } } as const;

/** The other figures of the same fleet. */
export const connectionsBeside: Readonly<Record<string, Beside>> = {
  "connections-10k-desired": {
    ...withConnections,
    what: `seconds from the order of a rollout to the last of ${DEVICES} connected devices having its own signed document`,
    over: "nothing: a plain figure",
    unit: "s",
    goal: { of: "value", most: 2 },
  },
  "connections-10k-storm": {
    ...withConnections,
    what: `seconds until all of ${DEVICES} devices whose connections broke at once have a session again, with the agents' own jitter; no figure where one attempt ran into one of the agents' time limits`,
    over: `nothing: a plain figure; its goal is the longest wait of that jitter`,
    unit: "s",
    goal: { of: "value", most: BACKOFF.maxMs / 1_000 },
  },
  "connections-cpu": {
    ...withConnections,
    ...cost,
    what: `ms of the server's processor time a minute for each of ${DEVICES} connected devices, what the server takes without any left out`,
    over: `the same for each of ${SIZES[0]}`,
    unit: "ms",
  },
  "connections-memory": {
    ...withConnections,
    ...cost,
    what: `resident kB of the server's own (no mapped files) for each of ${DEVICES} connected devices, what it has without any left out`,
    over: `the same for each of ${SIZES[0]}`,
    unit: "kB",
  },
};

interface Fleet {
  order(what: FleetOrder): Promise<FleetAnswer>;
  stop(): Promise<void>;
}

function startFleet(): Fleet {
  const child = startFile("connections/fleet.ts");
  return {
    async order(what) {
      child.say(what);
      return await child.next<FleetAnswer>("atMs");
    },
    stop: () => child.stop(),
  };
}

async function open(): Promise<OpenBench> {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const dir = join(folder, "server");
  const fleet = startFleet();
  const { version, server } = await prepare(dir, fleet);
  let costs: FleetCost[] = [];
  let beside: Record<string, Round> = {};
  return {
    async value() {
      const grown = await grow(server, fleet);
      costs = grown.costs;
      const [least, most] = [costs[0] as FleetCost, costs.at(-1) as FleetCost];
      const desired = await deliver(server, fleet, version);
      const storm = await reconnect(server, fleet);
      beside = {
        "connections-10k-desired": { value: desired },
        "connections-10k-storm": { value: storm },
        "connections-cpu": { value: most.cpuMsPerMinute, baseline: least.cpuMsPerMinute },
        "connections-memory": { value: most.memoryKb, baseline: least.memoryKb },
      };
      return grown.rssMb;
    },
    beside: () => beside,
    sizes: () => costs,
    async close() {
      await fleet.stop();
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A server that a fleet has enrolled at, started anew: what enrolling took is no part of what is measured. */
async function prepare(dir: string, fleet: Fleet): Promise<{ version: number; server: Bellwether }> {
  const first = await startBellwether({ dir, until: "caller" });
  const { version } = await uploadTo(first, testPackage());
  await releaseVersion(first, MODEL, version);
  const { secret } = (await first.call("POST /v1/enrolment-tokens", { site: SITE, uses: DEVICES })).body;
  await fleet.order({ do: "enrol", target: targetOf(first), site: SITE, token: secret, devices: DEVICES });
  await first.stop();
  return { version, server: await startBellwether({ dir, until: "caller" }) };
}

function targetOf({ url, mqttPort }: Bellwether) {
  return { httpPort: Number(new URL(url).port), mqttPort };
}

/** Connects ever more devices, and says what each size costs. */
async function grow(server: Bellwether, fleet: Fleet): Promise<{ costs: FleetCost[]; rssMb: number }> {
  // What starting took is given back once the server has come to rest, as what logins took is.
  await wait(HEARTBEAT_MS);
  const none = await measureCost(server.pid);
  const costs: FleetCost[] = [];
  let rssMb = none.rssMb;
  for (const devices of SIZES) {
    await fleet.order({ do: "connect", target: targetOf(server), devices });
    // Every device has spoken, and is in what is done at intervals.
    await wait(HEARTBEAT_MS);
    const all = await measureCost(server.pid);
    rssMb = all.rssMb;
    const one: FleetCost = {
      devices,
      cpuMsPerMinute: (all.cpuMsPerMinute - none.cpuMsPerMinute) / devices,
      memoryKb: (all.ownKb - none.ownKb) / devices,
    };
    costs.push(one);
    say(
      `${devices} devices: ${one.cpuMsPerMinute.toFixed(1)} ms a minute and ${one.memoryKb.toFixed(1)} kB each, resident ${rssMb.toFixed(0)} MB`,
    );
  }
  return { costs, rssMb };
}

/** Seconds from the order of a rollout to every device's own document. */
async function deliver(server: Bellwether, fleet: Fleet, version: number): Promise<number> {
  const rollout = await server.call("POST /v1/rollouts", {
    model: MODEL,
    version: String(version),
    target: { selector: "" },
    rolloutConfig: { maximumPerMinute: 100_000 },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, gates: [] }],
    // Nobody runs the model here: nothing is to be judged while the figures are taken.
    confirm: { inferences: 20, soakSeconds: 1, deadlineSeconds: 86_400, errorFraction: 0.1 },
  });
  const waiting = fleet.order({ do: "documents", version });
  const fromMs = Date.now();
  const started = await server.call(`POST /v1/rollouts/${rollout.body.id}/start`);
  if (started.http >= 300) throw new Error(JSON.stringify([rollout.body, started.body]));
  const { atMs } = await waiting;
  return (atMs - fromMs) / 1_000;
}

/** Seconds until every device whose connection broke is back; infinite where one attempt was too late. */
async function reconnect(server: Bellwether, fleet: Fleet): Promise<number> {
  const fromMs = Date.now();
  const { atMs, timeouts, refused } = await fleet.order({ do: "storm" });
  const { rssMb, peakMb } = await measureCost(server.pid);
  say(
    `the storm: ${timeouts} attempts ran into a time limit, ${refused} were turned away; resident after it ${rssMb.toFixed(0)} MB, ${peakMb.toFixed(0)} at most`,
  );
  return timeouts > 0 ? Number.POSITIVE_INFINITY : (atMs - fromMs) / 1_000;
}

function say(line: string): void {
  process.stderr.write(`  ${line}\n`);
}
