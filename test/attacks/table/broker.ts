import { randomBytes } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import type { Stream } from "@bellwether/protocol/messages/stream.ts";
import type { EnrolledDevice } from "../../kit/device.ts";
import { type Row, stoppedBy } from "./row.ts";

/** A topic or filter; {site}, {me} and {other} are filled in with devices of the test. */
export interface TopicRow extends Row {
  readonly topic: string;
}
const topicRows = (who: string, defence: string, code: string, topics: readonly string[]): readonly TopicRow[] =>
  topics.map((topic) => ({ attack: `${who} \`${topic}\``, defence, code, topic }));

const CUT = "closed, `bellwether_mqtt_forbidden_total`";

/** A connected device that has said something of its own and been believed. */
export const DEVICE_PUBLISH = topicRows("a device says", "a device speaks below its own `up` topics only", CUT, [
  "bw/v1/{site}/{other}/up/state",
  "bw/v1/{site}/{other}/up/telemetry",
  "bw/v1/{site}/{other}/down/desired",
  "bw/v1/{site}/{me}/down/desired",
  "bw/v1/{site}/{me}/up/nothing",
  "bw/v1/plant-b/{me}/up/telemetry",
  "bw/v1/{site}/feed/pump-1/last",
  "bw/v1/{site}/feed/pump-1/alarm/on",
  "$SYS/bellwether/new/clients",
  "$bw/taken",
  "elsewhere",
]);

/** A connected device that listens to what it is told itself. */
export const DEVICE_SUBSCRIBE = topicRows("a device listens to", "its own `down` topics, no others", "SUBACK 128", [
  "#",
  "+/#",
  "bw/#",
  "bw/v1/{site}/#",
  "bw/v1/{site}/+/down/#",
  "bw/v1/{site}/+/down/ack",
  "bw/v1/{site}/{other}/down/#",
  "bw/v1/{site}/{other}/up/#",
  "bw/v1/{site}/{me}/#",
  "bw/v1/{site}/{me}/up/#",
  "bw/v1/{site}/feed/#",
  "bw/v1/{site}/feed/pump-1/last",
  "$SYS/#",
  "$bw/#",
  "$share/group/bw/v1/plant-a/feed/#",
]);

/** A subscriber that listens to its site's feed. */
export const READER_SUBSCRIBE = topicRows("a subscriber listens to", "the feed of its sites only", "SUBACK 128", [
  "#",
  "bw/v1/+/feed/#",
  "bw/v1/plant-a/#",
  "bw/v1/plant-a/+/up/#",
  "bw/v1/plant-a/gw-1/up/telemetry",
  "bw/v1/plant-a/gw-1/down/desired",
  "bw/v1/plant-b/feed/#",
  "$SYS/#",
]);
export const READER_PUBLISH = topicRows("a subscriber says", "subscribers are read-only", CUT, [
  "bw/v1/plant-a/feed/pump-1/last",
  "bw/v1/plant-a/gw-1/up/state",
  "anything",
]);

/** How one connects, and how the answer to the nonce is made. */
export interface Connecting {
  readonly username: string;
  readonly clientId: string;
  readonly password: string;
}
export interface ConnectWorld {
  nonceFor(device: EnrolledDevice): Promise<string>;
  /** User name, client id and password with this answer to the nonce. */
  login(device: EnrolledDevice, nonce: string, change?: Partial<EnrolledDevice>): Connecting;
}
export interface ConnectRow extends Row {
  readonly bend: (mine: EnrolledDevice, other: EnrolledDevice, world: ConnectWorld) => Promise<Connecting>;
}
const fresh = async (world: ConnectWorld, device: EnrolledDevice, change: Partial<EnrolledDevice> = {}) =>
  world.login(device, await world.nonceFor(device), change);
const REFUSED = "CONNACK 5, `bellwether_mqtt_refused_total`";

/** A device that has logged in once, over MQTT. */
export const CONNECT: readonly ConnectRow[] = stoppedBy<ConnectRow>(
  "a signature over broker, device and a nonce that serves once; client id, user name and device are one",
  [
    {
      attack: "MQTT with a signature for another broker",
      code: REFUSED,
      bend: (mine, _, world) => fresh(world, mine, { brokerId: "bw-another-broker" }),
    },
    {
      attack: "MQTT with another device's name signed",
      code: REFUSED,
      bend: (mine, other, world) => fresh(world, mine, { device: other.device }),
    },
    {
      attack: "MQTT with another device's key",
      code: REFUSED,
      bend: (mine, other, world) => fresh(world, mine, { seed: other.seed }),
    },
    {
      attack: "MQTT without a signature",
      code: REFUSED,
      bend: async (mine, _, world) => ({ ...(await fresh(world, mine)), password: `${await world.nonceFor(mine)}.` }),
    },
    {
      attack: "MQTT without a nonce",
      code: REFUSED,
      bend: async (mine, _, world) => {
        const login = await fresh(world, mine);
        return { ...login, password: login.password.slice(login.password.lastIndexOf(".") + 1) };
      },
    },
    {
      attack: "MQTT in another site's name",
      code: REFUSED,
      bend: async (mine, _, world) => ({ ...(await fresh(world, mine)), username: `plant-b/${mine.device}` }),
    },
    {
      attack: "MQTT under another client id",
      code: REFUSED,
      bend: async (mine, other, world) => ({ ...(await fresh(world, mine)), clientId: other.device }),
    },
    {
      attack: "MQTT with a user name of one level more",
      code: REFUSED,
      bend: async (mine, _, world) => ({
        ...(await fresh(world, mine)),
        username: `${mine.site}/${mine.device}/x`,
      }),
    },
    {
      attack: "MQTT in the name of a device that is none",
      code: REFUSED,
      bend: async (mine, _, world) => ({ ...(await fresh(world, mine)), username: "plant-a/nobody" }),
    },
    {
      attack: "MQTT with another device's nonce",
      code: REFUSED,
      bend: async (mine, other, world) => world.login(mine, await world.nonceFor(other)),
    },
    {
      attack: "MQTT with a nonce nobody gave",
      code: REFUSED,
      bend: async (mine, _, world) =>
        world.login(mine, `${(Date.now() + 60_000).toString(36)}.${randomBytes(16).toString("base64url")}.AAAA`),
    },
  ],
);

/** A device whose records are taken and acknowledged; what is poison is kept as a dead letter under its code. */
export interface PoisonRow extends Row {
  readonly stream: Stream;
  readonly bytes: () => Uint8Array;
}
const envelope = { v: 1, epoch: "00000000000000ff", fromSeq: 1, hist: false };
const clock = { bootId: "b", monoMs: 1, wallMs: 1, clockSynced: true };
const json = (value: object) => () => Buffer.from(JSON.stringify(value));
/** 400 MB of blanks in less than a packet. */
export const zstdBomb = () => zstdCompressSync(Buffer.alloc(400_000_000, 0x20));

export const POISON: readonly PoisonRow[] = stoppedBy<PoisonRow>(
  "a length before unpacking, a schema and a depth for every message; what does not fit is a dead letter",
  [
    { attack: "a batch that unpacks to 400 MB", code: "TOO_LARGE", stream: "telemetry", bytes: zstdBomb },
    {
      attack: "a batch cut off",
      code: "BATCH_UNREADABLE",
      stream: "telemetry",
      bytes: () => zstdCompressSync(randomBytes(5_000)).subarray(0, 100),
    },
    { attack: "noise for a batch", code: "INVALID_JSON", stream: "telemetry", bytes: () => randomBytes(5_000) },
    { attack: "nothing for a batch", code: "INVALID_JSON", stream: "telemetry", bytes: () => Buffer.alloc(0) },
    {
      attack: "60,000 brackets that never close (parser bomb)",
      code: "INVALID_JSON",
      stream: "telemetry",
      bytes: () => Buffer.from("[".repeat(60_000)),
    },
    {
      attack: "30,000 lists in each other, in a member nobody knows",
      code: "BATCH_UNREADABLE",
      stream: "telemetry",
      bytes: () => {
        const batch = JSON.stringify({ ...envelope, clock, groups: [] });
        return Buffer.from(`${batch.slice(0, -1)},"x":${"[".repeat(30_000)}${"]".repeat(30_000)}}`);
      },
    },
    {
      attack: "a batch without groups",
      code: "BATCH_INCONSISTENT",
      stream: "telemetry",
      bytes: json({ ...envelope, clock, groups: [] }),
    },
    {
      attack: "an inference about a path",
      code: "INVALID_SHAPE",
      stream: "inference",
      bytes: json({ ...envelope, clock, records: [{ asset: "../../etc" }] }),
    },
    {
      attack: "an event that reaches for prototypes",
      code: "INVALID_SHAPE",
      stream: "event",
      bytes: () => Buffer.from('{"__proto__":{"polluted":true},"v":1}'),
    },
    { attack: "null for drift figures", code: "INVALID_SHAPE", stream: "drift", bytes: () => Buffer.from("null") },
    {
      attack: "half a surrogate for samples",
      code: "INVALID_SHAPE",
      stream: "samples",
      bytes: () => Buffer.from('"\\ud800"'),
    },
  ],
);

/** Packets of exactly the limit are read; one byte more closes the connection before they are. */
export interface PacketRow extends Row {
  readonly loggedIn: boolean;
  readonly limit: number;
}
export const PACKETS: readonly PacketRow[] = stoppedBy<PacketRow>("the length a packet announces is judged first", [
  {
    attack: "a packet over 2 KB before login",
    code: "closed, `bellwether_mqtt_oversized_total`",
    loggedIn: false,
    limit: 2_048,
  },
  {
    attack: "a packet over 64 KB after login",
    code: "closed, `bellwether_mqtt_oversized_total`",
    loggedIn: true,
    limit: 65_536,
  },
]);
