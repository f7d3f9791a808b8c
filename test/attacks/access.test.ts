import { afterAll, beforeAll, expect, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import {
  answerTo,
  type Connection,
  connectDevice,
  connectMqtt,
  credentials,
  deviceLogin,
  type EnrolledDevice,
  enrol,
  nonceFor,
  rowsOf,
  subscriber,
} from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { suiteFolder } from "../kit/folder.ts";
import {
  CONNECT,
  type ConnectWorld,
  DEVICE_PUBLISH,
  DEVICE_SUBSCRIBE,
  READER_PUBLISH,
  READER_SUBSCRIBE,
} from "./table/broker.ts";
import { named } from "./table/row.ts";

const dir = suiteFolder("bellwether-access-");
let server: Bellwether;
beforeAll(async () => {
  server = await startBellwether({ dir, until: "caller" });
});
afterAll(async () => await server?.stop());

/** So many requests may be answered between a device's revocation and the end of its session. */
const ANSWERS_MAX = 10;

let names = 0;
/** A device of its own for every test: they share one server. */
const freshName = (word = "gw") => `${word}-${++names}`;
let pair: Promise<readonly [EnrolledDevice, EnrolledDevice]> | undefined;
/** Two devices that every row shares: what is refused changes nothing about them. */
const two = () => {
  pair ??= Promise.all([enrol(server, freshName()), enrol(server, freshName())]);
  return pair;
};

async function metric(name: string): Promise<number> {
  const { body } = await server.call("GET /metrics");
  return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(body)?.[1]);
}
const counterOf = (code: string) => /`(.+)`/.exec(code)![1]!;

const outcomeOf = (act: Promise<unknown>) =>
  act.then(
    () => "taken",
    (cause: Error) => cause.message,
  );
const filled = (topic: string, mine: EnrolledDevice, other: EnrolledDevice) =>
  topic.replace("{site}", mine.site).replace("{me}", mine.device).replace("{other}", other.device);
const OFFLINE = JSON.stringify({ v: 1, session: 9_999, online: false });

test.each(named(DEVICE_PUBLISH))("%s", async (_, { topic, code }) => {
  const [mine, theirs] = await two();
  const victim = await connectDevice(server, theirs);
  const device = await connectDevice(server, mine);
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 5)));
  const before = await metric(counterOf(code));
  const said = device.publish(filled(topic, mine, theirs), OFFLINE, { qos: 1, retain: true });
  expect(await outcomeOf(said)).toContain("closed");
  expect(await metric(counterOf(code))).toBe(before + 1);
  // Whom it was about hears and loses nothing.
  await victim.acknowledged("telemetry", await victim.send("telemetry", rowsOf("pump-1", 5)));
  expect(victim.messages.filter((message) => message.topic.endsWith("/desired"))).toEqual([]);
  expect((await server.call(`GET /v1/devices/${theirs.device}`)).body.presence).not.toBe("offline");
});

test.each(named(DEVICE_SUBSCRIBE))("%s", async (_, { topic }) => {
  const [mine, theirs] = await two();
  const device = await connectDevice(server, mine);
  const own = `bw/v1/${mine.site}/${mine.device}/down/`;
  expect(await device.subscribe(`${own}ack`)).toBeLessThan(128);
  expect(await device.subscribe(filled(topic, mine, theirs))).toBe(128);
  const other = await connectDevice(server, theirs);
  await other.acknowledged("telemetry", await other.send("telemetry", rowsOf("pump-1", 5)));
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-2", 5)));
  expect(device.messages.filter((message) => !message.topic.startsWith(own))).toEqual([]);
});

async function reader(): Promise<Connection> {
  const connection = await connectMqtt(server, await subscriber(server, freshName("reader"), ["plant-a"]));
  expect(await connection.subscribe("bw/v1/plant-a/feed/+/last")).toBeLessThan(128);
  return connection;
}

test.each(named(READER_SUBSCRIBE))("%s", async (_, { topic }) => {
  const connection = await reader();
  expect(await connection.subscribe(topic)).toBe(128);
  expect(connection.connected()).toBe(true);
});

test.each(named(READER_PUBLISH))("%s", async (_, { topic, code }) => {
  const [writer, watching] = [await reader(), await reader()];
  const before = await metric(counterOf(code));
  expect(await outcomeOf(writer.publish(topic, "{}", { qos: 1, retain: true }))).toContain("closed");
  expect(await metric(counterOf(code))).toBe(before + 1);
  expect(watching.messages.filter((message) => message.text === "{}")).toEqual([]);
});

const world: ConnectWorld = {
  nonceFor: ({ device }) => nonceFor(server, device),
  login: (device, nonce, change = {}) => ({
    username: `${device.site}/${device.device}`,
    clientId: device.device,
    password: `${nonce}.${answerTo(device, nonce, change)}`,
  }),
};

test.each(named(CONNECT))("%s", async (_, { bend, code }) => {
  const [mine, other] = await two();
  const honest = await connectMqtt(server, world.login(mine, await world.nonceFor(mine)));
  const before = await metric(counterOf(code));
  const refused = connectMqtt(server, await bend(mine, other, world)).then(
    () => "CONNACK 0",
    (cause: { code?: number }) => `CONNACK ${cause.code}`,
  );
  expect(code).toContain(await refused);
  expect(await metric(counterOf(code))).toBe(before + 1);
  expect(honest.connected()).toBe(true);
});

test("a nonce that has served over MQTT serves neither there nor over HTTP again", async () => {
  const mine = await enrol(server, freshName());
  const nonce = await nonceFor(server, mine.device);
  const first = await connectMqtt(server, world.login(mine, nonce));
  await expect(connectMqtt(server, world.login(mine, nonce))).rejects.toThrow(/refused/i);
  const overHttp = { device: mine.device, nonce, signatureHex: answerTo(mine, nonce) };
  const http = await server.call("POST /v1/device/login", overHttp, { token: null });
  expect([http.http, http.body.code]).toEqual([401, "DEVICE_LOGIN_REFUSED"]);
  expect(first.connected()).toBe(true);
});

/** What is heard is noted within half a second. */
async function isOnline(device: string): Promise<void> {
  await eventually(`${device} is online`, async () => {
    const { body } = await server.call(`GET /v1/devices/${device}`);
    return body.presence === "online";
  });
}

test("nothing of what devices say in others' names comes to a subscriber", async () => {
  const [mine, theirs] = await two();
  const watching = await connectMqtt(server, await subscriber(server, freshName("reader")));
  expect(await watching.subscribe(`bw/v1/${mine.site}/feed/#`)).toBeLessThan(128);
  const victim = await connectDevice(server, theirs);
  for (const [index, { topic }] of DEVICE_PUBLISH.entries()) {
    const device = await connectDevice(server, mine, { session: index + 1 });
    const said = device.publish(filled(topic, mine, theirs), OFFLINE, { qos: 1, retain: true });
    await expect(said, topic).rejects.toThrow("closed");
  }
  await isOnline(theirs.device);
  expect(victim.connected()).toBe(true);
  expect(victim.messages.filter(({ topic }) => topic.endsWith("/desired"))).toEqual([]);
  const late = await connectMqtt(server, await subscriber(server, freshName("reader")));
  await late.subscribe(`bw/v1/${mine.site}/feed/#`);
  await eventually("the retained feed", () => late.messages.some(({ topic }) => topic.endsWith("/device")));
  expect([...watching.messages, ...late.messages].filter(({ topic }) => topic.includes("/alarm/"))).toEqual([]);
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
  let cutMs = Number.POSITIVE_INFINITY;
  device.mqtt.once("close", () => {
    cutMs = performance.now();
  });
  expect((await server.call(`POST /v1/devices/${enrolled.device}/revoke`)).http).toBe(200);
  // Counted in further answers of the same server, which a busy machine makes as slow as everything else: where something
  // looked for revoked sessions every now and then, there would be hundreds.
  const answeredMs = performance.now();
  let answers = 0;
  for (; device.connected() && answers < ANSWERS_MAX; answers++) expect((await timestamp()).http).toBe(401);
  expect(device.connected()).toBe(false);
  const afterMs = (cutMs - answeredMs).toFixed(1);
  console.log(`the session of a revoked device ended ${afterMs} ms after the answer, after ${answers} more answers`);
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
