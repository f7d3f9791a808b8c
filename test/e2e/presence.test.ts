import { expect, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { cli } from "../kit/cli.ts";
import { connectDevice, enrol, rowsOf } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";

const HEARTBEAT_MS = 1_000;

async function shown(server: Bellwether, device: string): Promise<{ presence: string; ageMs: number | null }> {
  return (await server.call(`GET /v1/devices/${device}`)).body;
}

/** What the command line says of the only device. */
async function listed(server: Bellwether): Promise<{ presence: string; ageMs: number | null }> {
  const env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin };
  const run = await cli(["devices", "list", "-o", "json"], env);
  expect([run.exitCode, run.stderr]).toEqual([0, ""]);
  const [device] = JSON.parse(run.stdout);
  return device;
}

async function counted(server: Bellwether): Promise<Record<string, number>> {
  const { body } = await server.call("GET /metrics");
  const lines = [...String(body).matchAll(/^bellwether_devices\{presence="(\w+)"\} (\d+)$/gm)];
  return Object.fromEntries(lines.map(([, presence, count]) => [presence, Number(count)]));
}

test("a device that falls silent with its connection open goes late after 3 heartbeats and offline after 6", async () => {
  const server = await startBellwether();
  const enrolled = await enrol(server, "gw-1");
  expect(await shown(server, "gw-1")).toMatchObject({ presence: "never", ageMs: null });
  const device = await connectDevice(server, enrolled, { heartbeatMs: HEARTBEAT_MS });
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 3)));
  await eventually("online", async () => (await shown(server, "gw-1")).presence === "online", 2_000, 20);
  const silentSinceMs = performance.now();

  const late = await eventually(
    "late",
    async () => {
      const now = await shown(server, "gw-1");
      return now.presence === "late" && now;
    },
    10_000,
    20,
  );
  expect(late.ageMs).toBeGreaterThanOrEqual(3 * HEARTBEAT_MS);
  expect(late.ageMs).toBeLessThan(6 * HEARTBEAT_MS);
  expect(await listed(server)).toMatchObject({ presence: "late" });
  expect(await counted(server)).toEqual({ online: 0, late: 1, offline: 0, never: 0 });
  const offline = await eventually(
    "offline",
    async () => {
      const now = await shown(server, "gw-1");
      return now.presence === "offline" && now;
    },
    10_000,
    20,
  );
  expect(offline.ageMs).toBeGreaterThanOrEqual(6 * HEARTBEAT_MS);
  // Documented: 6 heartbeats, and the half second within which the server notes when it heard a device; the rest is for
  // a machine that has other things to do.
  expect(performance.now() - silentSinceMs).toBeLessThan(6 * HEARTBEAT_MS + 4_000);
  expect(device.connected()).toBe(true);
  const inList = await listed(server);
  expect(inList.presence).toBe("offline");
  expect(inList.ageMs).toBeGreaterThanOrEqual(offline.ageMs as number);
  expect(await counted(server)).toEqual({ online: 0, late: 0, offline: 1, never: 0 });

  await device.state();
  await eventually("online again", async () => (await shown(server, "gw-1")).presence === "online", 3_000, 20);
});

test("a restart of the server resets no age: a silent device is not online because the server just began", async () => {
  const dir = temporaryFolder("bellwether-presence-");
  const first = await startBellwether({ dir });
  const device = await connectDevice(first, await enrol(first, "gw-1"), { heartbeatMs: HEARTBEAT_MS });
  await enrol(first, "gw-2");
  await eventually("offline", async () => (await shown(first, "gw-1")).presence === "offline", 15_000);
  const before = await first.call("GET /v1/devices/gw-1");
  await first.stop("SIGKILL");
  await eventually("the connection is gone", () => !device.connected());

  const second = await startBellwether({ dir });
  const after = await second.call("GET /v1/devices/gw-1");
  expect(after.body).toMatchObject({ presence: "offline", lastSeenAtMs: before.body.lastSeenAtMs });
  expect(after.body.ageMs).toBeGreaterThan(before.body.ageMs);
  expect(await counted(second)).toEqual({ never: 1, online: 0, late: 0, offline: 1 });
});

test("a device that dies is offline at once by its will; the words of an older life change nothing", async () => {
  const server = await startBellwether();
  const enrolled = await enrol(server, "gw-1");
  const device = await connectDevice(server, enrolled, { session: 1 });
  await eventually("online", async () => (await shown(server, "gw-1")).presence === "online");
  device.mqtt.stream.destroy();
  await eventually("offline by its will", async () => (await shown(server, "gw-1")).presence === "offline");

  const second = await connectDevice(server, enrolled, { session: 2 });
  await eventually("online", async () => (await shown(server, "gw-1")).presence === "online");
  await second.state({ session: 1, online: false });
  await second.acknowledged("telemetry", await second.send("telemetry", rowsOf("pump-1", 1)));
  expect(await shown(server, "gw-1")).toMatchObject({ presence: "online" });
});
