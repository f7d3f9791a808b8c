import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { connectDevice, connectMqtt, enrol, rowsOf, subscriber } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { PACKETS, POISON, zstdBomb } from "./table/broker.ts";
import { named } from "./table/row.ts";

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

test("a flood before login keeps memory flat, and the server goes on answering", async () => {
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

test.each(named(PACKETS))("%s closes its own connection only", async (_, { loggedIn, limit }) => {
  const other = await connectDevice(server, await enrol(server, freshName()));
  const cutBefore = await metric("bellwether_mqtt_oversized_total");
  if (loggedIn) {
    const big = await enrol(server, freshName());
    const device = await connectDevice(server, big);
    const topic = deviceTopic(big.site, big.device).up("telemetry");
    // Just inside: taken, and kept as a dead letter. The packet has a topic's length and an identifier besides.
    await device.publish(topic, randomBytes(limit - topic.length - 4));
    expect(device.connected()).toBe(true);
    await expect(device.publish(topic, randomBytes(limit + 1 - topic.length - 4))).rejects.toThrow("closed");
    await expect(connectDevice(server, big, { session: 2 })).resolves.toMatchObject({ session: 2 });
  } else {
    const under = await rawSocket();
    under.write(header(CONNECT, limit));
    const over = await rawSocket();
    over.write(header(CONNECT, limit + 1));
    await goneWithin(over);
    expect(under.closed).toBe(false);
  }
  expect(await metric("bellwether_mqtt_oversized_total")).toBe(cutBefore + 1);
  await other.acknowledged("telemetry", await other.send("telemetry", rowsOf("pump-1", 5)));
});

test.each(named(POISON))("%s is a dead letter, and the stream goes on", async (_, { stream, bytes, code }) => {
  const enrolled = await enrol(server, freshName());
  const device = await connectDevice(server, enrolled);
  const honest = async () => device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 5)));
  const letters = async () => (await server.call(`GET /v1/dead-letters?device=${enrolled.device}`)).body.items;
  await honest();
  expect(await letters()).toEqual([]);
  await device.publish(deviceTopic(enrolled.site, enrolled.device).up(stream), bytes());
  const [letter] = await eventually("a dead letter", async () => {
    const kept = await letters();
    return kept.length > 0 && kept;
  });
  expect(letter.code).toBe(code);
  await honest();
});

test("bombs and poison without end cost no memory; the process lives and other streams go on", async () => {
  const enrolled = await enrol(server, freshName());
  const device = await connectDevice(server, enrolled);
  const topics = deviceTopic(enrolled.site, enrolled.device);
  const bomb = zstdBomb();
  expect(bomb.length).toBeLessThan(60_000);
  const beforeMb = server.rssMb();
  for (let n = 0; n < 10; n++) await device.publish(topics.up("telemetry"), Buffer.concat([bomb, Buffer.of(n)]));
  for (const kind of ["state", "birth", "reported"] as const) {
    await device.publish(topics.up(kind), bomb);
    await device.publish(topics.up(kind), '{"v":1,"session":-1}');
  }
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 5)));
  await eventually("dead letters", async () => {
    const { body } = await server.call(`GET /v1/dead-letters?device=${enrolled.device}&limit=100`);
    return body.items.length >= 10;
  });
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

/** 90 MB: half as much again as memory may grow by. */
const FLOOD_PACKETS = 1_500;

test("a device that sends without end is held back: memory flat, others served", async () => {
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
  let poured = 0;
  const pour = async (packets: number) => {
    for (let n = 0; n < packets && !socket.destroyed; n++) {
      // Each is other poison: nothing is spared by being known already.
      packet.writeUInt32LE(poured++, packet.length - 4);
      if (!socket.write(Buffer.from(packet))) await new Promise<void>((done) => socket.once("drain", done));
    }
  };
  // The allocator and the collector take their room once, as much as the tests before left them short of; what leaks goes on.
  let beforeMb = Number.NEGATIVE_INFINITY;
  for (let rounds = 0; rounds < 6 && server.rssMb() - beforeMb > 20; rounds++) {
    beforeMb = server.rssMb();
    await pour(FLOOD_PACKETS / 2);
  }
  beforeMb = server.rssMb();
  let worstMs = 0;
  const pouring = pour(FLOOD_PACKETS);
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

test("subscribers that stop reading slow nobody down, and are dropped", async () => {
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

test("tiny messages without end, from a device that reads no answer, do not pile up either", async () => {
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
