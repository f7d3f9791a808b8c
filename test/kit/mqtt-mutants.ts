import { zstdCompressSync } from "node:zlib";
import { encodeBatch, inflateBatch } from "@bellwether/protocol/batch.ts";
import type { StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import type { Random } from "@bellwether/protocol/random.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { type DeviceTopics, UP_KINDS, type UpKind } from "@bellwether/protocol/topics.ts";
import { connectPacket, packetOf, publishPacket, subscribePacket } from "../bench/ingest/mqtt.ts";
import { bentBody, bentBytes } from "./mutants.ts";

const pick = <T>(random: Random, from: readonly T[]): T => from[random.below(from.length)]!;
const noise = (random: Random, bytesMax: number) =>
  Buffer.from(Array.from({ length: random.below(bytesMax) }, () => random.below(256)));

/** What a packet may hold after login, less a topic. */
const PAYLOAD_BYTES_MAX = 65_000;
const DIGEST = `sha256:${"ab".repeat(32)}`;
const AT_MS = Date.UTC(2026, 0, 1);

/** A message of a device as it may be; of streams one batch with records of its own numbers. */
function rightBody(kind: UpKind, random: Random): object {
  const asset = `pump-${random.below(3)}`;
  const observedAtMs = AT_MS + random.below(1_000_000) * 1_000;
  const common = { asset, observedAtMs, model: "rul" };
  const predicted = { ...common, version: 1, digest: DIGEST };
  const channels = [{ channel: "vib", unit: "mm/s", resolution: 0.01 }];
  const facts = { line: "1" };
  const records = {
    event: { atMs: observedAtMs, kind: "device", severity: "info", code: "STARTED", text: "started", asset },
    drift: {
      ...{ ...predicted, fromMs: AT_MS, reference: DIGEST, phase: "stable", verdicts: [], quality: [] },
      sketch: { n: [2], sum: [-3], sumSq: [5], bins: [{ regime: 0, counts: [[1, 1]] }] },
    },
    inference: { ...predicted, value: random.next(), outputs: { rul: random.next() }, alert: false },
    samples: { ...common, features: { "vib.rms": random.next(), "vib.std": null } },
    telemetry: { asset, observedAtMs, values: { vib: random.next(), load: random.below(100) } },
  };
  switch (kind) {
    case "state":
      return { v: 1, session: random.below(1e6), online: true, atMs: observedAtMs, heartbeatMs: 60_000 };
    case "birth":
      return { v: 1, session: random.below(1e6), asset, index: 0, of: 1, channels, facts, agentVersion: "0.1.0" };
    case "reported":
      return { v: 1, session: random.below(1e6), rev: random.below(1e6), directorVersion: 0, models: [], refusals: [] };
    default: {
      const count = 1 + random.below(40);
      const clock = { bootId: "boot-1", monoMs: 12.5, wallMs: AT_MS, clockSynced: true };
      const epoch = `000000000000000${random.below(4)}`;
      const place = { v: 1 as const, epoch, stream: kind, fromSeq: 1 + random.below(100_000), hist: false, clock };
      const batch = { ...place, records: Array.from({ length: count }, () => records[kind]) } as StreamBatch;
      // As the codec writes it, so that what is bent is what travels.
      return JSON.parse(unwrap(inflateBatch(kind, encodeBatch(batch))).toString("utf8"));
    }
  }
}

/** A payload of a device's topic: one that is right, or bent as JSON, within its frame, or as bytes; or nonsense. */
export function payloadMutant(kind: UpKind, random: Random): Buffer {
  for (;;) {
    const body = rightBody(kind, random);
    const way = random.below(10);
    const json = () => Buffer.from(JSON.stringify(bentBody(body, random)));
    const payload =
      way < 1
        ? Buffer.from(JSON.stringify(body))
        : way < 5
          ? json()
          : way < 7
            ? zstdCompressSync(json())
            : way < 9
              ? bentBytes(way === 7 ? zstdCompressSync(Buffer.from(JSON.stringify(body))) : json(), random)
              : noise(random, 400);
    if (payload.length <= PAYLOAD_BYTES_MAX) return payload;
  }
}

/** The packets a device could say, each once, as they should be. */
function rightPackets(topics: DeviceTopics, random: Random): Buffer[] {
  const kind = pick(random, UP_KINDS);
  const payload = Buffer.from(JSON.stringify(rightBody(kind, random)));
  const id = Buffer.from([random.below(256), random.below(256)]);
  return [
    publishPacket(topics.up(kind), payload, 1 + random.below(65_535)),
    subscribePacket(topics.downFilters),
    packetOf(0xa2, id, Buffer.from([0, 1]), Buffer.from("a")),
    packetOf(0x40, id),
    packetOf(0x50, id),
    packetOf(0x62, id),
    packetOf(0x70, id),
    Buffer.from([0xc0, 0]),
    connectPacket({ clientId: "again", username: "u", password: "p" }),
  ];
}

/** A packet whose length is right, whatever else is not: what follows it on the line is not swallowed. */
export function packetMutant(topics: DeviceTopics, random: Random): Buffer {
  const right = pick(random, rightPackets(topics, random));
  const lengthBytes = right.subarray(1, 5).findIndex((byte) => byte < 0x80) + 1;
  const body = right.subarray(1 + lengthBytes);
  const first = random.below(3) === 0 ? random.below(256) : (right[0] as number);
  const bent = random.below(4) === 0 ? noise(random, 300) : bentBytes(Buffer.from(body), random);
  return packetOf(first, bent.subarray(0, PAYLOAD_BYTES_MAX));
}

/** Bytes that need not be packets at all. */
export function lineMutant(topics: DeviceTopics, random: Random): Buffer {
  const right = Buffer.concat(rightPackets(topics, random).filter(() => random.below(3) === 0));
  return random.below(4) === 0 ? noise(random, 400) : bentBytes(right, random);
}

/** What a stranger says first: a CONNECT with something wrong, another packet, another protocol, or noise. */
export function strangerMutant(topics: DeviceTopics, random: Random): Buffer {
  const login = { clientId: "gw-1", username: "plant-a/gw-1", password: `${"n".repeat(60)}.${"0".repeat(128)}` };
  const connect = connectPacket(random.below(2) === 0 ? login : { clientId: `c${random.below(100)}` });
  switch (random.below(6)) {
    case 0:
      return noise(random, 400);
    case 1:
      return lineMutant(topics, random);
    case 2:
      return Buffer.from(
        pick(random, ["GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "SSH-2.0-x\r\n"]),
      );
    case 3:
      return Buffer.concat([connect, lineMutant(topics, random)]);
    default:
      return bentBytes(connect, random);
  }
}
