import { spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { InferenceRecord } from "@bellwether/protocol/messages/stream.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { expect, onTestFinished, test } from "vitest";
import { startBellwether } from "../kit/bellwether.ts";
import { type Connection, connectDevice, connectMqtt, enrol, rowsOf, subscriber } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";

const START_MS = Date.UTC(2026, 0, 1);

function prediction(asset: string, value: number): InferenceRecord {
  return {
    asset,
    observedAtMs: START_MS,
    model: "pump-rul",
    version: 3,
    digest: `sha256:${"ab".repeat(32)}`,
    value,
    explanation: [{ feature: "vib.rms", delta: -2.5 }],
  };
}

function of(connection: Connection, end: string) {
  return connection.messages
    .filter(({ topic }) => topic.endsWith(end))
    .map(({ topic, text, retain }) => ({ topic, retain, body: JSON.parse(text) }));
}

test("a subscriber gets what was committed: telemetry, predictions, the last values, presence; backfill is marked", async () => {
  const server = await startBellwether();
  const reader = await connectMqtt(server, await subscriber(server, "scada"));
  expect(await reader.subscribe("bw/v1/plant-a/feed/#")).toBe(0);
  const device = await connectDevice(server, await enrol(server, "gw-1"));
  // What was taken while the line was down comes first: it is older.
  await device.send("telemetry", rowsOf("pump-1", 2, START_MS - 60_000), { hist: true });
  await device.send("telemetry", rowsOf("pump-1", 3, START_MS));
  await device.send("inference", [prediction("pump-1", 87.5)]);
  await eventually("the prediction", () => of(reader, "/prediction").length === 1);

  const telemetry = of(reader, "/feed/pump-1/telemetry");
  expect(telemetry.map(({ body }) => [body.time, body.values.vib, body.hist, body.device, body.asset])).toEqual([
    ["2025-12-31T23:59:00.000Z", 1, true, "gw-1", "pump-1"],
    ["2025-12-31T23:59:01.000Z", 2, true, "gw-1", "pump-1"],
    ["2026-01-01T00:00:00.000Z", 1, false, "gw-1", "pump-1"],
    ["2026-01-01T00:00:01.000Z", 2, false, "gw-1", "pump-1"],
    ["2026-01-01T00:00:02.000Z", 3, false, "gw-1", "pump-1"],
  ]);
  expect(of(reader, "/feed/pump-1/prediction")[0]?.body).toMatchObject({
    ...prediction("pump-1", 87.5),
    device: "gw-1",
    time: "2026-01-01T00:00:00.000Z",
    hist: false,
  });
  await eventually("presence", () => of(reader, "/feed/gw-1/device").some(({ body }) => body.presence === "online"));
  const last = await eventually("the last values", () =>
    of(reader, "/feed/pump-1/last").find(({ body }) => body.predictions["pump-rul"]),
  );
  expect(last.body).toMatchObject({
    time: "2026-01-01T00:00:02.000Z",
    values: { vib: 3 },
    predictions: { "pump-rul": { version: 3, value: 87.5, time: "2026-01-01T00:00:00.000Z" } },
  });
  expect(reader.messages.every(({ retain }) => !retain)).toBe(true);
});

test("who subscribes late gets the retained last values and the presence of every device, also after a restart", async () => {
  const server = await startBellwether();
  const device = await connectDevice(server, await enrol(server, "gw-1"));
  await device.send("telemetry", rowsOf("pump-1", 3, START_MS));
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-2", 2, START_MS)));
  const login = await subscriber(server, "historian");
  await server.stop();
  const second = await startBellwether({ dir: server.dir });
  const late = await connectMqtt(second, login);
  await late.subscribe("bw/v1/plant-a/feed/#");
  await eventually("presence", () => of(late, "/gw-1/device").length === 1);
  expect(of(late, "/last").map(({ topic, retain, body }) => [topic, retain, body.time, body.values])).toEqual([
    ["bw/v1/plant-a/feed/pump-1/last", true, "2026-01-01T00:00:02.000Z", { vib: 3 }],
    ["bw/v1/plant-a/feed/pump-2/last", true, "2026-01-01T00:00:01.000Z", { vib: 2 }],
  ]);
  expect(of(late, "/gw-1/device")[0]).toMatchObject({ retain: true, body: { device: "gw-1" } });
  expect(of(late, "/gw-1/device")[0]?.body.ageMs).toBeGreaterThanOrEqual(0);
});

test("nothing is in the feed that is not in the store: poison, duplicates and conflicts say nothing", async () => {
  const server = await startBellwether();
  const reader = await connectMqtt(server, await subscriber(server, "scada"));
  await reader.subscribe("bw/v1/plant-a/feed/#");
  const enrolled = await enrol(server, "gw-1");
  const device = await connectDevice(server, enrolled);
  const topic = deviceTopic("plant-a", "gw-1").up("inference");
  const clock = { bootId: "b", monoMs: 1, wallMs: Date.now(), clockSynced: true };
  const batch = { v: 1, epoch: device.epoch, stream: "inference", hist: false, clock } as const;
  const says = (fromSeq: number, value: number, changes: Partial<InferenceRecord> = {}) =>
    encodeBatch({ ...batch, fromSeq, records: [{ ...prediction("pump-1", value), ...changes }] });
  await device.publish(topic, says(1, 1));
  await device.publish(topic, says(1, 1));
  await device.publish(topic, says(1, 666));
  await device.publish(topic, says(2, 667, { model: "../rul" }));
  await device.publish(topic, says(3, 2));
  await eventually("the last prediction", () => of(reader, "/prediction").length >= 2);
  const { body } = await server.call("GET /v1/predictions?device=gw-1");
  expect(body.items.map(({ value }: { value: number }) => value)).toEqual([1, 2]);
  expect(of(reader, "/prediction").map((message) => message.body.value)).toEqual([1, 2]);
});

test("every message of the feed is committed before it is sent", async () => {
  const server = await startBellwether();
  const reader = await connectMqtt(server, await subscriber(server, "scada"));
  await reader.subscribe("bw/v1/plant-a/feed/+/prediction");
  const device = await connectDevice(server, await enrol(server, "gw-1"));
  // The store dies under what is on its way: what the subscriber saw must be there afterwards.
  const sent = Array.from({ length: 200 }, (_, n) => device.send("inference", [prediction("pump-1", n)]));
  await eventually("some predictions", () => of(reader, "/prediction").length >= 20, 10_000, 1);
  await server.stop("SIGKILL");
  await Promise.allSettled(sent);
  const seen = of(reader, "/prediction").map(({ body }) => body.value);
  const second = await startBellwether({ dir: server.dir });
  const { body } = await second.call("GET /v1/predictions?device=gw-1&limit=500");
  const stored = new Set(body.items.map(({ value }: { value: number }) => value));
  expect(seen.filter((value) => !stored.has(value))).toEqual([]);
});

test("a subscriber is told when a device falls silent, with the age; nobody has to ask", async () => {
  const server = await startBellwether();
  const reader = await connectMqtt(server, await subscriber(server, "scada"));
  await reader.subscribe("bw/v1/plant-a/feed/+/device");
  await connectDevice(server, await enrol(server, "gw-1"), { heartbeatMs: 1_000 });
  const says = (presence: string) => of(reader, "/gw-1/device").some(({ body }) => body.presence === presence);
  await eventually("online", () => says("online"));
  await eventually("late", () => says("late"), 8_000);
  await eventually("offline", () => says("offline"), 8_000);
  expect(of(reader, "/gw-1/device").at(-1)?.body.ageMs).toBeGreaterThanOrEqual(6_000);
});

test("a revoked account is cut off and stays out; accounts see their own sites only", async () => {
  const server = await startBellwether();
  const login = await subscriber(server, "scada", ["plant-a"]);
  const reader = await connectMqtt(server, login);
  await reader.subscribe("bw/v1/plant-a/feed/#");
  const other = await connectMqtt(server, await subscriber(server, "elsewhere", ["plant-b"]));
  await other.subscribe("bw/v1/plant-b/feed/#");
  const device = await connectDevice(server, await enrol(server, "gw-1"));
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 3)));
  await eventually("the feed", () => of(reader, "/telemetry").length === 3);
  expect(other.messages).toEqual([]);
  expect((await server.call("POST /v1/subscribers/scada/revoke")).http).toBe(200);
  await eventually("the connection is cut", () => !reader.connected());
  await expect(connectMqtt(server, login)).rejects.toThrow(/refused/i);
});

const MOSQUITTO = spawnSync("mosquitto_sub", ["--help"]).error === undefined;

test("mosquitto_sub, a client of somebody else's, reads the feed (where it is installed)", async () => {
  if (!MOSQUITTO) {
    console.warn("mosquitto_sub is not installed: the feed was read by mqtt.js only");
    expect(MOSQUITTO).toBe(false);
    return;
  }
  const server = await startBellwether();
  const { username, password } = await subscriber(server, "scada");
  const device = await connectDevice(server, await enrol(server, "gw-1"));
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 1, START_MS)));
  const args = ["-h", "127.0.0.1", "-p", String(server.mqttPort), "-u", username, "-P", password, "-V", "mqttv311"];
  const child = spawn("mosquitto_sub", [...args, "-t", "bw/v1/plant-a/feed/#", "-F", "%r %t %p"]);
  onTestFinished(() => void child.kill());
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  await eventually("the retained values", () =>
    lines.some((line) => line.startsWith("1 bw/v1/plant-a/feed/pump-1/last {")),
  );
  await device.send("inference", [prediction("pump-1", 42)]);
  const line = await eventually("the prediction", () => lines.find((one) => one.includes("/feed/pump-1/prediction")));
  expect(line).toMatch(/^0 bw\/v1\/plant-a\/feed\/pump-1\/prediction \{/);
  expect(JSON.parse(line.slice(line.indexOf("{")))).toMatchObject({ value: 42, model: "pump-rul", version: 3 });
});
