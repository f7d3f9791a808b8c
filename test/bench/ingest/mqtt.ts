/**
 * As little MQTT 3.1.1 as a load needs: the same bytes go to every broker that is measured, at a cost far below theirs.
 */
import { connect, type Socket } from "node:net";

export interface Login {
  readonly clientId: string;
  readonly username?: string;
  readonly password?: string;
  /** Seconds; without it the broker waits for ever. */
  readonly keepaliveS?: number;
  /** At QoS 1, retained. */
  readonly will?: { readonly topic: string; readonly payload: string };
  /** Where the connection comes from; the whole of 127/8 is this machine. */
  readonly localAddress?: string;
}

/** What a connection is told. */
export interface Heard {
  /** The broker confirmed this many publishes of QoS 1. */
  confirmed?(count: number): void;
  /** A message arrived; `confirm` sends the PUBACK it wants. */
  message?(topic: string, payload: Buffer, confirm: () => void): void;
  closed?(): void;
}

export interface MqttConnection {
  publish(topic: string, payload: Buffer): void;
  /** Sends the bytes of whole packets. */
  write(packets: Buffer): void;
  /** Reads nothing more. */
  pause(): void;
  close(): void;
}

const CONNACK = 2;
const PUBLISH = 3;
const PUBACK = 4;
const SUBACK = 9;

/** Connects, subscribes where `filters` are given (QoS 1), and resolves when both were confirmed. */
export function openMqtt(
  port: number,
  login: Login,
  filters: readonly string[],
  heard: Heard,
): Promise<MqttConnection> {
  return new Promise((resolve, reject) => {
    const { localAddress } = login;
    const to = { port, host: "127.0.0.1", ...(localAddress === undefined ? {} : { localAddress }) };
    const socket = connect(to, () => socket.write(connectPacket(login)));
    socket.setNoDelay(true);
    let packetId = 0;
    const connection: MqttConnection = {
      publish(topic, payload) {
        packetId = (packetId % 65_535) + 1;
        socket.write(publishPacket(topic, payload, packetId));
      },
      write: (packets) => void socket.write(packets),
      pause: () => void socket.pause(),
      close: () => socket.destroy(),
    };
    read(
      socket,
      (type, first, body) => {
        if (type === PUBLISH) hear(socket, first, body, heard);
        else if (type === CONNACK && body[1] !== 0) reject(new Error(`${login.clientId} was refused: ${body[1]}`));
        else if (type === CONNACK && filters.length > 0) socket.write(subscribePacket(filters));
        else if (type === CONNACK || type === SUBACK) resolve(connection);
      },
      (count) => heard.confirmed?.(count),
    );
    socket.on("error", reject);
    socket.on("close", () => {
      reject(new Error(`${login.clientId}: the broker closed the connection`));
      heard.closed?.();
    });
  });
}

function hear(socket: Socket, first: number, body: Buffer, heard: Heard): void {
  const topicEnd = 2 + body.readUInt16BE(0);
  const qos = (first >> 1) & 3;
  const from = qos === 0 ? topicEnd : topicEnd + 2;
  const confirm = () => {
    if (qos === 1) socket.write(Buffer.from([PUBACK << 4, 2, body[topicEnd]!, body[topicEnd + 1]!]));
  };
  heard.message?.(body.toString("latin1", 2, topicEnd), body.subarray(from), confirm);
}

function read(
  socket: Socket,
  packet: (type: number, first: number, body: Buffer) => void,
  confirmed: (count: number) => void,
): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (data) => {
    const buffer = rest.length === 0 ? data : Buffer.concat([rest, data]);
    let at = 0;
    let pubacks = 0;
    for (;;) {
      // Most of what a broker says: four bytes that need no object of their own.
      for (; buffer[at] === PUBACK << 4 && at + 4 <= buffer.length; at += 4) pubacks++;
      const header = headerOf(buffer, at);
      if (header === undefined || buffer.length < header.at + header.length) break;
      const first = buffer[at]!;
      at = header.at + header.length;
      packet(first >> 4, first, buffer.subarray(header.at, at));
    }
    rest = buffer.subarray(at);
    if (pubacks > 0) confirmed(pubacks);
  });
}

function headerOf(buffer: Buffer, from: number): { length: number; at: number } | undefined {
  let length = 0;
  for (let i = 1; from + i < buffer.length && i < 5; i++) {
    length += (buffer[from + i]! & 0x7f) * 128 ** (i - 1);
    if (buffer[from + i]! < 128) return { length, at: from + i + 1 };
  }
  return undefined;
}

function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

/** A packet of these parts, its length before them. */
export function packetOf(first: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  for (let left = body.length; ; ) {
    const low = left % 128;
    left = Math.floor(left / 128);
    length.push(left > 0 ? low | 0x80 : low);
    if (left === 0) break;
  }
  return Buffer.concat([Buffer.from([first, ...length]), body]);
}

/** A CONNECT of a clean session. */
export function connectPacket({ clientId, username, password, keepaliveS = 0, will }: Login): Buffer {
  const flags =
    2 | (username === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40) | (will === undefined ? 0 : 0x2c);
  const parts = [clientId, will?.topic, will?.payload, username, password];
  const payload = parts.filter((part) => part !== undefined).map((part) => text(part));
  const head = Buffer.from([4, flags, keepaliveS >> 8, keepaliveS & 0xff]);
  return packetOf(0x10, text("MQTT"), head, ...payload);
}

/** A SUBSCRIBE at QoS 1. */
export function subscribePacket(filters: readonly string[]): Buffer {
  const wanted = filters.map((filter) => Buffer.concat([text(filter), Buffer.from([1])]));
  return packetOf(0x82, Buffer.from([0, 1]), ...wanted);
}

/** A PUBLISH of QoS 1. */
export function publishPacket(topic: string, payload: Buffer, packetId: number): Buffer {
  return packetOf(0x32, text(topic), Buffer.from([packetId >> 8, packetId & 0xff]), payload);
}
