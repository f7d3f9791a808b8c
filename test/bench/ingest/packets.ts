import { publishPacket } from "./mqtt.ts";

const FIRST_MS = 1_767_225_600_000;

/**
 * Telemetry of one device as whole PUBLISH packets, made by writing numbers into bytes that lie ready: the load shares its
 * processors with what it measures.
 */
export class TelemetryPackets {
  readonly #topic: string;
  readonly #payloadOf: (fromSeq: number) => string;
  #next = 1;
  #packetId = 0;
  #template: Buffer = Buffer.alloc(0);
  #templateUpTo = 0;
  #idAt = 0;
  #seqEnd = 0;
  #timeEnd = 0;

  /** `groupOf` is the batch's one group as JSON, given the text of its `t0`; all messages have the same rows. */
  constructor(topic: string, epoch: string, groupOf: (t0: string) => string) {
    this.#topic = topic;
    const clock = `{"bootId":"b","monoMs":0,"wallMs":${FIRST_MS},"clockSynced":true}`;
    this.#payloadOf = (fromSeq) =>
      `{"v":1,"epoch":"${epoch}","fromSeq":${fromSeq},"hist":false,"clock":${clock},"groups":[${groupOf(`${FIRST_MS + fromSeq}`)}]}`;
  }

  /** Seqs given so far, where each message holds one row. */
  get sent(): number {
    return this.#next - 1;
  }

  /** The next messages of one row each, as the bytes of their packets. */
  next(count: number): Buffer {
    const parts: Buffer[] = [];
    for (let left = count; left > 0; ) {
      if (this.#next > this.#templateUpTo) this.#prepare();
      const some = Math.min(left, this.#templateUpTo - this.#next + 1);
      parts.push(this.#write(some));
      left -= some;
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }

  /** A packet with numbers of as many digits as the next seq has. */
  #prepare(): void {
    const payload = this.#payloadOf(this.#next);
    this.#template = publishPacket(this.#topic, Buffer.from(payload), 0);
    this.#templateUpTo = 10 ** `${this.#next}`.length - 1;
    const payloadAt = this.#template.length - payload.length;
    this.#idAt = payloadAt - 2;
    const endOf = (text: string) => payloadAt + payload.indexOf(text) + text.length;
    this.#seqEnd = endOf(`"fromSeq":${this.#next}`);
    this.#timeEnd = endOf(`"t0":${FIRST_MS + this.#next}`);
  }

  #write(count: number): Buffer {
    const { length } = this.#template;
    const bytes = Buffer.allocUnsafe(count * length);
    for (let i = 0, at = 0; i < count; i++, at += length) {
      bytes.set(this.#template, at);
      this.#packetId = (this.#packetId % 65_535) + 1;
      bytes[at + this.#idAt] = this.#packetId >> 8;
      bytes[at + this.#idAt + 1] = this.#packetId & 0xff;
      writeDigits(bytes, at + this.#seqEnd, this.#next);
      writeDigits(bytes, at + this.#timeEnd, FIRST_MS + this.#next);
      this.#next++;
    }
    return bytes;
  }
}

/** Writes a number so that it ends before `end`; what stands there has as many digits. */
function writeDigits(bytes: Buffer, end: number, value: number): void {
  let left = value;
  for (let at = end - 1; left > 0; at--) {
    const rest = Math.floor(left / 10);
    bytes[at] = 0x30 + (left - rest * 10);
    left = rest;
  }
}
