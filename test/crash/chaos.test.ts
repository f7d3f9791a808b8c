/**
 * Real agents and a real server while everything goes wrong at once: processes killed, lines cut, half-open, slow and losing a
 * fifth of their packets, disks full, clocks 400 days off. Afterwards every row of the files that the agents replayed is at
 * the server once, in order, value by value, or lies in exactly one gap where a device had no room. A few kills by default;
 * BELLWETHER_CAMPAIGN=full makes 100.
 */
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type Random, seededRandom } from "@bellwether/protocol/random.ts";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { startFleet, type TestFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { type SmallDisk, startSmallDisk } from "../kit/small-disk.ts";
import { StormyAgent } from "../kit/stormy-agent.ts";

const FULL = process.env["BELLWETHER_CAMPAIGN"] === "full";
const KILLS = FULL ? 100 : 2;
const ROWS = FULL ? 600_000 : 30_000;
/** Between two kills, from the moment a process was started. */
const BETWEEN_MS_MAX = FULL ? 2_500 : 1_000;
/** How long something goes wrong at a time; on the line of an agent that is to run out of room, longer. */
const FAULT_MS_MAX = FULL ? 3_000 : 1_000;
const LONG_FAULT_MS_MAX = 40_000;
const CLOCK_DAYS = 400;
const DROP_SHARE = 0.2;
const SLOW_BYTES_PER_SECOND = 20_000;
const ROWS_PER_SECOND_MIN = 1_000;
const MIB = 1_048_576;

interface Storm {
  readonly folder: string;
  readonly random: Random;
  readonly agents: readonly StormyAgent[];
  readonly ports: { readonly port: number; readonly mqttPort: number };
  readonly serverDisk: SmallDisk;
  fleet: TestFleet;
  over: boolean;
}

/** Which records may give way: where the budget is a megabyte, and where the disk is full from time to time. */
const AGENTS = [
  { device: "steady-1", maxBytes: 256 * MIB, faultMsMax: FAULT_MS_MAX, mayDrop: false },
  { device: "steady-2", maxBytes: 256 * MIB, faultMsMax: FAULT_MS_MAX, mayDrop: false },
  { device: "narrow", maxBytes: MIB, faultMsMax: LONG_FAULT_MS_MAX, mayDrop: true },
  { device: "crowded", maxBytes: 12 * MIB, faultMsMax: FAULT_MS_MAX, diskMegabytes: 16, mayDrop: true },
].filter(({ device }) => FULL || device === "steady-1" || device === "crowded");
const ROWS_PER_SECOND = FULL ? 450 : 600;

async function begin(seed: number): Promise<Storm> {
  const folder = temporaryFolder("bellwether-chaos-");
  const serverDisk = startSmallDisk(FULL ? 1_024 : 128);
  const dir = join(serverDisk.folder, "server");
  const fleet = await startFleet(dir);
  const agents: StormyAgent[] = [];
  for (const [n, options] of AGENTS.entries()) {
    const random = seededRandom(seed, n + 1);
    const more = { folder, fleet, random, rows: ROWS, rowsPerSecond: ROWS_PER_SECOND };
    agents.push(await StormyAgent.enrol({ ...options, ...more }));
  }
  const ports = { port: Number(new URL(fleet.url).port), mqttPort: Number(new URL(fleet.mqttUrl).port) };
  return { folder, random: seededRandom(seed), agents, ports, serverDisk, fleet, over: false };
}

/** Whatever can happen to an agent's line, clock and disk, for a moment each, until the storm is over. */
async function weather(storm: Storm, agent: StormyAgent, random: Random, faultMsMax: number): Promise<void> {
  const faults: readonly (() => void)[] = [
    () => undefined,
    () => agent.proxy.cut(),
    () => agent.proxy.blackhole(),
    () => {
      agent.line.dropShare = DROP_SHARE;
    },
    () => {
      agent.line.bytesPerSecond = SLOW_BYTES_PER_SECOND;
    },
    () => agent.disk?.fill(),
  ];
  while (!storm.over) {
    agent.setClockAhead((random.next() * 2 - 1) * CLOCK_DAYS);
    faults[random.below(faults.length)]?.();
    await lasts(storm, random.next() * faultMsMax);
    agent.heal();
    // A half-open line takes its time to be noticed, and quiet is what a backlog is sent in.
    await wait(random.next() * FAULT_MS_MAX);
  }
}

/** A while, or until the storm is over. */
async function lasts(storm: Storm, ms: number): Promise<void> {
  for (const untilMs = performance.now() + ms; performance.now() < untilMs && !storm.over; ) await wait(50);
}

async function killServer(storm: Storm): Promise<number> {
  // As the agents say it, a second ago at most; there is something at any moment, or it is not the moment for a kill.
  const backlog = await eventually("something waits", async () => {
    const snapshots = await Promise.all(storm.agents.map((agent) => agent.snapshot()));
    return snapshots.reduce((sum, one) => sum + (one?.pipeline?.outbox.unacked ?? 0), 0) || undefined;
  });
  storm.fleet.process.signal("SIGKILL");
  await storm.fleet.process.ended;
  storm.fleet = await startFleet(join(storm.serverDisk.folder, "server"), storm.ports);
  return backlog;
}

async function killAgent(agent: StormyAgent): Promise<number> {
  await agent.kill();
  const { unacked } = agent.left();
  agent.start();
  return unacked;
}

/** Kills processes at random moments; what waited to be acknowledged at each. */
async function kill(storm: Storm): Promise<string[]> {
  const { random, agents, serverDisk } = storm;
  const kills: string[] = [];
  while (kills.length < KILLS) {
    await wait(random.next() * BETWEEN_MS_MAX);
    if (random.below(8) === 0) {
      serverDisk.fill();
      await wait(random.next() * FAULT_MS_MAX);
      serverDisk.free();
    }
    const agent = agents[random.below(agents.length)] as StormyAgent;
    if (kills.length % 2 === 0) kills.push(`server ${await killServer(storm)}`);
    else {
      const backlog = await killAgent(agent);
      // An agent that was killed before it had anything is one that nothing can be learnt from.
      if (backlog > 0) kills.push(`${agent.device} ${backlog}`);
    }
  }
  return kills;
}

interface Gap {
  readonly stream: string;
  readonly fromSeq: number;
  readonly toSeq: number;
}

async function gapsOf(fleet: TestFleet, device: string): Promise<Gap[]> {
  const gaps: Gap[] = [];
  for (let cursor = ""; ; ) {
    const page = await fleet.call(`GET /v1/gaps?device=${device}&limit=1000${cursor}`);
    gaps.push(...(page.items as Gap[]));
    if (page.next === undefined) return gaps.filter(({ stream }) => stream === "telemetry");
    cursor = `&cursor=${encodeURIComponent(page.next)}`;
  }
}

/** Holds what the server has of an agent against its file; how many rows lie in gaps. */
async function judge(fleet: TestFleet, agent: StormyAgent, rows: number, mayDrop: boolean): Promise<number> {
  const [stored, gaps] = await eventually(`what is stored of ${agent.device}`, () =>
    Promise.all([fleet.samples(`?device=${agent.device}`), gapsOf(fleet, agent.device)]),
  );
  // One asset and one epoch: the nth row of the file is the record with seq n.
  expect([...new Set(stored.map(({ epoch }) => epoch))]).toEqual([1]);
  const seqs = stored.map(({ seq }) => seq);
  expect(seqs, "stored in the order of seq, none twice").toEqual([...new Set(seqs)].sort((a, b) => a - b));
  const ways = new Uint8Array(rows + 1);
  for (const seq of seqs) ways[seq] = (ways[seq] ?? 0) + 1;
  let dropped = 0;
  for (const { fromSeq, toSeq } of gaps) {
    for (let seq = fromSeq; seq <= toSeq; seq++) ways[seq] = (ways[seq] ?? 0) + 1;
    dropped += toSeq - fromSeq + 1;
  }
  const wrong = Array.from(ways.keys()).filter((seq) => seq > 0 && ways[seq] !== 1);
  expect(wrong.slice(0, 5), `${agent.device}: seq that is neither a row nor in one gap, or both`).toEqual([]);
  expect(Math.max(...gaps.map(({ toSeq }) => toSeq), seqs.at(-1) ?? 0)).toBe(rows);
  const truth = agent.truth(rows);
  const differing = stored.filter(({ seq, observedAtMs, values }) => {
    const row = truth[seq - 1];
    const names = Object.keys(row?.values ?? {});
    const same = names.every((name) => Object.is(row?.values[name], values[name]));
    return row?.observedAtMs !== observedAtMs || !same || Object.keys(values).length !== names.length;
  });
  expect(differing.slice(0, 3)).toEqual([]);
  if (!mayDrop) expect([agent.device, stored.length, dropped]).toEqual([agent.device, rows, 0]);
  return dropped;
}

test(`${KILLS} kills with everything else going wrong: committed is what was produced, once, in order, to the value`, {
  timeout: 3_600_000,
}, async () => {
  const seed = Number(process.env["BELLWETHER_SEED"] ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}: replay with BELLWETHER_SEED=${seed}`);
  const storm = await begin(seed);
  onTestFinished(() => {
    storm.over = true;
  });
  const { agents } = storm;
  for (const agent of agents) agent.start();
  await eventually("rows arrive", async () => (await storm.fleet.samples("?device=steady-1")).length > 0, 60_000, 300);
  const startMs = performance.now();
  const takenBefore = (await Promise.all(agents.map((agent) => agent.snapshot()))).map(
    (one) => one?.pipeline?.rows ?? 0,
  );
  const weathers = agents.map((agent, n) =>
    weather(storm, agent, seededRandom(seed, 100 + n), AGENTS[n]?.faultMsMax ?? 0),
  );
  const kills = await kill(storm);
  const seconds = (performance.now() - startMs) / 1_000;
  storm.over = true;
  await Promise.all(weathers);
  for (const agent of agents) await agent.kill();
  const taken = agents.map((agent) => agent.left().taken);
  const rate = (taken.reduce((a, b) => a + b) - takenBefore.reduce((a, b) => a + b)) / seconds;

  // Peace: each agent ends its file a little later than it was, and delivers what it has.
  const produced = taken.map((rows) => Math.min(ROWS, rows + ROWS_PER_SECOND));
  for (const [n, agent] of agents.entries()) {
    agent.setClockAhead(0);
    agent.start(produced[n]);
  }
  for (const [n, agent] of agents.entries()) await agent.drained((produced[n] as number) - (taken[n] as number));
  const dropped: string[] = [];
  for (const [n, agent] of agents.entries()) {
    const rows = await judge(storm.fleet, agent, produced[n] as number, AGENTS[n]?.mayDrop === true);
    dropped.push(`${agent.device} ${rows}`);
  }
  const lostPackets = agents.reduce((sum, { line }) => sum + line.dropped, 0);
  console.log(`${KILLS} kills, and what waited at each: ${kills.join(", ")}`);
  console.log(
    `${rate.toFixed(0)} rows a second for ${seconds.toFixed(0)} s; ${produced.reduce((a, b) => a + b)} rows produced, all committed once and in order ` +
      `but those in counted gaps (${dropped.join(", ")}); ${lostPackets} MQTT packets lost on the lines`,
  );
  if (!FULL) return;
  expect(rate).toBeGreaterThanOrEqual(ROWS_PER_SECOND_MIN);
  expect(dropped).not.toContain("narrow 0");
});
