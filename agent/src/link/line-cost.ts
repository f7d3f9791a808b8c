import type { Stream } from "@bellwether/protocol/messages/stream.ts";
import type { UpKind } from "@bellwether/protocol/topics.ts";

/** What takes of the line: the streams, what the device says of itself, and what it is told. */
export type LineClass = Stream | "other" | "received";

/** The class of a message the device sends. */
export function lineClassOf(kind: UpKind): LineClass {
  return kind === "state" || kind === "birth" || kind === "reported" ? "other" : kind;
}

/** Bytes of a PUBLISH at QoS 1 (MQTT 3.1.1, 3.3): fixed header, topic, packet identifier and payload. */
export function packetBytes(topic: string, payloadBytes: number): number {
  const remaining = 2 + Buffer.byteLength(topic) + 2 + payloadBytes;
  const lengthBytes = remaining < 128 ? 1 : remaining < 16_384 ? 2 : 3;
  return 1 + lengthBytes + remaining;
}
