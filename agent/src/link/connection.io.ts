import type { Duplex } from "node:stream";
import { dial, targetOf } from "@bellwether/protocol/tls/dial.io.ts";
import { connect, type IClientOptions, MqttClient } from "mqtt";
import WebSocket, { createWebSocketStream } from "ws";
import type { Reach } from "./reach.io.ts";

/** How an MQTT connection is opened. */
export interface ConnectionOptions {
  readonly url: string;
  /** For the fleet server: the pinned CA and the proxy. Without it mqtt.js connects by itself. */
  readonly reach?: Reach | undefined;
  readonly clientId?: string;
  readonly username?: string;
  readonly password?: string;
  readonly keepaliveS?: number;
  readonly connectTimeoutMs?: number;
  readonly will?: { readonly topic: string; readonly payload: Uint8Array };
  /** `kept`: it was retained, and came because of a subscription. */
  readonly onMessage: (topic: string, payload: Uint8Array, kept: boolean) => void;
  /** The connection is over, whoever ended it; told once, with the reason. */
  readonly onClosed: (reason: string) => void;
}

/** One MQTT 3.1.1 connection. It is never opened again by itself: whoever opened it decides about the next one. */
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
/** Twice the longest packet: a message may hold parts of two. */
const WEBSOCKET_BYTES_MAX = 131_072;

/** Opens a connection over the network. */
export async function openConnection(options: ConnectionOptions): Promise<Connection> {
  const { url, reach } = options;
  const stream = reach && (await openStream(url, reach, options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS));
  const wanted = clientOptions(options);
  const client = stream ? new MqttClient(() => stream as ReturnType<StreamBuilder>, wanted) : connect(url, wanted);
  return await opened(client, options);
}

type StreamBuilder = ConstructorParameters<typeof MqttClient>[0];

/** The stream that MQTT is spoken over: verified, through the proxy, and over WebSocket where the address says so. */
async function openStream(address: string, reach: Reach, timeoutMs: number): Promise<Duplex> {
  const url = new URL(address);
  const signal = AbortSignal.timeout(timeoutMs);
  const onTimeShown = (ms: number) => reach.onTimeShown(ms);
  const socket = await dial(targetOf(url), reach.transport(), { signal, onTimeShown });
  if (!url.protocol.startsWith("ws")) return socket;
  // TLS is spoken below already.
  const webSocket = new WebSocket(`ws://${url.host}${url.pathname}`, "mqtt", {
    createConnection: () => socket,
    perMessageDeflate: false,
    followRedirects: false,
    maxPayload: WEBSOCKET_BYTES_MAX,
    handshakeTimeout: timeoutMs,
  });
  return createWebSocketStream(webSocket);
}

function clientOptions(options: ConnectionOptions): IClientOptions {
  return {
    ...(options.clientId === undefined ? {} : { clientId: options.clientId }),
    ...(options.username === undefined ? {} : { username: options.username }),
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.will === undefined ? {} : { will: willOf(options.will) }),
    protocolVersion: 4,
    clean: true,
    keepalive: options.keepaliveS ?? KEEPALIVE_S,
    connectTimeout: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    // Its own store would mix old and new messages after a reconnect; our outbox is the queue, our machine reconnects.
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
  };
}

function opened(client: MqttClient, options: ConnectionOptions): Promise<Connection> {
  return new Promise((resolve, reject) => {
    let reason = "the connection was closed";
    let state: "opening" | "open" | "over" = "opening";
    client.on("error", (cause) => {
      reason = cause.message || String(cause);
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
      if (opened) options.onClosed(reason);
      else reject(new Error(reason));
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
