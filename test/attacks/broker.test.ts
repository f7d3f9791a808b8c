import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import {
  answerTo,
  connectDevice,
  connectMqtt,
  credentials,
  deviceLogin,
  enrol,
  nonceFor,
  rowsOf,
  subscriber,
} from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";

const dir = mkdtempSync(join(tmpdir(), "bellwether-attacks-"));
let server: Bellwether;
beforeAll(async () => {
  server = await startBellwether({ dir, until: "caller" });
});
afterAll(async () => {
  await server?.stop();
  rmSync(dir, { recursive: true, force: true });
});

let names = 0;
/** A device of its own for every test: they share one server. */
const freshName = (word = "gw") => `${word}-${++names}`;

async function healthy(): Promise<number> {
  const start = performance.now();
  expect((await server.call("GET /healthz", undefined, { token: null })).http).toBe(200);
  return performance.now() - start;
}

/** What is heard is noted within half a second. */
async function isOnline(device: string): Promise<void> {
  await eventually(`${device} is online`, async () => {
    const { body } = await server.call(`GET /v1/devices/${device}`);
    return body.presence === "online";
  });
}

async function metric(name: string): Promise<number> {
  const { body } = await server.call("GET /metrics");
  return Number(new RegExp(`^${name.replace(/[{}"]/g, "\\$&")} (\\S+)$`, "m").exec(body)?.[1]);
}

/** A raw socket to the broker; errors are what the broker does to it, and are not ours. */
async function rawSocket(): Promise<Socket> {
  const socket = createConnection(server.mqttPort, "127.0.0.1");
  socket.on("error", () => undefined);
  onTestFinished(() => void socket.destroy());
  await new Promise<void>((done) => socket.once("connect", done));
  return socket;
}

/** The header of an MQTT packet of this type that announces this many bytes. */
function header(type: number, length: number): Buffer {
  const bytes = [type];
  let left = length;
  do {
    bytes.push((left % 128) + (left >= 128 ? 128 : 0));
    left = Math.floor(left / 128);
  } while (left > 0);
  return Buffer.from(bytes);
}

const CONNECT = 0x10;
const goneWithin = (socket: Socket, limitMs = 5_000) =>
  eventually("the socket is closed", () => socket.closed, limitMs);

test("a flood before login keeps memory flat, and the server goes on answering", { timeout: 60_000 }, async () => {
  const device = await connectDevice(server, await enrol(server, freshName()));
  // What is allocated once for good is allocated before the count begins.
  const wave = async (sockets: number) => {
    const all = await Promise.all(Array.from({ length: sockets }, rawSocket));
    const junk = randomBytes(60_000);
    for (const [index, socket] of all.entries()) {
      if (index % 3 === 0) socket.write(Buffer.concat([header(CONNECT, 200_000_000), junk]));
      else if (index % 3 === 1) socket.write(Buffer.concat([header(CONNECT, 2_000), junk.subarray(0, 1_500)]));
      else socket.write(header(CONNECT, 1_900));
    }
    const over = all.filter((_, index) => index % 3 === 0);
    await eventually("oversized connections are cut", () => over.every((socket) => socket.destroyed || socket.closed));
    // Slow bytes: the others go on, a byte at a time.
    for (let round = 0; round < 20; round++) {
      for (const [index, socket] of all.entries()) if (index % 3 === 2) socket.write(Buffer.of(0));
      expect(await healthy()).toBeLessThan(1_000);
    }
    return all;
  };
  for (const socket of await wave(100)) socket.destroy();
  const beforeMb = server.rssMb();
  const all = await wave(600);
  const growthMb = server.rssMb() - beforeMb;
  expect(growthMb).toBeLessThan(30);
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 5)));
  // Whoever never finishes its CONNECT is not kept for ever.
  await eventually("slow connections are cut", () => all.every((socket) => socket.closed), 20_000, 200);
  expect(device.connected()).toBe(true);
});

test("a packet over 2 KB before login closes its own connection only, before its body is read", async () => {
  const device = await connectDevice(server, await enrol(server, freshName()));
  const cutBefore = await metric("bellwether_mqtt_oversized_total");
  const under = await rawSocket();
  under.write(header(CONNECT, 2_048));
  const over = await rawSocket();
  over.write(header(CONNECT, 2_049));
  await goneWithin(over);
  expect(under.closed).toBe(false);
  expect(await metric("bellwether_mqtt_oversized_total")).toBe(cutBefore + 1);
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 5)));
});

test("a packet over 64 KB after login closes its own connection only", async () => {
  const big = await enrol(server, freshName());
  const device = await connectDevice(server, big);
  const other = await connectDevice(server, await enrol(server, freshName()));
  const topic = deviceTopic(big.site, big.device).up("telemetry");
  // Just inside: taken, and kept as a dead letter.
  await device.publish(topic, randomBytes(65_536 - topic.length - 4));
  expect(device.connected()).toBe(true);
  await expect(device.publish(topic, randomBytes(65_536))).rejects.toThrow("closed the connection");
  await other.acknowledged("telemetry", await other.send("telemetry", rowsOf("pump-1", 5)));
  await expect(connectDevice(server, big, { session: 2 })).resolves.toMatchObject({ session: 2 });
});

test("a device reads nothing but what it is told itself", async () => {
  const [mine, theirs] = [await enrol(server, freshName()), await enrol(server, freshName())];
  const device = await connectDevice(server, mine);
  const root = `bw/v1/${mine.site}`;
  const forbidden = [
    "#",
    "+/#",
    "bw/#",
    `${root}/#`,
    `${root}/+/down/#`,
    `${root}/+/down/ack`,
    `${root}/${theirs.device}/down/#`,
    `${root}/${theirs.device}/up/#`,
    `${root}/${mine.device}/#`,
    `${root}/${mine.device}/up/#`,
    `${root}/feed/#`,
    `${root}/feed/pump-1/last`,
    "$SYS/#",
    "$bw/#",
    "$share/group/bw/v1/plant-a/feed/#",
  ];
  for (const filter of forbidden) expect([filter, await device.subscribe(filter)]).toEqual([filter, 128]);
  const other = await connectDevice(server, theirs);
  await other.acknowledged("telemetry", await other.send("telemetry", rowsOf("pump-1", 5)));
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-2", 5)));
  const own = `${root}/${mine.device}/down/`;
  expect(device.messages.filter(({ topic }) => !topic.startsWith(own))).toEqual([]);
});

test("a device speaks for nobody but itself", async () => {
  const [mine, theirs] = [await enrol(server, freshName()), await enrol(server, freshName())];
  const watching = await connectMqtt(server, await subscriber(server, freshName("reader")));
  expect(await watching.subscribe(`bw/v1/${mine.site}/feed/#`)).toBeLessThan(128);
  const victim = await connectDevice(server, theirs);
  const root = `bw/v1/${mine.site}`;
  const forbidden = [
    `${root}/${theirs.device}/up/state`,
    `${root}/${theirs.device}/up/telemetry`,
    `${root}/${theirs.device}/down/desired`,
    `${root}/${mine.device}/down/desired`,
    `${root}/${mine.device}/up/nothing`,
    `bw/v1/plant-b/${mine.device}/up/telemetry`,
    `${root}/feed/pump-1/last`,
    `${root}/feed/pump-1/alarm/on`,
    "$SYS/bellwether/new/clients",
    "$bw/taken",
    "elsewhere",
  ];
  for (const [index, topic] of forbidden.entries()) {
    const device = await connectDevice(server, mine, { session: index + 1 });
    const offline = JSON.stringify({ v: 1, session: 9_999, online: false });
    await expect(device.publish(topic, offline, { qos: 1, retain: true }), topic).rejects.toThrow("closed");
  }
  await isOnline(theirs.device);
  expect(victim.connected()).toBe(true);
  expect(victim.messages.filter(({ topic }) => topic.endsWith("/desired"))).toEqual([]);
  const late = await connectMqtt(server, await subscriber(server, freshName("reader")));
  await late.subscribe(`${root}/feed/#`);
  await eventually("the retained feed", () => late.messages.some(({ topic }) => topic.endsWith("/device")));
  expect([...watching.messages, ...late.messages].filter(({ topic }) => topic.includes("/alarm/"))).toEqual([]);
});

test("a subscriber reads the feed of its sites, and publishes nothing at all", async () => {
  const login = await subscriber(server, freshName("reader"), ["plant-a"]);
  const reader = await connectMqtt(server, login);
  const refused = ["#", "bw/v1/+/feed/#", "bw/v1/plant-a/#", "bw/v1/plant-a/+/up/#", "bw/v1/plant-a/gw-1/up/telemetry"];
  refused.push("bw/v1/plant-a/gw-1/down/desired", "bw/v1/plant-b/feed/#", "$SYS/#");
  for (const filter of refused) expect([filter, await reader.subscribe(filter)]).toEqual([filter, 128]);
  expect(await reader.subscribe("bw/v1/plant-a/feed/+/last")).toBeLessThan(128);
  for (const topic of ["bw/v1/plant-a/feed/pump-1/last", "bw/v1/plant-a/gw-1/up/state", "anything"]) {
    const writer = await connectMqtt(server, login);
    await expect(writer.publish(topic, "{}", { qos: 1, retain: true }), topic).rejects.toThrow("closed");
  }
});

test("a subscriber cannot take a device's connection by taking its name", async () => {
  const enrolled = await enrol(server, freshName());
  const device = await connectDevice(server, enrolled);
  const login = await subscriber(server, freshName("reader"));
  const first = await connectMqtt(server, { ...login, clientId: enrolled.device });
  await first.subscribe("bw/v1/plant-a/feed/#");
  const other = await subscriber(server, freshName("reader"));
  const second = await connectMqtt(server, { ...other, clientId: enrolled.device });
  await second.subscribe("bw/v1/plant-a/feed/#");
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 5)));
  expect([device.connected(), first.connected(), second.connected()]).toEqual([true, true, true]);
});

test("a subscriber's filters are bounded, and nothing of a subscriber outlives its connection", async () => {
  const login = await subscriber(server, freshName("reader"));
  const reader = await connectMqtt(server, { ...login, clean: false, clientId: "keeper" });
  const granted: number[] = [];
  for (let n = 0; n < 120; n++) granted.push(await reader.subscribe(`bw/v1/plant-a/feed/asset-${n}/last`));
  const count = granted.filter((code) => code < 128).length;
  expect(count).toBeGreaterThan(10);
  expect(count).toBeLessThanOrEqual(100);
  expect(granted.slice(count).every((code) => code === 128)).toBe(true);
  await reader.end();
  const again = await connectMqtt(server, { ...login, clean: false, clientId: "keeper" });
  expect(await again.subscribe("bw/v1/plant-a/feed/asset-119/last")).toBeLessThan(128);
});

test("a login answers one fresh nonce of this broker, once, by the device's own key", async () => {
  const [mine, theirs] = [await enrol(server, freshName()), await enrol(server, freshName())];
  const nonce = await nonceFor(server, mine.device);
  const username = `${mine.site}/${mine.device}`;
  const connectAs = (password: string, change: { username?: string; clientId?: string } = {}) =>
    connectMqtt(server, { username, clientId: mine.device, password, ...change });
  const wrong: [string, Parameters<typeof connectAs>][] = [
    ["another broker", [`${nonce}.${answerTo(mine, nonce, { brokerId: "bw-another-broker" })}`]],
    ["another device's name signed", [`${nonce}.${answerTo(mine, nonce, { device: theirs.device })}`]],
    ["another device's key", [`${nonce}.${answerTo(mine, nonce, { seed: theirs.seed })}`]],
    ["no signature", [`${nonce}.`]],
    ["no nonce", [answerTo(mine, nonce)]],
    ["another site", [`${nonce}.${answerTo(mine, nonce)}`, { username: `plant-b/${mine.device}` }]],
    ["another client id", [`${nonce}.${answerTo(mine, nonce)}`, { clientId: theirs.device }]],
    ["one level more", [`${nonce}.${answerTo(mine, nonce)}`, { username: `${username}/x` }]],
    ["a name the server does not know", [`${nonce}.${answerTo(mine, nonce)}`, { username: "plant-a/nobody" }]],
  ];
  const others = await nonceFor(server, theirs.device);
  wrong.push(["another device's nonce", [`${others}.${answerTo(mine, others)}`]]);
  const forged = `${(Date.now() + 60_000).toString(36)}.${randomBytes(16).toString("base64url")}.AAAA`;
  wrong.push(["a nonce nobody gave", [`${forged}.${answerTo(mine, forged)}`]]);
  for (const [what, args] of wrong) await expect(connectAs(...args), what).rejects.toThrow(/refused|closed/i);

  const again = await nonceFor(server, mine.device);
  const password = `${again}.${answerTo(mine, again)}`;
  const first = await connectAs(password);
  await expect(connectAs(password), "the same nonce again").rejects.toThrow(/refused/i);
  const overHttp = { device: mine.device, nonce: again, signatureHex: answerTo(mine, again) };
  const http = await server.call("POST /v1/device/login", overHttp, { token: null });
  expect([http.http, http.body.code]).toEqual([401, "DEVICE_LOGIN_REFUSED"]);
  expect(first.connected()).toBe(true);
});

test("a pending device is refused until somebody approves it", async () => {
  const enrolled = await enrol(server, freshName(), { preapproved: false });
  expect(enrolled.phase).toBe("pending");
  await expect(connectDevice(server, enrolled)).rejects.toThrow(/refused/i);
  expect((await deviceLogin(server, enrolled)).body.code).toBe("DEVICE_PENDING");
  expect((await server.call(`POST /v1/devices/${enrolled.device}/approve`)).http).toBe(200);
  expect((await connectDevice(server, enrolled)).connected()).toBe(true);
});

test("a revoked device is cut off at once, stays out, and its token is worth nothing", async () => {
  const enrolled = await enrol(server, freshName());
  const device = await connectDevice(server, enrolled);
  const { token } = (await deviceLogin(server, enrolled)).body;
  const timestamp = () => server.call("GET /v1/repository/metadata/timestamp.json", undefined, { token });
  expect((await timestamp()).http).toBe(200);
  const early = await credentials(server, enrolled);
  expect((await server.call(`POST /v1/devices/${enrolled.device}/revoke`)).http).toBe(200);
  await eventually("the session is cut", () => !device.connected());
  expect((await timestamp()).http).toBe(401);
  await expect(connectMqtt(server, { ...early, clientId: enrolled.device })).rejects.toThrow(/refused/i);
  await expect(connectDevice(server, enrolled)).rejects.toThrow(/refused/i);
  expect((await deviceLogin(server, enrolled)).body.code).toBe("DEVICE_REVOKED");
  expect((await server.call(`POST /v1/devices/${enrolled.device}/approve`)).http).toBe(409);
});

test("a revocation that meets logins under way leaves none of them connected", async () => {
  const enrolled = await enrol(server, freshName());
  const logins = await Promise.all(Array.from({ length: 20 }, () => credentials(server, enrolled)));
  const attempts = logins.map((login) => connectMqtt(server, { ...login, clientId: enrolled.device }));
  const revoked = server.call(`POST /v1/devices/${enrolled.device}/revoke`);
  const settled = await Promise.allSettled(attempts);
  expect((await revoked).http).toBe(200);
  const open = settled.flatMap((attempt) => (attempt.status === "fulfilled" ? [attempt.value] : []));
  await eventually("all are cut", () => open.every((connection) => !connection.connected()));
});

test("a second connection of a device replaces the first, whose will cannot take the state back", async () => {
  const enrolled = await enrol(server, freshName());
  const first = await connectDevice(server, enrolled, { session: 1 });
  const second = await connectDevice(server, enrolled, { session: 2 });
  await eventually("the first is replaced", () => !first.connected());
  await second.acknowledged("telemetry", await second.send("telemetry", rowsOf("pump-1", 5)));
  await isOnline(enrolled.device);
});

test("zstd bombs and poison become dead letters; the process lives and other streams go on", async () => {
  const enrolled = await enrol(server, freshName());
  const device = await connectDevice(server, enrolled);
  const topics = deviceTopic(enrolled.site, enrolled.device);
  const bomb = zstdCompressSync(Buffer.alloc(400_000_000, 0x20));
  expect(bomb.length).toBeLessThan(60_000);
  const envelope = { v: 1, epoch: "00000000000000ff", fromSeq: 1, hist: false };
  const clock = { bootId: "b", monoMs: 1, wallMs: Date.now(), clockSynced: true };
  const poison: [stream: "telemetry" | "inference" | "event" | "drift" | "samples", bytes: Uint8Array][] = [
    ["telemetry", bomb],
    ["telemetry", bomb.subarray(0, 100)],
    ["telemetry", randomBytes(5_000)],
    ["telemetry", Buffer.alloc(0)],
    ["telemetry", Buffer.from("[".repeat(60_000))],
    ["telemetry", Buffer.from(JSON.stringify({ ...envelope, clock, groups: [] }))],
    ["inference", Buffer.from(JSON.stringify({ ...envelope, clock, records: [{ asset: "../../etc" }] }))],
    ["event", Buffer.from('{"__proto__":{"polluted":true},"v":1}')],
    ["drift", Buffer.from("null")],
    ["samples", Buffer.from('"\\ud800"')],
  ];
  const beforeMb = server.rssMb();
  for (const [stream, bytes] of poison) await device.publish(topics.up(stream), bytes);
  for (let n = 0; n < 10; n++) {
    const other = Buffer.concat([bomb, Buffer.of(n)]);
    await device.publish(topics.up("telemetry"), other);
  }
  for (const kind of ["state", "birth", "reported"] as const) {
    await device.publish(topics.up(kind), bomb);
    await device.publish(topics.up(kind), '{"v":1,"session":-1}');
  }
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 5)));
  const letters = await eventually("dead letters", async () => {
    const { body } = await server.call(`GET /v1/dead-letters?device=${enrolled.device}&limit=100`);
    return body.items.length >= poison.length + 10 && body.items;
  });
  expect(new Set(letters.map(({ code }: { code: string }) => code)).size).toBeGreaterThanOrEqual(3);
  expect(server.rssMb() - beforeMb).toBeLessThan(60);
  expect(server.alive()).toBe(true);
  await healthy();
});

test("seq numbers with ever more holes are not kept without bound", async () => {
  const enrolled = await enrol(server, freshName());
  const device = await connectDevice(server, enrolled);
  const topic = deviceTopic(enrolled.site, enrolled.device).up("event");
  const clock = { bootId: "b", monoMs: 1, wallMs: Date.now(), clockSynced: true };
  const record = { atMs: 1, kind: "device", severity: "info", code: "X", text: "x" };
  for (let n = 1; n <= 400; n++) {
    const batch = { v: 1, epoch: device.epoch, fromSeq: 2 * n, records: [record], hist: false, clock };
    await device.publish(topic, JSON.stringify(batch));
  }
  const widest = () => Math.max(0, ...device.acks.map(({ streams }) => streams.event?.also.length ?? 0));
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 5)));
  expect(widest()).toBeGreaterThan(10);
  // As many as an acknowledgement may name.
  expect(widest()).toBeLessThanOrEqual(256);
});

test("a device that sends without end is held back: memory flat, others served", { timeout: 120_000 }, async () => {
  const enrolled = await enrol(server, freshName());
  const flood = await connectDevice(server, enrolled);
  const other = await connectDevice(server, await enrol(server, freshName()));
  const topic = deviceTopic(enrolled.site, enrolled.device).up("telemetry");
  const payload = randomBytes(60_000);
  const socket = flood.mqtt.stream as Socket;
  const packet = Buffer.concat([
    header(0x30, 2 + topic.length + payload.length),
    Buffer.from([topic.length >> 8, topic.length & 255]),
    Buffer.from(topic),
    payload,
  ]);
  const pour = async (packets: number) => {
    for (let n = 0; n < packets && !socket.destroyed; n++) {
      // Each is other poison: nothing is spared by being known already.
      packet.writeUInt32LE(packets * 10_000 + n, packet.length - 4);
      if (!socket.write(Buffer.from(packet))) await new Promise<void>((done) => socket.once("drain", done));
    }
  };
  // The allocator takes its buffers once; flat is what comes after.
  await pour(700);
  const beforeMb = server.rssMb();
  let worstMs = 0;
  const pouring = pour(1_000);
  for (let n = 0; n < 10; n++) {
    const start = performance.now();
    await other.acknowledged("telemetry", await other.send("telemetry", rowsOf("pump-1", 5)));
    worstMs = Math.max(worstMs, performance.now() - start);
  }
  await pouring;
  expect(worstMs).toBeLessThan(3_000);
  expect(server.rssMb() - beforeMb).toBeLessThan(60);
  expect(flood.connected()).toBe(true);
});

test("subscribers that stop reading slow nobody down, and are dropped", { timeout: 60_000 }, async () => {
  const frozen = await connectMqtt(server, await subscriber(server, freshName("frozen")));
  await frozen.subscribe("bw/v1/plant-a/feed/#");
  const socket = frozen.mqtt.stream as Socket;
  socket.pause();
  frozen.mqtt.stream.removeAllListeners("data");
  const device = await connectDevice(server, await enrol(server, freshName()));
  const start = performance.now();
  for (let n = 0; n < 40; n++) {
    const rows = rowsOf("pump-9", 1_000, Date.UTC(2026, 0, 1) + n * 1_000_000);
    await device.acknowledged("telemetry", await device.send("telemetry", rows));
  }
  expect(performance.now() - start).toBeLessThan(20_000);
  await eventually("skips are counted", async () => (await metric("bellwether_feed_skipped_total")) > 0);
  const connections = async () => (await metric("bellwether_mqtt_connections")) === 1;
  await eventually("only the device is connected", connections, 20_000, 200);
  await healthy();
});

test("tiny messages without end, from a device that reads no answer, do not pile up either", {
  timeout: 60_000,
}, async () => {
  const enrolled = await enrol(server, freshName());
  const deaf = await connectDevice(server, enrolled);
  const socket = deaf.mqtt.stream as Socket;
  socket.unpipe();
  socket.removeAllListeners("data");
  socket.pause();
  const topic = deviceTopic(enrolled.site, enrolled.device).up("event");
  const beforeMb = server.rssMb();
  const small = Buffer.from("{}");
  const body = Buffer.concat([Buffer.from([topic.length >> 8, topic.length & 255]), Buffer.from(topic)]);
  const packets = Buffer.concat(
    Array.from({ length: 500 }, (_, n) =>
      Buffer.concat([header(0x32, body.length + 2 + small.length), body, Buffer.from([1 + (n >> 8), n & 255]), small]),
    ),
  );
  for (let n = 0; n < 80 && !socket.destroyed; n++) {
    if (!socket.write(packets)) await new Promise<void>((done) => socket.once("drain", done));
  }
  expect(await metric("bellwether_ingest_waiting_messages")).toBeLessThan(2_000);
  expect(server.rssMb() - beforeMb).toBeLessThan(60);
  await healthy();
});
