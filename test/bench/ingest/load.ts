/**
 * 100 clients that keep a number of messages on their way each. The first JSON line on standard input is the order, each
 * further line starts one round; its figure is the messages a second that were acknowledged: by PUBACK, or by the fleet
 * server's own `down/ack`. Between rounds the connections stay, in silence.
 */
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { type Login, openMqtt } from "./mqtt.ts";
import { groupOf, ON_THEIR_WAY, type Shape, TelemetryPackets } from "./packets.ts";

export interface LoadOrder {
  readonly port: number;
  readonly clients: readonly (Login & { readonly site: string })[];
  readonly acknowledgedBy: "puback" | "server";
  readonly epoch: string;
  /** What a message holds. */
  readonly shape: Shape;
  readonly measuredMs: number;
}

const WARM_UP_MS = 1_500;

/** One client: `fill` has it begin, `rest` has it send nothing more. */
interface Sender {
  fill(): void;
  rest(): void;
}

let acknowledged = 0;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const order = JSON.parse((await lines.next()).value as string) as LoadOrder;
const senders: Sender[] = [];
// One after the other: a server may turn away a crowd that logs in at once.
for (const client of order.clients) senders.push(await start(client));
while (!(await lines.next()).done) process.stdout.write(`${JSON.stringify({ figure: await round() })}\n`);
process.exit(0);

async function round(): Promise<number> {
  for (const sender of senders) sender.fill();
  await wait(WARM_UP_MS);
  const from = acknowledged;
  const startMs = performance.now();
  await wait(order.measuredMs);
  const figure = ((acknowledged - from) / (performance.now() - startMs)) * 1_000;
  for (const sender of senders) sender.rest();
  return figure;
}

async function start(client: LoadOrder["clients"][number]): Promise<Sender> {
  const topics = deviceTopic(client.site, client.clientId);
  const byServer = order.acknowledgedBy === "server";
  const packets = new TelemetryPackets(topics.up("telemetry"), order.epoch, order.shape.rows, groupOf(order.shape));
  let upTo = 0;
  let resting = true;
  const send = (count: number) => {
    if (!resting && count > 0) connection.write(packets.next(count));
  };
  const took = (count: number) => {
    acknowledged += count;
    upTo += count;
    send(count);
  };
  const connection = await openMqtt(order.port, client, byServer ? topics.downFilters : [], {
    confirmed(count) {
      if (!byServer) took(count);
    },
    message(topic, payload, confirm) {
      confirm();
      if (topic !== topics.down("ack")) return;
      const { streams } = JSON.parse(payload.toString("utf8"));
      if (streams.telemetry?.epoch === order.epoch) took(streams.telemetry.upTo / order.shape.rows - upTo);
    },
    closed() {
      throw new Error(`${client.clientId}: the connection was closed`);
    },
  });
  if (byServer) {
    const state = { v: 1, session: 1, online: true, atMs: Date.now(), heartbeatMs: 60_000 };
    connection.publish(topics.up("state"), Buffer.from(JSON.stringify(state)));
  }
  return {
    fill() {
      resting = false;
      send(ON_THEIR_WAY - (packets.sent - upTo));
    },
    rest() {
      resting = true;
    },
  };
}
