import type { Client } from "aedes";
import { dropWhenStill, writeTo } from "./inside.io.ts";

/** What is on its way to one client. */
interface Line {
  bytes: number;
  /** Packets that are written together when what is being done now is done. */
  packets: Uint8Array[];
  packetBytes: number;
  readonly waiting: (() => void)[];
}

/** Bytes on their way to each client, bounded: neither a frozen nor a slow reader may hold memory or anyone else. */
export class Outgoing {
  readonly #bytesMax: number;
  /** Of clients that something is on its way to. */
  readonly #lines = new Map<Client, Line>();
  skipped = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Sends the bytes of a packet at QoS 0; false, and counted, where too much is on its way already. */
  send(client: Client, packet: Uint8Array): boolean {
    let line = this.#lines.get(client);
    if (line !== undefined && line.bytes > 0 && line.bytes + packet.length > this.#bytesMax) {
      this.skipped++;
      return false;
    }
    if (line === undefined) {
      line = { bytes: 0, packets: [], packetBytes: 0, waiting: [] };
      this.#lines.set(client, line);
    }
    line.bytes += packet.length;
    line.packetBytes += packet.length;
    // One write for all that is said to a client at once.
    if (line.packets.push(packet) === 1) queueMicrotask(() => this.#write(client, line));
    return true;
  }

  /** Resolves when half of the bound is free: true, or false when the client has gone. */
  async room(client: Client): Promise<boolean> {
    for (let line = this.#lines.get(client); line !== undefined; line = this.#lines.get(client)) {
      if (client.closed || line.bytes <= this.#bytesMax / 2) break;
      const { waiting } = line;
      await new Promise<void>((woken) => void waiting.push(woken));
    }
    return !client.closed;
  }

  forget(client: Client): void {
    const line = this.#lines.get(client);
    this.#lines.delete(client);
    if (line) wake(line);
  }

  #write(client: Client, line: Line): void {
    const { packets, packetBytes } = line;
    line.packets = [];
    line.packetBytes = 0;
    const bytes = packets.length === 1 ? (packets[0] as Uint8Array) : Buffer.concat(packets, packetBytes);
    // Called when the socket has taken it: a full one takes nothing until it is empty again.
    const taken = () => {
      line.bytes -= packetBytes;
      if (line.bytes <= this.#bytesMax / 2) wake(line);
      if (line.bytes === 0 && this.#lines.get(client) === line) this.#lines.delete(client);
    };
    if (!writeTo(client, bytes, taken)) dropWhenStill(client);
  }
}

function wake({ waiting }: Line): void {
  for (const woken of waiting.splice(0)) woken();
}

/** A PUBLISH at QoS 0 (MQTT-3.3). */
export function publishPacket(topic: string, payload: Uint8Array, retain: boolean): Buffer {
  const topicBytes = Buffer.byteLength(topic);
  const length = 2 + topicBytes + payload.length;
  const digits = length < 128 ? 1 : length < 16_384 ? 2 : length < 2_097_152 ? 3 : 4;
  const packet = Buffer.allocUnsafe(1 + digits + length);
  packet[0] = retain ? 0x31 : 0x30;
  for (let digit = 1, left = length; digit <= digits; digit++, left >>= 7) {
    packet[digit] = digit < digits ? (left & 0x7f) | 0x80 : left & 0x7f;
  }
  let at = packet.writeUInt16BE(topicBytes, 1 + digits);
  at += packet.write(topic, at);
  packet.set(payload, at);
  return packet;
}
