import { STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";

/** What is found in the bytes of a connection, in their order. */
export interface FoundPackets {
  /** A durable message at QoS 1; `payload` is a view into what was read. */
  publish(stream: Stream, payload: Uint8Array, packetId: number): void;
  /** Any other packet whole, or bytes that are none: for a reader that judges them. False: nothing more is wanted. */
  other(bytes: Buffer): boolean;
}

// MQTT-2.2: PUBLISH at QoS 1 and not retained; the bit that says that it comes again may be set.
const PUBLISH_BITS = 0b1111_0111;
const PUBLISH_QOS_1 = 0b0011_0010;
const NOTHING = Buffer.alloc(0);
/** How the topics of one device end. */
const ENDS = STREAMS.map((stream) => ({ stream, bytes: Buffer.from(stream, "latin1") }));

/**
 * Takes the bytes of a device's connection apart where packets end, and recognises its durable messages by their bytes:
 * nearly all that a device says, at a fraction of what reading any packet costs.
 */
export class PublishReader {
  /** What the topics of the device begin with. */
  readonly #begin: Buffer;
  readonly #packetBytesMax: number;
  /** The begin of a packet whose end has not come, as pieces, and how long it must become. */
  #pieces: Buffer[] = [];
  #held = 0;
  #needed = 0;

  constructor(site: string, device: string, packetBytesMax: number) {
    const topic = deviceTopic(site, device).up(STREAMS[0]);
    const begin = topic.slice(0, -STREAMS[0].length);
    // Memory of its own: a place in Node's pool would keep the 64 KB around it for as long as the device is connected.
    this.#begin = Buffer.allocUnsafeSlow(begin.length);
    this.#begin.write(begin, "latin1");
    this.#packetBytesMax = packetBytesMax;
  }

  /** Reads on; what is found is told before it returns. */
  read(chunk: Buffer, found: FoundPackets): void {
    let at = 0;
    while (this.#held > 0) {
      const end = Math.min(chunk.length, at + this.#needed - this.#held);
      const piece = chunk.subarray(at, end);
      if (this.#held + piece.length < this.#needed) {
        this.#pieces.push(Buffer.from(piece));
        this.#held += piece.length;
        return;
      }
      const packet = Buffer.concat([...this.#pieces, piece]);
      this.#pieces = [];
      this.#held = 0;
      at = end;
      if (!this.#readPackets(packet, 0, found)) return;
    }
    this.#readPackets(chunk, at, found);
  }

  /** Reads packets, and holds the begin of the last; false where nothing more is wanted. */
  #readPackets(bytes: Buffer, from: number, found: FoundPackets): boolean {
    let at = from;
    while (at < bytes.length) {
      const header = headerAt(bytes, at);
      // A packet longer than any may be is none of ours to wait for.
      if (header === "malformed" || (header && header.end - header.body > this.#packetBytesMax)) {
        found.other(bytes.subarray(at));
        return false;
      }
      if (header === undefined || header.end > bytes.length) {
        this.#hold(bytes.subarray(at), header === undefined ? 0 : header.end - at);
        return true;
      }
      if (!this.#isPublish(bytes, at, header, found) && !found.other(bytes.subarray(at, header.end))) return false;
      at = header.end;
    }
    return true;
  }

  #hold(begin: Buffer, needed: number): void {
    // A copy: the view would keep the whole chunk in memory for as long as the packet's end does not come.
    this.#pieces = [Buffer.from(begin)];
    this.#held = begin.length;
    this.#needed = needed || begin.length + 1;
  }

  #isPublish(bytes: Buffer, at: number, { body, end: packetEnd }: Header, found: FoundPackets): boolean {
    if (((bytes[at] as number) & PUBLISH_BITS) !== PUBLISH_QOS_1 || packetEnd - body < 4) return false;
    const topicBytes = bytes.readUInt16BE(body);
    const payloadAt = body + 2 + topicBytes + 2;
    if (payloadAt > packetEnd) return false;
    const begin = this.#begin;
    for (const { stream, bytes: end } of ENDS) {
      if (begin.length + end.length !== topicBytes || !standsAt(bytes, body + 2 + begin.length, end)) continue;
      if (!standsAt(bytes, body + 2, begin)) return false;
      const packetId = bytes.readUInt16BE(payloadAt - 2);
      // MQTT-2.3.1-1: a packet has a number that is not zero.
      if (packetId === 0) return false;
      found.publish(stream, packetEnd === payloadAt ? NOTHING : bytes.subarray(payloadAt, packetEnd), packetId);
      return true;
    }
    return false;
  }
}

interface Header {
  /** Where the packet goes on after its length, and where it ends. */
  readonly body: number;
  readonly end: number;
}

/** The header that begins at a place (MQTT-2.2.3); undefined where it is not whole yet. */
function headerAt(bytes: Buffer, at: number): Header | "malformed" | undefined {
  let length = 0;
  for (let digit = 0; digit < 4; digit++) {
    const byte = bytes[at + 1 + digit];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) << (7 * digit);
    if (byte < 0x80) return { body: at + 2 + digit, end: at + 2 + digit + length };
  }
  return "malformed";
}

/** Whether a text stands at a place. */
function standsAt(bytes: Buffer, at: number, text: Buffer): boolean {
  for (let index = text.length - 1; index >= 0; index--) if (bytes[at + index] !== text[index]) return false;
  return true;
}
