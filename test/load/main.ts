/**
 * Load on a fleet server by many devices in one process, each with the agent's own enrolment, link and outbox; some download
 * and activate a released model meanwhile. At the end every row is compared with what the server has, value by value.
 * docs/LOAD.md says how to read the figures.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { LatencyHistogram } from "../../agent/src/inference/latency.ts";
import { LoadDevice } from "./device.ts";
import { type LoadOptions, parseOptions, USAGE } from "./options.ts";
import { type LoadedServer, serverOf } from "./server.ts";
import { type Comparison, compareRows } from "./truth.ts";

const SITE = "load";
/** Enrolments asked for side by side: the server decides how fast it takes them. */
const ENROL_AT_ONCE = 8;
const LOOK_EVERY_MS = 50;
const TELL_EVERY_MS = 5_000;
const DRAIN_MS_MAX = 120_000;
const UPDATE_MS_MAX = 300_000;

const options = parseOptions(process.argv.slice(2));
if (options === "help") console.log(USAGE);
else if ("wrong" in options) {
  console.error(`${options.wrong}\n\n${USAGE}`);
  process.exitCode = 2;
} else await withFolder((folder) => load(options, folder));

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-load-"));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function load(asked: LoadOptions, folder: string): Promise<void> {
  const { server: other } = asked;
  // npm runs this in the project's folder and says where it was called.
  const tokenFile = other && resolve(process.env["INIT_CWD"] ?? "", other.tokenFile);
  const server = await serverOf({ ...asked, server: other && { ...other, tokenFile: tokenFile as string } }, folder);
  const latency = new LatencyHistogram();
  const devices: LoadDevice[] = [];
  const over = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => over.abort());
  try {
    let making = true;
    const maker = (async () => {
      for (; making; await wait(LOOK_EVERY_MS)) for (const device of devices) device.produceUntil(Date.now());
    })();
    const teller = setInterval(() => say(devices, latency), TELL_EVERY_MS);
    await enrolAll(server, asked, folder, latency, devices, over.signal);
    const beganMs = performance.now();
    const before = sum(devices, "produced");
    const updates = over.signal.aborted ? 0 : await rollOut(server, asked, devices, over.signal);
    await wait(asked.minutes * 60_000 - (performance.now() - beganMs), undefined, { signal: over.signal }).catch(
      ignore,
    );
    await eventually(over.signal, UPDATE_MS_MAX, () => updated(devices) >= updates);
    const seconds = (performance.now() - beganMs) / 1_000;
    const rowsPerSecond = Math.round((sum(devices, "produced") - before) / seconds);
    making = false;
    await maker;
    const connected = devices.filter((device) => device.figures().online).length;
    const serverRssMb = await server.rssMb();
    await eventually(undefined, DRAIN_MS_MAX, () => sum(devices, "waiting") === 0);
    clearInterval(teller);
    const compared = await compareAll(server, devices);
    tell(asked, {
      devices: devices.length,
      connected,
      produced: sum(devices, "produced"),
      rowsPerSecond,
      acked: sum(devices, "produced") - sum(devices, "waiting") - sum(devices, "evicted"),
      lost: compared.lost,
      duplicated: compared.duplicated,
      ackMsP50: Math.round(latency.quantileUs(0.5) / 1_000),
      ackMsP99: Math.round(latency.quantileUs(0.99) / 1_000),
      updates,
      updated: updated(devices),
      serverRssMb,
      seconds: Math.round(seconds),
    });
  } finally {
    await Promise.all(devices.map((device) => device.stop()));
    await server.stop();
  }
}

/** Enrols and starts every device; those that are there make rows meanwhile. */
async function enrolAll(
  server: LoadedServer,
  { devices: count, rate, seed, downloads }: LoadOptions,
  folder: string,
  latency: LatencyHistogram,
  devices: LoadDevice[],
  signal: AbortSignal,
): Promise<void> {
  const run = Date.now().toString(36);
  const tokenOf = async (labels: Record<string, string>) => {
    const asked = { site: SITE, uses: count, labels: { run, ...labels } };
    return (await server.api.post<{ secret: string }>("/v1/enrolment-tokens", asked)).secret;
  };
  const [token, downloadToken] = [await tokenOf({}), await tokenOf({ load: "downloads" })];
  const downloading = Math.round(count * downloads);
  let next = 0;
  const one = async () => {
    while (next < count && !signal.aborted) {
      const device = next++;
      const name = `load-${run}-${device}`;
      devices.push(
        await LoadDevice.enrol({
          serverUrl: server.url,
          enrolmentToken: device < downloading ? downloadToken : token,
          name,
          stateDir: join(folder, name),
          source: { seed, device, asset: `${name}-pump`, fromMs: Date.now(), rate },
          downloads: device < downloading,
          latency,
        }),
      );
      devices.at(-1)?.start();
    }
  };
  await Promise.all(Array.from({ length: ENROL_AT_ONCE }, one));
  await eventually(signal, DRAIN_MS_MAX, () => devices.every((device) => device.figures().online));
}

/** Orders the released version for those that download; how many that are. */
async function rollOut(
  server: LoadedServer,
  { downloads }: LoadOptions,
  devices: readonly LoadDevice[],
  signal: AbortSignal,
): Promise<number> {
  const count = Math.round(devices.length * downloads);
  const released = count > 0 ? await server.released() : undefined;
  if (released === undefined || signal.aborted) return 0;
  const { id } = await server.api.post<{ id: string }>("/v1/rollouts", {
    ...released,
    target: { selector: `site=${SITE},load=downloads` },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, gates: [], errorAction: "PAUSE" }],
    confirm: { inferences: 20, soakSeconds: 1, deadlineSeconds: 300, errorFraction: 0.1 },
  });
  await server.api.post(`/v1/rollouts/${id}/start`);
  return count;
}

async function compareAll({ api }: LoadedServer, devices: readonly LoadDevice[]): Promise<Comparison> {
  const all = { lost: 0, duplicated: 0 };
  for (const { source, produced } of devices) {
    const exported = api.lines<TelemetryRow>(`/v1/samples?format=ndjson&asset=${source.asset}`);
    const { lost, duplicated } = await compareRows(source, produced, exported);
    all.lost += lost;
    all.duplicated += duplicated;
  }
  return all;
}

function sum(devices: readonly LoadDevice[], figure: "produced" | "waiting" | "evicted"): number {
  return devices.reduce((all, device) => all + device.figures()[figure], 0);
}

function updated(devices: readonly LoadDevice[]): number {
  return devices.filter((device) => device.figures().updated).length;
}

/** Waits until something holds, for a time at most, or until nobody wants to wait any more. */
async function eventually(signal: AbortSignal | undefined, limitMs: number, holds: () => boolean): Promise<void> {
  for (const untilMs = performance.now() + limitMs; performance.now() < untilMs && !holds(); ) {
    if (signal?.aborted) return;
    await wait(LOOK_EVERY_MS);
  }
}

function say(devices: readonly LoadDevice[], latency: LatencyHistogram): void {
  const online = devices.filter((device) => device.figures().online).length;
  const [p50, p99] = [0.5, 0.99].map((share) => Math.round(latency.quantileUs(share) / 1_000));
  const words = `${online} of ${devices.length} online, ${sum(devices, "produced")} rows made, ${sum(devices, "waiting")} wait`;
  process.stderr.write(`${words}, acknowledged after ${p50} ms (p99 ${p99} ms), ${updated(devices)} updated\n`);
}

function tell({ output }: LoadOptions, result: Readonly<Record<string, number>>): void {
  if (output === "json") console.log(JSON.stringify(result));
  else for (const [name, value] of Object.entries(result)) console.log(`${name.padEnd(14)} ${value}`);
  const whole = result["lost"] === 0 && result["duplicated"] === 0 && result["updated"] === result["updates"];
  process.exitCode = whole ? 0 : 1;
}

function ignore(): void {}
