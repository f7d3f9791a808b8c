import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replayOf, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet, type TestFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { runProcess } from "../kit/processes.ts";

const HEARTBEAT_MS = 3_000;
/** OPERATIONS.md: late after 3 heartbeats, offline after 6, and half a second for noting when a device was heard. */
const LATE_MS = 3 * HEARTBEAT_MS;
const OFFLINE_MS = 6 * HEARTBEAT_MS;
const NOTED_MS = 500;
/** For a machine that has other things to do. */
const SLACK_MS = 4_000;

interface Shown {
  readonly presence: string;
  readonly ageMs: number;
  readonly lastSeenAtMs: number;
}

const shown = (fleet: TestFleet): Promise<Shown> => fleet.call("GET /v1/devices/edge-1");

function shownAs(fleet: TestFleet, presence: string): Promise<Shown> {
  return eventually(
    `REST shows it as ${presence}`,
    async () => {
      const now = await shown(fleet);
      return now.presence === presence && now;
    },
    30_000,
  );
}

async function commandLine(fleet: TestFleet, format: "table" | "json"): Promise<string> {
  const env = { BELLWETHER_URL: fleet.url, BELLWETHER_TOKEN_FILE: join(fleet.dir, "admin.token") };
  const { ended, stdout, stderr } = await runProcess("bellwether", ["-o", format, "devices", "list"], { env });
  expect([ended, stderr]).toEqual([0, ""]);
  return stdout;
}

/** Devices by presence, and the age in seconds of the longest unheard one of each. */
async function metrics(fleet: TestFleet): Promise<{ devices: Record<string, number>; ages: Record<string, number> }> {
  const token = readFileSync(join(fleet.dir, "admin.token"), "utf8").trim();
  const answer = await fetch(`${fleet.url}/metrics`, { headers: { authorization: `Bearer ${token}` } });
  const text = await answer.text();
  const read = (name: string) =>
    Object.fromEntries(
      [...text.matchAll(new RegExp(`^${name}\\{presence="(\\w+)"\\} (\\S+)$`, "gm"))].map(([, key, value]) => [
        key,
        Number(value),
      ]),
    );
  return { devices: read("bellwether_devices"), ages: read("bellwether_device_oldest_age_seconds") };
}

/** Every place that shows presence says the same, with an age no younger than the one seen before. */
async function everywhere(fleet: TestFleet, presence: "late" | "offline", before: Shown): Promise<void> {
  const { devices, ages } = await metrics(fleet);
  expect(devices).toEqual({ never: 0, online: 0, late: 0, offline: 0, [presence]: 1 });
  expect(Object.keys(ages)).toEqual([presence]);
  expect(ages[presence]! * 1_000).toBeGreaterThanOrEqual(before.ageMs);
  const [table, json] = await Promise.all([commandLine(fleet, "table"), commandLine(fleet, "json")]);
  const [listed] = JSON.parse(json) as (Shown & { device: string })[];
  expect(listed).toMatchObject({ device: "edge-1", presence, lastSeenAtMs: before.lastSeenAtMs });
  expect(listed!.ageMs).toBeGreaterThanOrEqual(before.ageMs);
  const row = new RegExp(`^edge-1 +plant +active +${presence} +(\\d+) s ago`, "m").exec(table);
  expect(table).toMatch(/PRESENCE +HEARD/);
  expect(Number(row?.[1])).toBeGreaterThanOrEqual(Math.floor(before.ageMs / 1_000));
}

test("a stopped agent process is late, then offline, with its age, everywhere; only its own word makes it online", async () => {
  const folder = temporaryFolder();
  let fleet = await startFleet(join(folder, "server"));
  const ports = { port: Number(new URL(fleet.url).port), mqttPort: Number(new URL(fleet.mqttUrl).port) };
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1");
  const yaml = replayOf(folder).replace("heartbeatMs: 500", `heartbeatMs: ${HEARTBEAT_MS}`);
  const agent = startAgentProcess(folder, stateDir, yaml);
  await shownAs(fleet, "online");
  await eventually("its rows arrive", async () => (await fleet.samples()).length > 0);

  agent.signal("SIGSTOP");
  const stoppedAtMs = performance.now();
  const silentMs = () => performance.now() - stoppedAtMs;
  const late = await shownAs(fleet, "late");
  // It was heard at most one heartbeat before it was stopped, and its age is that of the silence, not of the question.
  expect(silentMs()).toBeGreaterThan(LATE_MS - HEARTBEAT_MS - NOTED_MS);
  expect(silentMs()).toBeLessThan(LATE_MS + NOTED_MS + SLACK_MS);
  expect(late.ageMs).toBeGreaterThanOrEqual(LATE_MS);
  expect(late.ageMs).toBeLessThan(silentMs() + HEARTBEAT_MS + NOTED_MS);
  await everywhere(fleet, "late", late);

  // A server that dies and starts again meanwhile has heard nothing of it.
  fleet.process.signal("SIGKILL");
  await fleet.process.ended;
  fleet = await startFleet(join(folder, "server"), ports);
  const after = await shown(fleet);
  expect(after.lastSeenAtMs).toBe(late.lastSeenAtMs);
  expect(after.ageMs).toBeGreaterThan(late.ageMs);
  expect(after.presence).toBe(after.ageMs >= OFFLINE_MS ? "offline" : "late");

  const offline = await shownAs(fleet, "offline");
  expect(silentMs()).toBeLessThan(OFFLINE_MS + NOTED_MS + SLACK_MS);
  expect(offline.lastSeenAtMs).toBe(late.lastSeenAtMs);
  expect(offline.ageMs).toBeGreaterThanOrEqual(OFFLINE_MS);
  await everywhere(fleet, "offline", offline);

  // And once more: no restart makes anyone younger, or healthy.
  fleet.process.signal("SIGKILL");
  await fleet.process.ended;
  fleet = await startFleet(join(folder, "server"), ports);
  const again = await shown(fleet);
  expect(again).toMatchObject({ presence: "offline", lastSeenAtMs: late.lastSeenAtMs });
  expect(again.ageMs).toBeGreaterThan(offline.ageMs);
  expect(again.ageMs).toBeGreaterThanOrEqual(silentMs() - NOTED_MS - SLACK_MS);
  await everywhere(fleet, "offline", again);

  agent.signal("SIGCONT");
  const back = await shownAs(fleet, "online");
  expect(back.lastSeenAtMs).toBeGreaterThan(late.lastSeenAtMs);
  expect(back.ageMs).toBeLessThan(LATE_MS);
  expect((await metrics(fleet)).devices).toEqual({ never: 0, online: 1, late: 0, offline: 0 });
  expect(await commandLine(fleet, "table")).toMatch(/^edge-1 +plant +active +online +\d+ s ago/m);
  expect((await agent.stop()).ended).toBe(0);
}, 120_000);
