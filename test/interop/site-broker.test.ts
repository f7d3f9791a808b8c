import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { Aedes } from "aedes";
import { connectAsync } from "mqtt";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseConfig } from "../../agent/src/config/parse.ts";
import { createInput } from "../../agent/src/inputs/inputs.io.ts";
import { connectSiteBroker } from "../../agent/src/link/site-broker.io.ts";
import type { Problem } from "../../protocol/src/errors.ts";
import type { TelemetryRow } from "../../protocol/src/messages/stream.ts";
import { unwrap } from "../../protocol/src/result.ts";
import { holds } from "../kit/eventually.ts";

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
