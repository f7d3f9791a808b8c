import type { Stream } from "@bellwether/protocol/messages/stream.ts";
import type { Client } from "aedes";
import mqttPacket from "mqtt-packet";
import type { BrokerLimits } from "./limits.ts";
import type { FoundPackets, PublishReader } from "./publishes.ts";
import { takeReads } from "./shared-reads.io.ts";

/** Bytes of packets that are not whole yet. */
interface PacketBytes {
  readonly length: number;
}

/** The parts of aedes' client that are not in its types: pinned at 1.2.0 and held by the broker's tests. */
interface ClientInside {
  readonly _parser: {
    packet: { length: number };
    _list: PacketBytes;
    readonly _stateCounter: number;
    settings: { readonly protocolVersion?: number | undefined };
    parse(bytes: Buffer): number;
    _parseLength(): boolean;
    _emitError(error: Error): void;
  };
  readonly will: { payload: Buffer } | null;
  readonly _authorized: boolean;
  readonly connackSent: boolean;
  readonly _keepaliveTimer: NodeJS.Timeout | null;
  readonly _paused?: boolean;
  _parsingBatch: number;
  readonly _nextBatch: () => void;
  waitForDrain(drained: () => void): void;
  closed: boolean;
  pause(): void;
  resume(): void;
}

// A buffer ready for each of 65,536 packet numbers, which would take 13 MB and is made at the first packet.
(mqttPacket.writeToStream as object as { cacheNumbers: boolean }).cacheNumbers = false;

function insideOf(client: Client): ClientInside {
  return client as object as ClientInside;
}

/**
 * Refuses a packet by the length its header announces, before a byte of its body is kept: aedes itself has no limit,
 * and four sockets without a login could fill the memory.
 */
export function guardPackets(client: Client, limits: BrokerLimits, onOversized: () => void): void {
  const inside = insideOf(client);
  const parser = inside._parser;
  const parseLength = parser._parseLength.bind(parser);
  parser._parseLength = () => {
    if (!parseLength()) return false;
    const limit = inside._authorized ? limits.packetBytes : limits.packetBytesBeforeLogin;
    if (parser.packet.length <= limit) return true;
    onOversized();
    parser._emitError(new Error(`a packet of ${parser.packet.length} bytes, more than ${limit}`));
    return false;
  };
}

/**
 * Keeps the bytes of a new client's packets in a plain list: the library's is a stream of two directions as well, whose states are a tenth
 * of what a connection takes.
 */
export function keepBytesPlainly(client: Client): void {
  const { _parser } = insideOf(client);
  const { BufferList } = _parser._list.constructor as { readonly BufferList?: new () => PacketBytes };
  if (BufferList !== undefined) _parser._list = new BufferList();
}

/** Lets go of what a client said to log in: aedes would keep it, and the bytes it lies in, for as long as it is connected. */
export function forgetLogin(client: Client): void {
  const { _parser, will } = insideOf(client);
  _parser.settings = { protocolVersion: _parser.settings.protocolVersion };
  if (!will) return;
  const payload = Buffer.allocUnsafeSlow(will.payload.length);
  payload.set(will.payload);
  will.payload = payload;
}

/** Whether the client's login was accepted. */
export function isLoggedIn(client: Client): boolean {
  return insideOf(client)._authorized;
}

const PUBACK = [0x40, 2] as const;

/** Of each device's connection the numbers of the packets that were taken and not confirmed yet, in their order. */
const unconfirmed = new WeakMap<Client, number[]>();

/**
 * Has a device's durable messages taken before aedes sees them: its way of a message through routing and persistence that
 * nothing of them may reach is most of what a message costs. They are confirmed together with what is written to the client
 * next, or by {@link confirm}. Everything else goes aedes' own way, in its order among them.
 */
export function readPublishes(
  client: Client,
  reader: PublishReader,
  take: (stream: Stream, payload: Uint8Array) => void,
): void {
  const inside = insideOf(client);
  const parser = inside._parser;
  const parse = parser.parse.bind(parser);
  const packetIds: number[] = [];
  unconfirmed.set(client, packetIds);
  let hasTaken = false;
  const found: FoundPackets = {
    publish(stream, payload, packetId) {
      hasTaken = true;
      packetIds.push(packetId);
      take(stream, payload);
    },
    other(bytes) {
      // MQTT-4.6.0-2: aedes may confirm this one, and those before it come first.
      confirm(client);
      // A copy: aedes may look at a packet long after, and the memory of reads is written over.
      parse(Buffer.from(bytes));
      return !inside.closed && !client.conn.destroyed;
    },
  };
  // Until the login is answered, and where it has begun a packet before, aedes reads by itself.
  const isReader = () => inside.connackSent && parser._stateCounter === 0 && parser._list.length === 0;
  const read = (chunk: Buffer) => {
    hasTaken = false;
    reader.read(chunk, found);
    if (hasTaken) inside._keepaliveTimer?.refresh();
  };
  parser.parse = (chunk) => {
    if (!isReader()) return parse(chunk);
    read(chunk);
    return 0;
  };
  takeReads(client.conn, (chunk) => {
    // As the stream: nothing is read of a client that is held back, or before what it asked for last was done.
    if (inside._paused || inside._parsingBatch > 0 || inside.closed || !isReader()) return false;
    read(chunk);
    return true;
  });
}

/** Confirms what was taken of a device, in one write, unless something else that was written to it has. */
export function confirm(client: Client): void {
  const bytes = confirmations(client);
  if (bytes === undefined) return;
  const inside = insideOf(client);
  if (inside.closed || client.conn.destroyed || client.conn.write(bytes)) return;
  // As aedes does it: a client is read on when it has taken what it was told, and dropped when it does not.
  inside._parsingBatch++;
  inside.waitForDrain(inside._nextBatch);
}

/** The PUBACKs of what is not confirmed yet (MQTT-3.4), which are confirmed with it; undefined where there is nothing. */
function confirmations(client: Client): Buffer | undefined {
  const packetIds = unconfirmed.get(client);
  if (packetIds === undefined || packetIds.length === 0) return undefined;
  const bytes = Buffer.allocUnsafe(4 * packetIds.length);
  for (let index = 0, at = 0; index < packetIds.length; index++) {
    const id = packetIds[index] as number;
    bytes[at++] = PUBACK[0];
    bytes[at++] = PUBACK[1];
    bytes[at++] = id >> 8;
    bytes[at++] = id & 0xff;
  }
  packetIds.length = 0;
  return bytes;
}

/** Writes whole packets; `taken` is called when the socket has them, or never will. False where it is full. */
export function writeTo(client: Client, bytes: Uint8Array, taken: () => void): boolean {
  if (!insideOf(client).closed && !client.conn.destroyed) {
    const before = confirmations(client);
    return client.conn.write(before === undefined ? bytes : Buffer.concat([before, bytes]), taken);
  }
  setImmediate(taken);
  return true;
}

/** Has a client dropped that takes nothing of what waits for it for the time of the broker's `drainTimeout`. */
export function dropWhenStill(client: Client): void {
  insideOf(client).waitForDrain(() => undefined);
}

/** Stops reading a client: TCP makes it wait. */
export function pauseReading(client: Client): void {
  insideOf(client).pause();
}

export function resumeReading(client: Client): void {
  const inside = insideOf(client);
  if (inside.closed) return;
  // Packets that ended while it was paused were not counted down: without this the socket would never be read again.
  inside._parsingBatch = 1;
  inside.resume();
}

/** A client that is not read cannot show that it lives: its keepalive begins anew. */
export function keepAlive(client: Client): void {
  insideOf(client)._keepaliveTimer?.refresh();
}
