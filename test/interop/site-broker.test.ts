import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { Aedes } from "aedes";
import { connectAsync } from "mqtt";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import { parseConfig } from "../../agent/src/config/parse.ts";
import { createInput } from "../../agent/src/inputs/inputs.io.ts";
import { connectSiteBroker } from "../../agent/src/link/site-broker.io.ts";
import type { Problem } from "../../protocol/src/errors.ts";
import type { TelemetryRow } from "../../protocol/src/messages/stream.ts";
import { unwrap } from "../../protocol/src/result.ts";
import { eventually, holds } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { haveMosquitto, startMosquitto } from "../kit/mosquitto.ts";
import { freePort } from "../kit/port.ts";

let broker: Aedes;
let server: Server;
const sockets = new Set<Socket>();
let url: string;

beforeEach(async () => {
  broker = await Aedes.createBroker();
  broker.authenticate = (_client, username, password, done) =>
    done(null, username === "reader" || password?.toString() !== "wrong");
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    broker.handle(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `mqtt://127.0.0.1:${(server.address() as { port: number }).port}`;
});

afterEach(async () => {
  await new Promise<void>((resolve) => broker.close(() => resolve()));
  for (const socket of sockets) socket.destroy();
  server.close();
});

function startInput(yaml: string) {
  const rows: TelemetryRow[] = [];
  const problems: Problem[] = [];
  const input = createInput(unwrap(parseConfig(yaml, "agent.yaml")).inputs[0]!, {
    nowMs: () => 1,
    connectMqtt: connectSiteBroker,
    probes: {
      cpuLoad: async () => undefined,
      memoryUsedFraction: async () => undefined,
      diskUsedFraction: async () => undefined,
      temperatureC: async () => undefined,
    },
    onProblem: (fault) => problems.push(fault),
  });
  input.start((some) => {
    rows.push(...some);
  });
  return { input, rows, problems };
}

const levels = (at: string) => `
assets: [{id: tank-1}]
inputs:
  - id: site
    type: mqtt
    url: "${at}"
    points:
      - {name: level, asset: tank-1, channel: level, unit: m, topic: plant/tank-1/level}
      - {name: photo, asset: tank-1, channel: photo, unit: m, topic: plant/tank-1/photo}
`;

test("values published on a site broker become rows; a broker that refuses or is lost is reported and found again", async () => {
  const yaml = `
assets: [{id: tank-1}]
inputs:
  - id: site
    type: mqtt
    url: "${url}"
    points:
      - {name: level, asset: tank-1, channel: level, unit: m, resolution: 0.01, topic: plant/tank-1/level, valuePointer: /value, timePointer: /ts}
`;
  let refusals = 1;
  broker.authorizeSubscribe = (_client, subscription, done) => {
    refusals -= 1;
    done(null, refusals >= 0 ? null : subscription);
  };
  const { input, rows, problems } = startInput(yaml);
  const subscribed = () => holds(() => expect(refusals).toBe(-1), 10_000);
  const publish = async (value: number, ts: number) => {
    const client = await connectAsync(url);
    await client.publishAsync("plant/tank-1/level", JSON.stringify({ value, ts }), { qos: 1, retain: true });
    await client.endAsync();
  };
  await subscribed();
  await publish(1.234, 5_000);
  await holds(() => expect(rows).toEqual([{ asset: "tank-1", observedAtMs: 5_000, values: { level: 1.23 } }]));
  for (const socket of sockets) socket.destroy();
  await holds(() => expect(problems.map(({ code }) => code)).toContain("INPUT_DISCONNECTED"));
  await holds(() => expect(rows.length).toBeGreaterThan(1), 10_000);
  // What was retained comes again, with the time it had: nothing old is stamped as new.
  expect(rows.at(-1)).toEqual(rows[0]);
  await input.stop();
  await holds(() => expect(broker.connectedClients).toBe(0));
});

test("a broker at MQTT 3.1.1 that sends 200 MB is left before they come, told of, and found again", async () => {
  let taken = 0;
  let sessions = 0;
  const raw = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (connect) => {
      // MQTT-3.1.2-2: a level that is not spoken is answered with 1, and the connection ends. Byte 8 is the level.
      if (connect[8] === 5) return socket.end(Uint8Array.of(0x20, 2, 0, 1));
      sessions++;
      socket.write(Uint8Array.of(0x20, 2, 0, 0));
      socket.once("data", (subscribe) => {
        socket.write(Uint8Array.of(0x90, 4, subscribe[2]!, subscribe[3]!, 1, 1));
        if (sessions > 1) return socket.write(publishOf("plant/tank-1/level", "1.5"));
        socket.write(Uint8Array.of(0x30, 0x80, 0x84, 0xaf, 0x5f));
        const flood = () => {
          while (!socket.destroyed && socket.write(Buffer.alloc(65_536))) taken += 65_536;
        };
        socket.on("drain", flood);
        flood();
        return undefined;
      });
      return undefined;
    });
  });
  raw.listen(0, "127.0.0.1");
  await once(raw, "listening");
  onTestFinished(() => void raw.close());
  const { port } = raw.address() as { port: number };
  const { input, rows, problems } = startInput(levels(`mqtt://127.0.0.1:${port}`));
  await holds(() => expect(rows).toMatchObject([{ values: { level: 1.5 } }]), 10_000);
  expect(problems.map(({ code }) => code)).toEqual(["INPUT_PACKET_REFUSED"]);
  expect(problems[0]?.message).toMatch(/over 262144 bytes/);
  // What the sockets of both ends may hold, and no more.
  expect(taken).toBeLessThan(20_000_000);
  await input.stop();
});

function publishOf(topic: string, payload: string): Buffer {
  const body = Buffer.concat([Uint8Array.of(0, topic.length), Buffer.from(topic), Buffer.from(payload)]);
  return Buffer.concat([Uint8Array.of(0x30, body.length), body]);
}

test("a mosquitto keeps a message that is too long to itself, and the other topics go on", async () => {
  if (!haveMosquitto("a message that is too long")) return;
  const port = await freePort();
  startMosquitto(temporaryFolder(), port);
  const at = `mqtt://127.0.0.1:${port}`;
  const site = await eventually("mosquitto answers", () =>
    connectAsync(at, { reconnectPeriod: 0 }).catch(() => undefined),
  );
  onTestFinished(() => void site.end(true));
  await site.publishAsync("plant/tank-1/photo", Buffer.alloc(1_000_000), { qos: 1, retain: true });
  const { input, rows, problems } = startInput(levels(at));
  let value = 0;
  const feed = setInterval(() => site.publish("plant/tank-1/level", String(++value)), 50);
  onTestFinished(() => clearInterval(feed));
  await holds(() => expect(rows.length).toBeGreaterThan(10), 10_000);
  await site.publishAsync("plant/tank-1/photo", Buffer.alloc(1_000_000), { qos: 1 });
  const before = rows.length;
  await holds(() => expect(rows.length).toBeGreaterThan(before + 10), 10_000);
  expect(problems).toEqual([]);
  expect(rows.every(({ values }) => "level" in values)).toBe(true);
  await input.stop();
});
