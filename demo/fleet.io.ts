import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Api, createApi, until } from "./api.io.ts";
import type { AgentShare, Change, Plant } from "./plant.ts";
import { endAll, type Running, run, start } from "./processes.io.ts";
import { type NetworkProxy, startProxy } from "./proxy.io.ts";

/** One agent of the story: its process, which may be killed and started again, and the network before it. */
export interface DemoAgent {
  readonly share: AgentShare;
  readonly stateDir: string;
  readonly proxy: NetworkProxy;
  running: Running | undefined;
}

/** Everything the story started. */
export interface Fleet {
  readonly folder: string;
  readonly url: string;
  readonly tokenFile: string;
  readonly api: Api;
  readonly agents: readonly DemoAgent[];
  /** Runs `bellwether` as an administrator would, and parses its JSON. */
  cli<T>(...args: string[]): Promise<T>;
  /** Starts an agent (again), each of its assets giving `rows` rows in all, at this speed. */
  startAgent(agent: DemoAgent, rows: number, rowsPerSecond: number, change?: Change): Promise<void>;
}

/** What a fleet hangs on: its folder, and who is told when one of its processes dies. */
export interface Ground {
  readonly folder: string;
  readonly onDeath: (why: Error) => void;
}

const SETTINGS = "rollouts: { tickMs: 300 }\ndrift: { tickMs: 500 }\nretraining: { tickMs: 500 }\n";
const HEARTBEAT_MS = 2_000;

/** Starts the server as a process of its own and prepares the agents: enrolled, not yet running. */
export async function startFleet(plant: Plant, ground: Ground): Promise<Fleet> {
  const { folder } = ground;
  const { url, mqttUrl, tokenFile } = await startServer(ground);
  const token = (await readFile(tokenFile, "utf8")).trim();
  const cli = async <T>(...args: string[]) =>
    JSON.parse(
      await run("bellwether", ["-o", "json", ...args], { BELLWETHER_URL: url, BELLWETHER_TOKEN_FILE: tokenFile }),
    ) as T;
  const api = createApi(url, token);
  const agents: DemoAgent[] = [];
  for (const share of plant.agents) agents.push(await enrol(api, url, mqttUrl, folder, share));
  return {
    folder,
    url,
    tokenFile,
    api,
    agents,
    cli,
    startAgent: (agent, rows, speed, change) => startAgent(ground, agent, rows, speed, change),
  };
}

/** Ends every process of the story and takes its files away. */
export async function endFleet({ folder }: Ground): Promise<void> {
  await endAll();
  await rm(folder, { recursive: true, force: true });
}

interface Address {
  readonly url: string;
  readonly mqttUrl: string;
  readonly tokenFile: string;
}

async function startServer({ folder, onDeath }: Ground): Promise<Address> {
  const config = join(folder, "server.yaml");
  await writeFile(config, SETTINGS);
  const where = ["--dir", join(folder, "server"), "--port", "0", "--mqtt-port", "0", "--config", config];
  const lines: string[] = [];
  start("bellwether", ["-o", "json", "up", ...where], {
    logFile: join(folder, "server.log"),
    onLine: (line) => lines.push(line),
    onDeath,
  });
  return JSON.parse(await until("the server is ready", async () => lines[0], 60_000)) as Address;
}

async function enrol(api: Api, url: string, mqttUrl: string, folder: string, share: AgentShare): Promise<DemoAgent> {
  const stateDir = join(folder, share.device);
  await mkdir(stateDir, { mode: 0o700 });
  const { secret } = await api.post<{ secret: string }>("/v1/enrolment-tokens", {
    site: "plant",
    labels: { cohort: share.cohort },
  });
  const secretFile = join(folder, `${share.device}.token`);
  await writeFile(secretFile, secret, { mode: 0o600 });
  await run("bellwether-agent", [
    "enroll",
    "--url",
    url,
    "--token-file",
    secretFile,
    "--device",
    share.device,
    "--state",
    stateDir,
  ]);
  await rm(secretFile);
  const proxy = await startProxy(Number(new URL(mqttUrl).port));
  return { share, stateDir, proxy, running: undefined };
}

async function startAgent(
  { folder, onDeath }: Ground,
  agent: DemoAgent,
  rows: number,
  rowsPerSecond: number,
  change?: Change,
): Promise<void> {
  const { share, stateDir, proxy } = agent;
  const config = join(folder, `${share.device}.json`);
  const body = {
    heartbeatMs: HEARTBEAT_MS,
    server: { mqttUrl: `mqtt://127.0.0.1:${proxy.port}` },
    assets: share.assets.map((id) => ({ id })),
    inputs: [share.input(rows, rowsPerSecond, change)],
  };
  await writeFile(config, JSON.stringify(body, undefined, 2));
  agent.running = start("bellwether-agent", ["run", "--config", config, "--state", stateDir], {
    logFile: join(folder, `${share.device}.log`),
    onDeath,
  });
}
