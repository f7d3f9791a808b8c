import { createConnection, type Socket } from "node:net";
import { type IClientOptions, type MqttClient, connect as mqttConnect } from "mqtt";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../../../test/kit/eventually.ts";
import type { DeviceRecord, SubscriberRecord } from "../store/devices.ts";
import { type Broker, type BrokerOptions, startBroker } from "./broker.io.ts";

const SITE = "plant-a";

/** A broker whose devices and accounts have the password "right", and what reaches the server of it. */
async function testBroker(change: Partial<BrokerOptions> = {}) {
  const messages: { device: string; site: string; kind: string; bytes: Uint8Array; done(): void }[] = [];
  const listening: string[] = [];
  const record = (device: string) => ({ device, site: SITE, phase: "active" }) as DeviceRecord;
  const account = (name: string): SubscriberRecord => ({
    account: name,
    sites: [SITE],
    classes: name === "alarms-only" ? ["alarm"] : null,
    createdAtMs: 0,
    revoked: false,
  });
  const options: BrokerOptions = {
    port: 0,
    login: {
      brokerId: "b",
      nonce: () => ({ ok: true, value: "n" }),
      prove: async () => undefined,
      verify: async (device, nonce, signature) => (`${nonce}.${signature}` === "ri.ght" ? record(device) : undefined),
      token: () => ({ token: "t", expiresAtMs: 0 }),
      authenticate: async () => undefined,
    },
    devices: { findSubscriber: async ({ account: name }) => account(name) },
    onMessage: (sender, kind, payload) => {
      const { device, site } = sender;
      const { length } = payload;
      messages.push({ device, site, kind, bytes: Uint8Array.from(payload), done: () => sender.done(1, length) });
    },
    onDeviceListening: (device) => void listening.push(device),
    onSubscription: async () => undefined,
    report: (problem, detail) => {
      throw new Error(`${problem}: ${detail}`);
    },
    ...change,
  };
  const broker = await startBroker(options);
  onTestFinished(() => broker.close());
  return { broker, messages, listening };
}

async function connect(broker: Broker, options: IClientOptions): Promise<MqttClient> {
  const url = `mqtt://127.0.0.1:${broker.port}`;
  const client = mqttConnect(url, { reconnectPeriod: 0, password: "ri.ght", ...options });
  client.on("error", () => undefined);
  onTestFinished(() => void client.end(true));
  await new Promise<void>((resolve, reject) => {
    client.once("connect", () => resolve());
    client.once("close", () => reject(new Error("closed")));
  });
  return client;
}

const device = (broker: Broker, name: string, options: IClientOptions = {}) =>
  connect(broker, { clientId: name, username: `${SITE}/${name}`, ...options });

async function subscriber(broker: Broker, name: string, filter = `bw/v1/${SITE}/feed/#`) {
  const client = await connect(broker, { username: name, clientId: "x" });
  const got: { topic: string; text: string; retain: boolean }[] = [];
  client.on("message", (topic, payload, { retain }) => got.push({ topic, text: payload.toString(), retain }));
  await client.subscribeAsync(filter);
  return { client, got };
}

/** A subscriber that has logged in and then reads nothing any more. */
async function frozenSubscriber(broker: Broker): Promise<Socket> {
  const text = (value: string) => Buffer.concat([Buffer.of(0, value.length), Buffer.from(value)]);
  const packet = (type: number, ...parts: Buffer[]) => {
    const body = Buffer.concat(parts);
    return Buffer.concat([Buffer.of(type, body.length), body]);
  };
  const socket = createConnection(broker.port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => undefined);
  const flags = Buffer.of(4, 0b1100_0010, 0, 0);
  const login = packet(0x10, text("MQTT"), flags, text("frozen"), text("frozen"), text("ri.ght"));
  socket.write(Buffer.concat([login, packet(0x82, Buffer.of(0, 1), text(`bw/v1/${SITE}/feed/#`), Buffer.of(0))]));
  await eventually("its subscription", () => broker.counts().subscribers === 1);
  socket.pause();
  return socket;
}

const topicOf = (n: number) => `bw/v1/${SITE}/feed/pump-${n}/telemetry`;

test("a device whose messages wait for the store is not read any more, and everything arrives when it catches up", async () => {
  const limits = { waitingBytesMax: 100_000 };
  const { broker, messages } = await testBroker({ limits });
  const flood = await device(broker, "gw-1");
  const other = await device(broker, "gw-2");
  const payload = Buffer.alloc(1_000, "x");
  const sent = 900;
  const all = Promise.all(
    Array.from({ length: sent }, () => flood.publishAsync(`bw/v1/${SITE}/gw-1/up/telemetry`, payload)),
  );
  await eventually("the pause", () => broker.counts().paused === 1);
  // Nothing new may come while nothing is done: what was read at once with the last message is all there is.
  const held = broker.counts().waitingBytes;
  expect(held).toBeLessThan(limits.waitingBytesMax + 200_000);
  // It is confirmed when it was taken care of.
  const confirmed = other.publishAsync(`bw/v1/${SITE}/gw-2/up/telemetry`, "{}", { qos: 1 });
  await eventually("another device's word", () => messages.some((one) => one.device === "gw-2"));
  expect(broker.counts().waitingBytes).toBeLessThan(held + 2_000);
  let done = 0;
  await eventually(
    "all of it",
    () => {
      for (; done < messages.length; done++) messages[done]?.done();
      return done === sent + 1;
    },
    20_000,
    1,
  );
  await Promise.all([all, confirmed]);
  expect(broker.counts()).toMatchObject({ paused: 0, waitingBytes: 0 });
});

test("all devices together have a bound too, and all of them are read again", async () => {
  const { broker, messages } = await testBroker({ limits: { waitingBytesTotalMax: 200_000 } });
  const clients = await Promise.all(["gw-1", "gw-2", "gw-3", "gw-4"].map((name) => device(broker, name)));
  const payload = Buffer.alloc(1_000, "x");
  const each = 400;
  const all = clients.map((client, index) =>
    Promise.all(
      Array.from({ length: each }, () => client.publishAsync(`bw/v1/${SITE}/gw-${index + 1}/up/telemetry`, payload)),
    ),
  );
  await eventually("the pause", () => broker.counts().paused === clients.length);
  expect(broker.counts().waitingBytes).toBeLessThan(200_000 + clients.length * 200_000);
  let done = 0;
  await eventually(
    "all of it",
    () => {
      for (; done < messages.length; done++) messages[done]?.done();
      return done === each * clients.length;
    },
    20_000,
    1,
  );
  await Promise.all(all);
  expect(broker.counts().paused).toBe(0);
});

test("a device over its quota is not read until it may send again, a new connection does not help, and others go on", async () => {
  const texts: string[] = [];
  let nowMs = 0;
  const { broker } = await testBroker({
    limits: { messagesPerMinute: 120 },
    monotonicMs: () => nowMs,
    onMessage(sender, _kind, payload) {
      texts.push(`${sender.device} ${Buffer.from(payload).toString("latin1", 0, 5)}`);
      sender.done(1, payload.length);
    },
  });
  const topic = `bw/v1/${SITE}/gw-1/up/telemetry`;
  const first = await device(broker, "gw-1");
  // Long ones: what is read at once with the last that it may send is not much.
  for (let n = 0; n < 400; n++) first.publish(topic, Buffer.alloc(10_000, "x"), { qos: 1 });
  await eventually("the pause", () => broker.counts().overQuota === 1);
  expect(broker.quotaOf("gw-1")).toEqual({ isPaused: true, pauses: 1 });
  expect(texts.length).toBeGreaterThan(120);
  expect(texts.length).toBeLessThan(400);
  const other = await device(broker, "gw-2");
  await other.publishAsync(`bw/v1/${SITE}/gw-2/up/telemetry`, "other", { qos: 1 });
  expect(broker.quotaOf("gw-2")).toEqual({ isPaused: false, pauses: 0 });
  first.end(true);
  const again = await device(broker, "gw-1");
  await eventually("the first is gone", () => broker.counts().connections === 2);
  await again.publishAsync(topic, "again", { qos: 1 });
  expect([broker.counts().overQuota, broker.counts().quotaPauses]).toEqual([1, 2]);
  again.publish(topic, "waits", { qos: 1 });
  nowMs = 60_000;
  await eventually("it may send again", () => texts.at(-1) === "gw-1 waits");
  expect(texts.slice(-3)).toEqual(["gw-2 other", "gw-1 again", "gw-1 waits"]);
  expect(broker.quotaOf("gw-1")).toEqual({ isPaused: false, pauses: 2 });
});

test("what a device says arrives in its order, however it is cut on its way and whatever stands between", async () => {
  const { broker, messages } = await testBroker();
  const client = await device(broker, "gw-1");
  const socket = client.stream as Socket;
  const topic = (kind: string) => `bw/v1/${SITE}/gw-1/up/${kind}`;
  const kinds = ["event", "telemetry", "state", "inference", "telemetry", "birth", "samples", "drift"];
  const sent = Array.from({ length: 64 }, (_, n) => ({
    kind: kinds[n % kinds.length] as string,
    text: `${n}`.repeat(1 + n * n),
  }));
  const confirmed: number[] = [];
  client.on("packetreceive", (packet) => void (packet.cmd === "puback" && confirmed.push(packet.messageId as number)));
  const packet = (first: number, body: Buffer) => {
    const length = body.length < 128 ? Buffer.of(body.length) : Buffer.of((body.length & 127) | 128, body.length >> 7);
    return Buffer.concat([Buffer.of(first), length, body]);
  };
  const publishes = sent.map(({ kind, text }, n) => {
    const at = Buffer.from(topic(kind));
    return packet(
      n % 3 === 0 ? 0x3a : 0x32,
      Buffer.concat([Buffer.of(0, at.length), at, Buffer.of(0, n + 1), Buffer.from(text)]),
    );
  });
  const bytes = Buffer.concat([...publishes, Buffer.of(0xc0, 0)]);
  for (let at = 0, piece = 1; at < bytes.length; at += piece, piece = 1 + ((piece * 7) % 4_001)) {
    socket.write(bytes.subarray(at, at + piece));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await eventually("all of it", () => confirmed.length === sent.length);
  expect(messages.map(({ kind, bytes: got }) => ({ kind, text: Buffer.from(got).toString() }))).toEqual(sent);
  expect(confirmed).toEqual(sent.map((_, n) => n + 1));
});

test("a burst reaches a subscriber whole", async () => {
  const { broker } = await testBroker();
  const { got } = await subscriber(broker, "scada");
  for (let n = 0; n < 3_000; n++) broker.toSubscribers(topicOf(n), () => Buffer.from(`${n}`.padEnd(200)));
  await eventually("all of it", () => got.length === 3_000);
  expect(got.map(({ text }) => Number(text))).toEqual(Array.from({ length: 3_000 }, (_, n) => n));
  expect(broker.counts().skipped).toBe(0);
});

test("a subscriber that stops reading misses, is counted and dropped; memory and the others do not notice", async () => {
  const limits = { outgoingBytesMax: 100_000, drainTimeoutMs: 1_000 };
  const { broker } = await testBroker({ limits });
  const frozen = await frozenSubscriber(broker);
  const { got } = await subscriber(broker, "scada");
  // The kernel's socket buffers take some megabytes before anything waits here, and more when it pleases.
  const payload = Buffer.alloc(10_000, "x");
  let sent = 0;
  await eventually(
    "it is dropped",
    () => {
      broker.toSubscribers(topicOf(sent++), () => payload);
      return broker.counts().dropped === 1 && broker.counts().subscribers === 1;
    },
    25_000,
    2,
  );
  expect(broker.counts().skipped).toBeGreaterThan(100);
  await eventually("the reader has it all", () => got.length === sent);
  frozen.destroy();
});

test("a device that does not take what it is told is cut off: it comes again, and then everything is sent anew", async () => {
  const { broker, listening } = await testBroker({ limits: { outgoingBytesMax: 50_000 } });
  const client = await device(broker, "gw-1");
  await client.subscribeAsync(`bw/v1/${SITE}/gw-1/down/#`);
  expect(listening).toEqual(["gw-1"]);
  const desired = `bw/v1/${SITE}/gw-1/down/desired`;
  expect(broker.toDevice("gw-1", desired, Buffer.alloc(40_000))).toBe(true);
  expect(broker.toDevice("gw-1", desired, Buffer.alloc(40_000))).toBe(false);
  await eventually("it is cut off", () => !client.connected);
  expect(broker.toDevice("gw-1", desired, Buffer.alloc(1))).toBe(false);
});

test("what is retained is given at the subscriber's own speed, and never after a newer word", async () => {
  const count = 5_000;
  let midway = (): void => undefined;
  const { broker } = await testBroker({
    limits: { outgoingBytesMax: 50_000 },
    async onSubscription({ sites, matches, give }) {
      expect(sites).toEqual([SITE]);
      for (let n = 0; n < count; n++) {
        if (n === 100) midway();
        expect(matches(topicOf(n))).toBe(true);
        if (!(await give(topicOf(n), Buffer.from(`old ${n}`.padEnd(200))))) return;
      }
    },
  });
  midway = () => broker.toSubscribers(topicOf(4_000), () => Buffer.from("new"));
  const { got } = await subscriber(broker, "scada");
  await eventually("all of it", () => got.length === count);
  expect(got.filter(({ topic }) => topic === topicOf(4_000))).toMatchObject([{ text: "new", retain: false }]);
  expect(got.filter(({ retain }) => retain).length).toBe(count - 1);
  expect(broker.counts().skipped).toBe(0);
});

test("an account that subscribes in a loop makes one reading at a time, and a later filter gets its own", async () => {
  let [readings, running, most] = [0, 0, 0];
  const { broker } = await testBroker({
    async onSubscription({ give }) {
      readings++;
      most = Math.max(most, ++running);
      for (let n = 0; n < 50; n++) {
        await new Promise((resolve) => setImmediate(resolve));
        await give(topicOf(n), Buffer.from(`${readings}`));
      }
      running--;
    },
  });
  const { client, got } = await subscriber(broker, "scada");
  await Promise.all(Array.from({ length: 100 }, () => client.subscribeAsync(`bw/v1/${SITE}/feed/#`)));
  await eventually("every reading", () => running === 0 && got.length === readings * 50);
  expect(most).toBe(1);
  expect(readings).toBeLessThan(100);
});

test("an account limited to classes is refused the others, and stays connected", async () => {
  const { broker } = await testBroker();
  const client = await connect(broker, { username: "alarms-only", clientId: "x" });
  const granted = await client.subscribeAsync([`bw/v1/${SITE}/feed/+/alarm/+`]);
  expect(granted[0]?.qos).toBe(0);
  await expect(client.subscribeAsync(`bw/v1/${SITE}/feed/#`)).rejects.toThrow(/subscribe|unspecified/i);
  expect(client.connected).toBe(true);
});

test("a will is its device's last word, but the server's own closing says nothing in its name", async () => {
  const topic = `bw/v1/${SITE}/gw-1/up/state`;
  const will = { topic, payload: Buffer.from("gone"), qos: 1 as const, retain: true };
  const { broker, messages } = await testBroker();
  const first = await device(broker, "gw-1", { will });
  first.stream.destroy();
  await eventually("the will", () => messages.length === 1);
  expect(Buffer.from(messages[0]?.bytes ?? []).toString()).toBe("gone");
  const second = await device(broker, "gw-1", { will });
  await broker.close();
  await eventually("the cut", () => !second.connected);
  expect(messages.length).toBe(1);
});

test("too many connections are turned away, those without a login sooner", async () => {
  const { broker } = await testBroker({ limits: { loginsMax: 3 } });
  const strangers = Array.from({ length: 5 }, () => createConnection(broker.port, "127.0.0.1").on("error", () => {}));
  onTestFinished(() => strangers.forEach((socket) => void socket.destroy()));
  await eventually("two are turned away", () => broker.counts().turnedAway === 2);
  for (const socket of strangers) socket.destroy();
  await eventually(
    "there is room again",
    async () => (await device(broker, "gw-1").catch(() => undefined)) !== undefined,
  );
});

test("a port that is taken is an error, and nothing stays open", async () => {
  const { broker } = await testBroker();
  await expect(testBroker({ port: broker.port })).rejects.toMatchObject({ code: "EADDRINUSE" });
});

test.each([
  ["a device", (broker: Broker) => device(broker, "d1"), (n: number) => `bw/v1/${SITE}/d1/down/${n}`],
  [
    "an account",
    (broker: Broker) => connect(broker, { clientId: "x", username: "scada" }),
    (n: number) => `bw/v1/${SITE}/feed/asset-${n}/last`,
  ],
])("the filters of %s are bounded; whoever gives one up may have another", async (_, login, filter) => {
  const { broker } = await testBroker({ limits: { filtersMax: 3 } });
  const client = await login(broker);
  const ask = (topic: string) =>
    new Promise<number>((done) =>
      client.subscribe(topic, (_error, _granted, suback) => done(Number(suback?.granted[0]))),
    );
  const answers = [];
  for (const n of [1, 2, 3, 4, 1]) answers.push(await ask(filter(n)));
  // A filter that is not the client's own takes nobody's place.
  expect(answers).toEqual([0, 0, 0, 128, 0]);
  await client.unsubscribeAsync(filter(2));
  expect([await ask("bw/v1/other/x/down/#"), await ask(filter(5)), await ask(filter(6))]).toEqual([128, 0, 128]);
});
