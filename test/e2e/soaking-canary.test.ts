import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import { expect, test } from "vitest";
import { snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet, type TestFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import { runProcess, type TestProcess } from "../kit/processes.ts";
import { releasePackage } from "../kit/release.ts";
import { type SiteBroker, startSiteBroker } from "../kit/site-broker.ts";

const MODEL = "pump-rul";
const DEVICES = ["edge-1", "edge-2", "edge-3"];
const ROWS_PER_SECOND = 20;
/** Long enough that its second half is silent on a slow machine too. */
const SOAK_MINUTES = 0.2;
/** What a device proves in three seconds. */
const confirm = { inferences: 20, soakSeconds: 1, deadlineSeconds: 60, errorFraction: 0 };

interface Plant {
  readonly fleet: TestFleet;
  readonly broker: SiteBroker;
  readonly agents: ReadonlyMap<string, TestProcess>;
}

/** Devices that each read one topic of a site broker. */
async function startPlant(devices: readonly string[]): Promise<Plant> {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  const broker = await startSiteBroker();
  const agents = new Map<string, TestProcess>();
  for (const device of devices) {
    const own = join(folder, device);
    mkdirSync(own);
    await enrolDevice(fleet, join(own, "state"), device);
    const yaml = `
heartbeatMs: 500
assets: [{id: pump-1}]
inputs: [{id: site, type: mqtt, url: "${broker.url}", points: [{name: x, asset: pump-1, channel: x, unit: mm/s, topic: ${device}/x}]}]
`;
    agents.set(device, startAgentProcess(own, join(own, "state"), yaml));
  }
  await Promise.all(
    devices.map((device) => {
      const online = ({ link }: { link: { phase: string } }) => link.phase === "online";
      return snapshotWhere(`${device} is online`, join(folder, device, "state"), online, 40_000);
    }),
  );
  return { fleet, broker, agents };
}

interface Rollout {
  readonly id: string;
  readonly phase: string;
  readonly reason?: string;
  readonly waveIndex: number;
  readonly waves: readonly { readonly phase: string; readonly reason?: string; readonly executions: object }[];
  readonly devicesTouched: number;
}

async function start(fleet: TestFleet, request: Record<string, unknown>): Promise<string> {
  const { id } = await fleet.call("POST /v1/rollouts", { model: MODEL, target: { selector: "" }, confirm, ...request });
  await fleet.call(`POST /v1/rollouts/${id}/start`);
  return id;
}

function rolloutWhere(fleet: TestFleet, id: string, what: string, judge: (rollout: Rollout) => boolean) {
  return eventually(
    what,
    async () => {
      const rollout = (await fleet.call(`GET /v1/rollouts/${id}`)) as Rollout;
      if (judge(rollout)) return rollout;
      throw new Error(JSON.stringify(rollout));
    },
    60_000,
    100,
  );
}

/** Version 1 on every device, proven; then version 2 begins, up to its one canary that soaks. */
async function soakingCanary(plant: Plant, gates: readonly unknown[]): Promise<{ id: string; canary: string }> {
  const { fleet, broker } = plant;
  for (const device of DEVICES) broker.feed(`${device}/x`, ROWS_PER_SECOND);
  const first = await releasePackage(fleet, testPackage());
  const everywhere = { name: "all", targetPercentage: 100, soakMinutes: 0, gates: [] };
  const before = await start(fleet, { version: String(first.version), waves: [everywhere] });
  await rolloutWhere(fleet, before, "version 1 is everywhere", ({ phase }) => phase === "finished");

  const second = await releasePackage(fleet, testPackage(timesModel(10.1), [10.1, 20.2, 30.3]));
  expect(second.version).toBe(2);
  const canaryWave = { name: "canary", targetPercentage: 30, soakMinutes: SOAK_MINUTES, gates };
  const id = await start(fleet, { version: "2", waves: [canaryWave, { ...everywhere, name: "rest" }] });
  await rolloutWhere(fleet, id, "the canary soaks", ({ waves }) => waves[0]?.phase === "soaking");
  const { items } = await fleet.call(`GET /v1/rollouts/${id}/executions`);
  const canaries = items.filter((one: { wave: number }) => one.wave === 0).map((one: { device: string }) => one.device);
  expect(canaries).toHaveLength(1);
  return { id, canary: canaries[0] };
}

/** Nobody but the canary was ever asked to run version 2, downloaded it or predicted with it. */
async function onlyTheCanary(fleet: TestFleet, id: string, canary: string): Promise<void> {
  const { manifestDigest: digest } = await fleet.call(`GET /v1/rollouts/${id}`);
  const { items } = await fleet.call(`GET /v1/rollouts/${id}/executions`);
  const others = items.filter((one: { device: string }) => one.device !== canary);
  expect(others).toHaveLength(DEVICES.length - 1);
  for (const one of others) {
    expect(one).toMatchObject({ phase: "queued", assignedAtMs: null, directorVersion: null, activeVersion: 1 });
    const { models } = (await fleet.call(`GET /v1/devices/${one.device}`)) as { models: ReportedModel[] };
    expect(models).toMatchObject([{ active: { version: 1 }, target: { version: 1 } }]);
    const predictions = await fleet.call(`GET /v1/predictions?device=${one.device}&digest=${digest}&limit=1`);
    expect(predictions.items).toEqual([]);
  }
}

async function gatesOf(fleet: TestFleet, id: string): Promise<Record<string, Record<string, unknown>>> {
  const { items } = await fleet.call(`GET /v1/rollouts/${id}/gates`);
  const newest = [...items].reverse().filter((one: { wave: number }) => one.wave === 0);
  return Object.fromEntries(newest.map((one: { gate: string }) => [one.gate, one]));
}

test("a canary whose input ends while it soaks makes the wave inconclusive and the rollout paused, and says why", async () => {
  const plant = await startPlant(DEVICES);
  const { fleet, broker } = plant;
  const needed = 2_000;
  const { id, canary } = await soakingCanary(plant, [{ name: "inference-errors", minSamples: needed }]);
  broker.endFeed(`${canary}/x`);

  const paused = await rolloutWhere(fleet, id, "it is paused", ({ phase }) => phase !== "running");
  const reason = `no predictions of late from ${canary}`;
  expect(paused).toMatchObject({
    phase: "paused",
    reason: `wave canary inconclusive: ${reason}`,
    waveIndex: 0,
    devicesTouched: 1,
    waves: [{ phase: "inconclusive", reason, executions: { succeeded: 1 } }, { phase: "pending" }],
  });
  // The device itself is well and online: it is its input that ended.
  expect((await fleet.call(`GET /v1/devices/${canary}`)).presence).toBe("online");

  const gates = await gatesOf(fleet, id);
  expect(gates["live-predictions"]).toMatchObject({
    verdict: "inconclusive",
    statistic: 1,
    n: 1,
    controlN: 0,
    threshold: 0,
    reason,
  });
  const errors = gates["inference-errors"] as Record<"n" | "controlN", number>;
  expect(errors.n).toBeGreaterThanOrEqual(confirm.inferences);
  expect(errors.controlN).toBeGreaterThan(0);
  expect(errors).toMatchObject({
    verdict: "inconclusive",
    statistic: null,
    threshold: 0.05,
    reason: `${errors.n} of the ${needed} predictions it needs`,
  });
  const env = { BELLWETHER_URL: fleet.url, BELLWETHER_TOKEN_FILE: join(fleet.dir, "admin.token") };
  const listed = await runProcess("bellwether", ["rollouts", "gates", id], { env });
  expect(listed.stdout).toMatch(new RegExp(`live-predictions +inconclusive +1 +1 +0 +0 +${reason}`));
  expect(listed.stdout).toMatch(/inference-errors +inconclusive +\S* *\d+ +\d+ +0\.05 +\d+ of the 2000 predictions/);
  await onlyTheCanary(fleet, id, canary);
});

test("a canary process stopped while it soaks pauses the rollout; alive again and resumed, it goes on to the end", async () => {
  const plant = await startPlant(DEVICES);
  const { fleet, agents } = plant;
  const { id, canary } = await soakingCanary(plant, ["inference-errors", "latency"]);
  agents.get(canary)!.signal("SIGSTOP");

  const paused = await rolloutWhere(fleet, id, "it is paused", ({ phase }) => phase !== "running");
  expect(paused).toMatchObject({
    phase: "paused",
    reason: `wave canary inconclusive: no predictions of late from ${canary}`,
    devicesTouched: 1,
    waves: [{ phase: "inconclusive" }, { phase: "pending" }],
  });
  expect(await gatesOf(fleet, id)).toMatchObject({
    "live-predictions": { verdict: "inconclusive", statistic: 1, n: 1, threshold: 0 },
  });
  await onlyTheCanary(fleet, id, canary);

  agents.get(canary)!.signal("SIGCONT");
  await eventually(
    "it is online again",
    async () => (await fleet.call(`GET /v1/devices/${canary}`)).presence === "online",
    30_000,
  );
  await fleet.call(`POST /v1/rollouts/${id}/resume`);
  const done = await rolloutWhere(fleet, id, "it finished", ({ phase }) => phase === "finished");
  expect(done).toMatchObject({ devicesTouched: DEVICES.length, waves: [{ phase: "passed" }, { phase: "passed" }] });
  expect(await gatesOf(fleet, id)).toMatchObject({
    "live-predictions": {
      verdict: "pass",
      statistic: 0,
      n: 1,
      reason: "every device that succeeded sends predictions",
    },
    "inference-errors": { verdict: "pass", statistic: 0 },
  });
});

test("a canary that is fed no input never succeeds: its wave is inconclusive, and nobody else is asked", async () => {
  const { fleet } = await startPlant(DEVICES.slice(0, 2));
  const { version } = await releasePackage(fleet, testPackage());
  const id = await start(fleet, {
    version: String(version),
    waves: [
      { name: "canary", targetPercentage: 50, soakMinutes: 0, gates: [] },
      { name: "rest", targetPercentage: 100, soakMinutes: 0, gates: [] },
    ],
    confirm: { inferences: 1, soakSeconds: 0, deadlineSeconds: 4, errorFraction: 0 },
  });
  const seen = new Set<string>();
  const paused = await rolloutWhere(fleet, id, "it is paused", ({ phase, waves }) => {
    for (const wave of waves) for (const execution of Object.keys(wave.executions)) seen.add(execution);
    return phase !== "running";
  });
  expect([...seen].sort()).toEqual(["inProgress", "inconclusive", "queued"]);
  expect(paused).toMatchObject({
    phase: "paused",
    devicesTouched: 1,
    waves: [
      { phase: "inconclusive", reason: "0 of 1 devices succeeded, too few to go on", executions: { inconclusive: 1 } },
      { phase: "pending", executions: { queued: 1 } },
    ],
  });
  const { items } = (await fleet.call(`GET /v1/rollouts/${id}/executions`)) as { items: { device: string }[] };
  expect(items).toMatchObject([
    { wave: 0, phase: "inconclusive", errorCode: "NO_LIVE_INFERENCES", activeVersion: null },
    { wave: 1, phase: "queued", assignedAtMs: null, activeVersion: null },
  ]);
  for (const { device } of items) {
    const { models } = (await fleet.call(`GET /v1/devices/${device}`)) as { models: ReportedModel[] };
    expect(models.map(({ outcome }) => outcome)).not.toContain("succeeded");
  }
});
