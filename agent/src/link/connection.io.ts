import type { Duplex } from "node:stream";
import { dial, targetOf } from "@bellwether/protocol/tls/dial.io.ts";
import { type IClientOptions, MqttClient } from "mqtt";
import WebSocket, { createWebSocketStream } from "ws";
import { createPacketGuard, PACKET_BYTES_MAX } from "./packet-guard.ts";
import type { Reach } from "./reach.io.ts";

/** How an MQTT connection is opened. */
export interface ConnectionOptions {
  readonly url: string;
  /** For the fleet server: the pinned CA and the proxy. Without it the system's CAs count. */
  readonly reach?: Reach | undefined;
  readonly clientId?: string;
  readonly username?: string;
  readonly password?: string;
  readonly keepaliveS?: number;
  readonly connectTimeoutMs?: number;
  readonly will?: { readonly topic: string; readonly payload: Uint8Array };
  /** `kept`: it was retained, and came because of a subscription. */
  readonly onMessage: (topic: string, payload: Uint8Array, kept: boolean) => void;
  /** The connection is over, whoever ended it; told once, with the reason. `unfit`: what the broker sent is not taken. */
  readonly onClosed: (reason: string, unfit?: boolean) => void;
}

/** One MQTT connection. It is never opened again by itself: whoever opened it decides about the next one. */
export interface Connection {
  /** Resolves when the broker granted every filter; rejects with a sentence otherwise. */
  subscribe(filters: readonly string[]): Promise<void>;
  /** QoS 1: resolves when the broker has it. Rejects when the connection ends before. */
  publish(topic: string, payload: Uint8Array, retain?: boolean): Promise<void>;
  /** Ends the connection: politely (the last will is not sent), or at once. */
  end(politely: boolean): Promise<void>;
}

/** Opens a connection; rejects with a sentence when the broker cannot be reached or refuses, and its problem where it has one. */
export type OpenConnection = (options: ConnectionOptions) => Promise<Connection>;

const KEEPALIVE_S = 30;
const CONNECT_TIMEOUT_MS = 10_000;
/** A message may hold parts of two packets. */
const WEBSOCKET_BYTES_MAX = 2 * PACKET_BYTES_MAX;

/** The broker was reached and would not have the session: with the code of its CONNACK, where it sent one. */
class SessionRefused extends Error {
  readonly code: number | undefined;
  constructor(reason: string, code: number | undefined) {
    super(reason);
    this.code = code;
  }
}

/** Opens a connection at MQTT 3.1.1, which the fleet server speaks. */
export async function openConnection(options: ConnectionOptions): Promise<Connection> {
  return await openAt(4, options);
}

/**
 * Opens a connection at MQTT 5 where the broker speaks it: such a broker keeps packets that are too long to itself. At
 * 3.1.1 otherwise, where one that comes ends the connection.
 */
export async function openNewestConnection(options: ConnectionOptions): Promise<Connection> {
  try {
    return await openAt(5, options);
  } catch (cause) {
    if (!(cause instanceof SessionRefused) || speaks5(cause)) throw cause;
    return await openAt(4, options);
  }
}

/** Refused with a code of MQTT 5 (from 128 on), other than 132: "unsupported protocol version". */
function speaks5({ code }: SessionRefused): boolean {
  return code !== undefined && code >= 128 && code !== 132;
}

async function openAt(version: 4 | 5, options: ConnectionOptions): Promise<Connection> {
  const stream = await openStream(options);
  return await opened(stream, clientOptions(version, options), options);
}

type MqttStream = ReturnType<ConstructorParameters<typeof MqttClient>[0]>;

/** The stream that MQTT is spoken over: verified, through the proxy, and over WebSocket where the address says so. */
async function openStream({ url: address, reach, connectTimeoutMs }: ConnectionOptions): Promise<Duplex> {
  const url = new URL(address);
  const timeoutMs = connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
  const signal = AbortSignal.timeout(timeoutMs);
  const onTimeShown = (ms: number) => reach?.onTimeShown(ms);
  const socket = await dial(targetOf(url), reach?.transport() ?? {}, { signal, onTimeShown });
  if (!url.protocol.startsWith("ws")) return socket;
  // TLS is spoken below already.
  const webSocket = new WebSocket(`ws://${url.host}${url.pathname}${url.search}`, "mqtt", {
    createConnection: () => socket,
    perMessageDeflate: false,
    followRedirects: false,
    maxPayload: WEBSOCKET_BYTES_MAX,
    handshakeTimeout: timeoutMs,
  });
  return createWebSocketStream(webSocket);
}

function clientOptions(version: 4 | 5, options: ConnectionOptions): IClientOptions {
  return {
    ...(options.clientId === undefined ? {} : { clientId: options.clientId }),
    ...(options.username === undefined ? {} : { username: options.username }),
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.will === undefined ? {} : { will: willOf(options.will) }),
    protocolVersion: version,
    ...(version === 5 ? { properties: { maximumPacketSize: PACKET_BYTES_MAX } } : {}),
    clean: true,
    keepalive: options.keepaliveS ?? KEEPALIVE_S,
    connectTimeout: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    // Its own store would mix old and new messages after a reconnect; our outbox is the queue, our machine reconnects.
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    // A buffer for each of 65,536 packet numbers would take 13 MB of the device.
    writeCache: false,
  };
}

function opened(stream: Duplex, wanted: IClientOptions, options: ConnectionOptions): Promise<Connection> {
  return new Promise((resolve, reject) => {
    let reason = "the connection was closed";
    let code: number | undefined;
    let unfit = false;
    let state: "opening" | "open" | "over" = "opening";
    const client = new MqttClient(() => {
      const guard = createPacketGuard(PACKET_BYTES_MAX);
      // Before the client's own pipe, so that it has no more than the first chunk of what is not taken.
      stream.on("data", (chunk: Uint8Array) => {
        const fault = unfit ? undefined : guard(chunk);
        if (fault === undefined) return;
        unfit = true;
        reason = fault;
        stream.destroy();
      });
      return stream as MqttStream;
    }, wanted);
    client.on("error", (cause) => {
      if (unfit) return;
      reason = cause.message || String(cause);
      const { code: said } = cause as { code?: unknown };
      if (typeof said === "number") code = said;
      unfit = said === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH";
      // After a refusal or a failed dial mqtt.js may emit no close.
      if (state === "opening") over();
    });
    client.on("close", () => over());
    client.on("message", (topic, payload, { retain }) => options.onMessage(topic, payload, retain));
    client.on("connect", () => {
      state = "open";
      resolve(connectionOf(client));
    });
    function over(): void {
      if (state === "over") return;
      const opened = state === "open";
      state = "over";
      client.end(true);
      if (opened) options.onClosed(reason, unfit);
      else reject(new SessionRefused(reason, code));
    }
  });
}

function willOf({ topic, payload }: NonNullable<ConnectionOptions["will"]>) {
  return { topic, payload: Buffer.from(payload), qos: 1 as const, retain: true };
}

function connectionOf(client: MqttClient): Connection {
  return {
    async subscribe(filters) {
      const granted = await client.subscribeAsync([...filters], { qos: 1 });
      // MQTT-3.9.3: 128 in the SUBACK is a refusal; some client versions report it here, some throw.
      const refused = granted.filter(({ qos }) => qos > 2).map(({ topic }) => topic);
      if (refused.length > 0) throw new Error(`the broker refused the subscription to ${refused.join(", ")}`);
    },
    async publish(topic, payload, retain = false) {
      const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
      await client.publishAsync(topic, bytes, { qos: 1, retain });
    },
    async end(politely) {
      await client.endAsync(!politely);
    },
  };
}
