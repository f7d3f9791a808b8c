/**
 * Mutated and random MQTT packets and payloads against a real server process: it lives, answers everything that can be
 * answered, keeps what it cannot read as dead letters, serves others meanwhile, and its memory stays flat. A few thousand
 * by default; BELLWETHER_CAMPAIGN=full makes 100,000.
 */
import { decodeBatch } from "@bellwether/protocol/batch.ts";
import { birthMessage, reportedMessage, stateMessage } from "@bellwether/protocol/messages/device.ts";
import { STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";
import { type Random, seededRandom } from "@bellwether/protocol/random.ts";
import { deviceTopic, UP_KINDS, type UpKind } from "@bellwether/protocol/topics.ts";
import { expect, test } from "vitest";
import { connectPacket, publishPacket } from "../bench/ingest/mqtt.ts";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import {
  connectDevice,
  connectMqtt,
  credentials,
  type EnrolledDevice,
  enrol,
  rowsOf,
  subscriber,
} from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { lineMutant, packetMutant, payloadMutant, strangerMutant } from "../kit/mqtt-mutants.ts";
import { RawMqtt } from "../kit/raw-mqtt.ts";

const FULL = process.env["BELLWETHER_CAMPAIGN"] === "full";
const MUTANTS = FULL ? 100_000 : 1_200;
const ROUNDS = FULL ? 20 : 4;
/** Rounds after which what is allocated once for good is allocated. */
const WARM_ROUNDS = FULL ? 4 : 2;
const RSS_GROWTH_MB_MAX = 60;
const GARBAGE_COLLECTOR = new URL("collect-garbage.ts", import.meta.url).pathname;
const HONEST_MS_MAX = 5_000;
/** Of a round: strangers, packets and bytes of devices that logged in, and payloads in right packets. */
const SHARES = { strangers: 0.25, packets: 0.15, lines: 0.05, payloads: 0.55 };
const SIDE_BY_SIDE = 6;
const STRANGERS_AT_ONCE = 40;
const ON_THEIR_WAY = 40;
const CONNACK = 2;

const isStream = (kind: UpKind): kind is Stream => (STREAMS as readonly string[]).includes(kind);
const counted = { strangers: 0, packets: 0, closed: 0, lines: 0, payloads: 0, poison: 0 };

async function strangers(server: Bellwether, random: Random, count: number): Promise<void> {
  const topics = deviceTopic("plant-a", "gw-1");
  for (let left = count; left > 0; left -= STRANGERS_AT_ONCE) {
    const crowd = Array.from({ length: Math.min(left, STRANGERS_AT_ONCE) }, () => strangerMutant(topics, random));
    await Promise.all(crowd.map(async (bytes) => (await RawMqtt.open(server.mqttPort)).lastWords(bytes)));
    counted.strangers += crowd.length;
  }
}

async function logIn(server: Bellwether, device: EnrolledDevice): Promise<RawMqtt> {
  const raw = await RawMqtt.open(server.mqttPort);
  raw.write(connectPacket({ clientId: device.device, ...(await credentials(server, device)) }));
  await raw.hear(CONNACK);
  return raw;
}

/** A device that says whole packets with something wrong, one by one, and then bytes that are none. */
async function members(server: Bellwether, device: EnrolledDevice, random: Random, packets: number, lines: number) {
  const topics = deviceTopic(device.site, device.device);
  let raw = await logIn(server, device);
  for (let n = 0; n < packets; n++) {
    if (!(await raw.answered(packetMutant(topics, random)))) {
      counted.closed++;
      raw = await logIn(server, device);
    }
    counted.packets++;
  }
  for (let n = 0; n < lines; n++) {
    await raw.lastWords(lineMutant(topics, random));
    raw = await logIn(server, device);
    counted.lines++;
  }
  raw.destroy();
}

/** Whether the protocol's own reader takes a payload. */
function isReadable(kind: UpKind, payload: Buffer): boolean {
  if (isStream(kind)) return decodeBatch(kind, payload).ok;
  if (kind === "birth") return birthMessage.parse(payload).ok;
  if (kind === "reported") return reportedMessage.parse(payload).ok;
  const state = stateMessage.parse(payload);
  return state.ok && (state.value.streams ?? []).every(({ firstHeld, next }) => firstHeld <= next);
}

/** A device that says right packets with mutants in them; answers how many of them of which kind. */
async function payloads(server: Bellwether, device: EnrolledDevice, random: Random, count: number) {
  const topics = deviceTopic(device.site, device.device);
  const said = { durable: 0, poison: 0 };
  const raw = await logIn(server, device);
  for (let n = 1; n <= count; n++) {
    const kind = UP_KINDS[random.below(UP_KINDS.length)] as UpKind;
    const payload = payloadMutant(kind, random);
    if (isStream(kind)) said.durable++;
    if (!isReadable(kind, payload)) said.poison++;
    raw.write(publishPacket(topics.up(kind), payload, 1 + (n % 65_535)));
    await raw.confirmed(Math.max(0, n - ON_THEIR_WAY));
  }
  await raw.confirmed(count);
  raw.destroy();
  counted.payloads += count;
  return said;
}

/** How messages ended so far, and how many still wait. */
async function outcomes(server: Bellwether) {
  const { body } = await server.call("GET /metrics");
  const read = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(body)?.[1] ?? Number.NaN);
  const of = (outcome: string) => read(`bellwether_ingest_outcomes_total\\{outcome="${outcome}"\\}`);
  const poison = of("poison");
  return { poison, rest: of("committed") + of("duplicate") + of("conflict") + of("deferred") };
}

/**
 * What is resident once garbage is collected: what the server holds. Without that it is what V8 has found no reason yet to
 * collect, anything from 320 to 480 MB of the same server.
 */
async function heldMb(server: Bellwether): Promise<number> {
  const collections = () => server.log.filter((line) => line === "garbage is collected").length;
  const before = collections();
  process.kill(server.pid, "SIGUSR2");
  await eventually("garbage is collected", () => collections() > before);
  return Math.round(server.rssMb());
}

test(`${MUTANTS} mutated or random packets and payloads: all answered, dead-lettered or closed; memory flat, others served`, {
  timeout: 3_600_000,
}, async () => {
  const seed = Number(process.env["BELLWETHER_SEED"] ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}: replay with BELLWETHER_SEED=${seed}`);
  const server = await startBellwether({ env: { NODE_OPTIONS: `--import ${GARBAGE_COLLECTOR}` } });
  const honest = await connectDevice(server, await enrol(server, "honest"));
  const reader = await connectMqtt(server, await subscriber(server, "reader"));
  await reader.subscribe("bw/v1/plant-a/feed/#");
  const devices: EnrolledDevice[] = [];
  for (let n = 0; n < 2 * SIDE_BY_SIDE; n++) devices.push(await enrol(server, `gw-${n + 1}`));
  const randoms = devices.map((_, stream) => seededRandom(seed, stream + 1));
  const part = (share: number, sides: number) => Math.ceil((MUTANTS * share) / ROUNDS / sides);

  const rssMb: number[] = [];
  let worstMs = 0;
  for (let round = 0; round < ROUNDS; round++) {
    await strangers(server, seededRandom(seed, 1_000 + round), part(SHARES.strangers, 1));
    const [packets, lines] = [part(SHARES.packets, SIDE_BY_SIDE), part(SHARES.lines, SIDE_BY_SIDE)];
    await Promise.all(
      devices.slice(0, SIDE_BY_SIDE).map((device, n) => members(server, device, randoms[n] as Random, packets, lines)),
    );
    // What they said last has ended when what is said after it has.
    await honest.acknowledged("telemetry", await honest.send("telemetry", rowsOf("pump-9", 5)), HONEST_MS_MAX);
    const before = await outcomes(server);
    const said = await Promise.all(
      devices.slice(SIDE_BY_SIDE).map((device, n) => {
        return payloads(server, device, randoms[SIDE_BY_SIDE + n] as Random, part(SHARES.payloads, SIDE_BY_SIDE));
      }),
    );
    const durable = said.reduce((sum, one) => sum + one.durable, 0);
    const poison = said.reduce((sum, one) => sum + one.poison, 0);
    const startMs = performance.now();
    await honest.acknowledged("telemetry", await honest.send("telemetry", rowsOf("pump-9", 5)), HONEST_MS_MAX);
    worstMs = Math.max(worstMs, performance.now() - startMs);
    // What cannot be read is kept as a dead letter, and everything else ended, too.
    await eventually(`round ${round}: every message has ended`, async () => {
      const now = await outcomes(server);
      return now.poison + now.rest - before.poison - before.rest >= durable && now.poison - before.poison >= poison;
    });
    expect((await outcomes(server)).poison - before.poison).toBe(poison);
    counted.poison += poison;
    rssMb.push(await heldMb(server));
    console.log(`round ${round + 1} of ${ROUNDS}: ${JSON.stringify(counted)}, ${rssMb.at(-1)} MB held`);
  }
  console.log(`an honest device waited ${worstMs.toFixed(0)} ms at most`);
  expect(server.alive()).toBe(true);
  // Each device's unreadable messages are told once in a while; nothing else went wrong.
  expect(server.log.filter((line) => /"level":"error"/.test(line) && !/"msg":"unreadable message"/.test(line))).toEqual(
    [],
  );
  expect((rssMb.at(-1) as number) - (rssMb[WARM_ROUNDS - 1] as number)).toBeLessThan(RSS_GROWTH_MB_MAX);
  expect(honest.connected()).toBe(true);
});
