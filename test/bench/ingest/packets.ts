import { publishPacket } from "./mqtt.ts";

const FIRST_MS = 1_767_225_600_000;

/** Rows of a message, and channels of a row. */
export interface Shape {
  readonly rows: number;
  readonly channels: number;
}

/** Messages by their size: the shortest batch there is, a row of 24 channels, a minute of them. */
export const SHAPES = {
  "100B": { rows: 1, channels: 1 },
  "1kB": { rows: 1, channels: 24 },
  "10kB": { rows: 56, channels: 24 },
} as const satisfies Readonly<Record<string, Shape>>;
export type Size = keyof typeof SHAPES;

/** Messages that each client keeps on their way. */
export const ON_THEIR_WAY = 16;

/** The batch's group, as an agent writes rows a second apart. */
export function groupOf({ rows, channels }: Shape): (t0: string) => string {
  const dt = Array(rows - 1).fill(1_000);
  const columns = Array.from({ length: channels }, (_, channel) => ({
    channel: channels === 1 ? "x" : `s${channel}`,
    values: Array.from({ length: rows }, (_, row) =>
      channels === 1 ? 1 : 600 + ((row * 7 + channel * 13) % 997) / 100,
    ),
  }));
  const rest = JSON.stringify({ dt, channels: columns }).slice(1);
  return (t0) => `{"asset":"a","t0":${t0},${rest}`;
}

/**
 * Telemetry of one device as whole PUBLISH packets, made by writing numbers into bytes that lie ready: the load shares its
 * processors with what it measures.
 */
export class TelemetryPackets {
  readonly #topic: string;
  readonly #payloadOf: (fromSeq: number) => string;
  readonly #rows: number;
  #next = 1;
  #packetId = 0;
  #template: Buffer = Buffer.alloc(0);
  #templateUpTo = 0;
  #idAt = 0;
  #seqEnd = 0;
  #timeEnd = 0;

  /** `groupOf` is the batch's one group of `rows` rows as JSON, given the text of its `t0`; all messages have the same rows. */
  constructor(topic: string, epoch: string, rows: number, groupOf: (t0: string) => string) {
    this.#topic = topic;
    this.#rows = rows;
    const clock = `{"bootId":"b","monoMs":0,"wallMs":${FIRST_MS},"clockSynced":true}`;
    this.#payloadOf = (fromSeq) =>
      `{"v":1,"epoch":"${epoch}","fromSeq":${fromSeq},"hist":false,"clock":${clock},"groups":[${groupOf(`${FIRST_MS + fromSeq}`)}]}`;
  }

  /** Messages given so far. */
  get sent(): number {
    return (this.#next - 1) / this.#rows;
  }

  /** The next messages, as the bytes of their packets. */
  next(count: number): Buffer {
    const parts: Buffer[] = [];
    for (let left = count; left > 0; ) {
      if (this.#next > this.#templateUpTo) this.#prepare();
      const some = Math.min(left, Math.floor((this.#templateUpTo - this.#next) / this.#rows) + 1);
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
      this.#next += this.#rows;
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
