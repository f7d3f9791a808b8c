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

/** What an age is called. */
const named = (ageMs: number) => (ageMs < LATE_MS ? "online" : ageMs < OFFLINE_MS ? "late" : "offline");

/** What REST shows now; presence and age of one answer always belong together, however long it took. */
async function shown(fleet: TestFleet): Promise<Shown> {
  const now: Shown = await fleet.call("GET /v1/devices/edge-1");
  expect(now.presence).toBe(named(now.ageMs));
  return now;
}

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

/** Every place that shows presence says what its own age is called, and no age is younger than the one seen before. */
async function everywhere(fleet: TestFleet, before: Shown): Promise<void> {
  const { devices, ages } = await metrics(fleet);
  const [[presence, ageSeconds] = ["", 0], ...others] = Object.entries(ages);
  expect(others).toEqual([]);
  expect(presence).toBe(named(ageSeconds * 1_000));
  expect(ageSeconds * 1_000).toBeGreaterThanOrEqual(before.ageMs);
  expect(devices).toEqual({ never: 0, online: 0, late: 0, offline: 0, [presence]: 1 });
  const [table, json] = await Promise.all([commandLine(fleet, "table"), commandLine(fleet, "json")]);
  const [listed] = JSON.parse(json) as (Shown & { device: string })[];
  expect(listed).toMatchObject({ device: "edge-1", lastSeenAtMs: before.lastSeenAtMs });
  expect(listed!.presence).toBe(named(listed!.ageMs));
  expect(listed!.ageMs).toBeGreaterThanOrEqual(before.ageMs);
  expect(table).toMatch(/PRESENCE +HEARD/);
  const [, word = "", count, unit] = /^edge-1 +plant +active +(\w+) +(\d+) (s|min) ago/m.exec(table) ?? [];
  const unitMs = unit === "s" ? 1_000 : 60_000;
  // The table's age is whole seconds, or minutes, and no more than there were.
  const tableMs = Number(count) * unitMs;
  expect([named(tableMs), named(tableMs + 999)]).toContain(word);
  expect(tableMs).toBeGreaterThanOrEqual(Math.floor(before.ageMs / unitMs) * unitMs);
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
  // It was heard about a heartbeat before it was stopped, and its age is that of the silence, not of the question.
  expect(silentMs()).toBeGreaterThan(LATE_MS - HEARTBEAT_MS - NOTED_MS - SLACK_MS);
  expect(late.ageMs).toBeLessThan(silentMs() + HEARTBEAT_MS + NOTED_MS + SLACK_MS);
  await everywhere(fleet, late);

  // A server that dies and starts again meanwhile has heard nothing of it.
  fleet.process.signal("SIGKILL");
  await fleet.process.ended;
  fleet = await startFleet(join(folder, "server"), ports);
  const after = await shown(fleet);
  expect(after.lastSeenAtMs).toBe(late.lastSeenAtMs);
  expect(after.ageMs).toBeGreaterThan(late.ageMs);

  const offline = await shownAs(fleet, "offline");
  expect(offline.lastSeenAtMs).toBe(late.lastSeenAtMs);
  await everywhere(fleet, offline);

  // And once more: no restart makes anyone younger, or healthy.
  fleet.process.signal("SIGKILL");
  await fleet.process.ended;
  fleet = await startFleet(join(folder, "server"), ports);
  const again = await shown(fleet);
  expect(again).toMatchObject({ presence: "offline", lastSeenAtMs: late.lastSeenAtMs });
  expect(again.ageMs).toBeGreaterThan(offline.ageMs);
  expect(again.ageMs).toBeGreaterThanOrEqual(silentMs() - NOTED_MS - SLACK_MS);
  await everywhere(fleet, again);

  agent.signal("SIGCONT");
  const back = await shownAs(fleet, "online");
  expect(back.lastSeenAtMs).toBeGreaterThan(late.lastSeenAtMs);
  expect((await metrics(fleet)).devices).toEqual({ never: 0, online: 1, late: 0, offline: 0 });
  expect(await commandLine(fleet, "table")).toMatch(/^edge-1 +plant +active +online +\d+ s ago/m);
  expect((await agent.stop()).ended).toBe(0);
});
