import { createHash, randomBytes } from "node:crypto";
import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { AckMessage, Stream, StreamBatch, StreamRecords } from "@bellwether/protocol/messages/stream.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { keyPairOf, signBytes } from "@bellwether/protocol/trust/keys.ts";
import { enrolmentBytes, loginBytes } from "@bellwether/protocol/trust/login.ts";
import { type IClientOptions, type IClientPublishOptions, type MqttClient, connect as mqttConnect } from "mqtt";
import { onTestFinished } from "vitest";
import type { Answer, Bellwether } from "./bellwether.ts";
import { eventually } from "./eventually.ts";

/** A device that enrolled: its key, and what the server told it. */
export interface EnrolledDevice {
  readonly site: string;
  readonly device: string;
  readonly seed: Uint8Array;
  readonly brokerId: string;
  readonly phase: "active" | "pending";
}

/** Enrols a device with a key of its own; `preapproved: false` leaves it pending. */
export async function enrol(
  server: Bellwether,
  device: string,
  options: { site?: string; preapproved?: boolean } = {},
): Promise<EnrolledDevice> {
  const site = options.site ?? "plant-a";
  const token = await server.call("POST /v1/enrolment-tokens", { site, preapproved: options.preapproved ?? true });
  const seed = createHash("sha256")
    .update(`${device} ${randomBytes(8).toString("hex")}`)
    .digest();
  const publicHex = Buffer.from(keyPairOf(seed).publicKey).toString("hex");
  const request = { token: token.body.secret as string, device, publicHex };
  const answer = await publicCall(server, "POST /v1/enrolment", {
    token: request.token,
    device,
    key: { type: "ed25519", publicHex },
    signatureHex: signBytes(enrolmentBytes(request), seed).toString("hex"),
  });
  if (answer.http !== 201) throw new Error(`enrolment of ${device}: ${JSON.stringify(answer.body)}`);
  return { site, device, seed, brokerId: answer.body.brokerId, phase: answer.body.phase };
}

/** A fresh nonce of the server for a device of this name. */
export async function nonceFor(server: Bellwether, device: string): Promise<string> {
  const answer = await publicCall(server, "POST /v1/device/nonce", { device });
  return answer.body.nonce;
}

/** A request without a token. */
function publicCall(server: Bellwether, target: string, body: object): Promise<Answer> {
  return server.call(target, body, { token: null });
}

/** The signature over a nonce, as hex; every part may be changed to something wrong. */
export function answerTo(device: EnrolledDevice, nonce: string, change: Partial<EnrolledDevice> = {}): string {
  const signer = { ...device, ...change };
  return signBytes(loginBytes(signer.brokerId, signer.device, nonce), signer.seed).toString("hex");
}

/** User name and password of one login. */
export async function credentials(server: Bellwether, device: EnrolledDevice) {
  const nonce = await nonceFor(server, device.device);
  return { username: `${device.site}/${device.device}`, password: `${nonce}.${answerTo(device, nonce)}` };
}

/** A device's token for metadata and blobs over HTTP; the whole answer, so that refusals can be looked at. */
export async function deviceLogin(server: Bellwether, device: EnrolledDevice) {
  const nonce = await nonceFor(server, device.device);
  return await server.call(
    "POST /v1/device/login",
    { device: device.device, nonce, signatureHex: answerTo(device, nonce) },
    { token: null },
  );
}

/** One MQTT connection and everything it received. */
export interface Connection {
  readonly mqtt: MqttClient;
  readonly messages: { readonly topic: string; readonly text: string; readonly retain: boolean }[];
  connected(): boolean;
  /** Resolves when the broker has taken the packet; rejects when it closed the connection instead. */
  publish(topic: string, payload: string | Uint8Array, options?: IClientPublishOptions): Promise<void>;
  /** The granted QoS; 128 is a refusal. */
  subscribe(filter: string): Promise<number>;
  end(): Promise<void>;
}

/** Opens a connection without any reconnecting; rejects with the broker's refusal. */
export async function connectMqtt(server: Bellwether, options: IClientOptions): Promise<Connection> {
  const mqtt = mqttConnect(server.mqttUrl, { reconnectPeriod: 0, connectTimeout: 10_000, keepalive: 0, ...options });
  onTestFinished(() => void mqtt.end(true));
  const messages: Connection["messages"][number][] = [];
  mqtt.on("message", (topic, payload, packet) => {
    messages.push({ topic, text: payload.toString("utf8"), retain: packet.retain });
  });
  await new Promise<void>((done, fail) => {
    mqtt.once("connect", () => done());
    mqtt.once("error", fail);
    mqtt.once("close", () => fail(new Error("closed before it was connected")));
  });
  mqtt.on("error", () => undefined);
  mqtt.setMaxListeners(1_000);
  const orClosed = async <T>(what: Promise<T>): Promise<T> => {
    let onClose = () => {};
    const closed = new Promise<never>((_, fail) => {
      onClose = () => fail(new Error("the broker closed the connection"));
      mqtt.once("close", onClose);
    });
    return await Promise.race([what, closed]).finally(() => mqtt.off("close", onClose));
  };
  return {
    mqtt,
    messages,
    connected: () => mqtt.connected,
    publish: async (topic, payload, more = { qos: 1 }) => {
      await orClosed(mqtt.publishAsync(topic, typeof payload === "string" ? payload : Buffer.from(payload), more));
    },
    subscribe: async (filter) => {
      const granted = await orClosed(
        new Promise<number>((done, fail) =>
          mqtt.subscribe(filter, { qos: 0 }, (error, _granted, packet) => {
            const [code] = (packet?.granted ?? []) as number[];
            if (code !== undefined) done(code);
            else fail(error ?? new Error("no SUBACK"));
          }),
        ),
      );
      return granted;
    },
    end: async () => await mqtt.endAsync(true),
  };
}

/** A connected device: numbers its records, and sees what is acknowledged. */
export interface ConnectedDevice extends Connection {
  readonly session: number;
  readonly epoch: string;
  readonly acks: readonly AckMessage[];
  /** Sends the state message: a heartbeat, or the first word of a session. */
  state(change?: Record<string, unknown>): Promise<void>;
  /** Numbers and sends records as one batch; answers the last seq. */
  send<S extends Stream>(stream: S, records: StreamRecords[S][], options?: { hist?: boolean }): Promise<number>;
  /** Resolves when the server has acknowledged the stream up to `seq`. */
  acknowledged(stream: Stream, seq: number, limitMs?: number): Promise<void>;
}

/** Logs in and connects as an agent does: will, own `down` topics, state. */
export async function connectDevice(
  server: Bellwether,
  device: EnrolledDevice,
  options: { session?: number; heartbeatMs?: number; mqtt?: IClientOptions; quiet?: boolean } = {},
): Promise<ConnectedDevice> {
  const { session = 1, heartbeatMs = 60_000 } = options;
  const topics = deviceTopic(device.site, device.device);
  const will = { topic: topics.up("state"), payload: Buffer.from(JSON.stringify({ v: 1, session, online: false })) };
  const connection = await connectMqtt(server, {
    ...(await credentials(server, device)),
    clientId: device.device,
    will: { ...will, qos: 1, retain: true },
    ...options.mqtt,
  });
  const acks = (): AckMessage[] =>
    connection.messages.filter(({ topic }) => topic.endsWith("/down/ack")).map(({ text }) => JSON.parse(text));
  const epoch = randomBytes(8).toString("hex");
  const next = new Map<Stream, number>();
  const state = (change: Record<string, unknown> = {}) => {
    const message = { v: 1, session, online: true, atMs: Date.now(), heartbeatMs, ...change };
    return connection.publish(topics.up("state"), JSON.stringify(message), { qos: 1, retain: true });
  };
  for (const filter of topics.downFilters) await connection.subscribe(filter);
  if (!options.quiet) await state();
  return {
    ...connection,
    session,
    epoch,
    get acks() {
      return acks();
    },
    state,
    async send(stream, records, { hist = false } = {}) {
      const fromSeq = next.get(stream) ?? 1;
      next.set(stream, fromSeq + records.length);
      const clock = { bootId: "boot-1", monoMs: 1_000, wallMs: Date.now(), clockSynced: true };
      const batch = { v: 1, epoch, stream, fromSeq, records, hist, clock } as StreamBatch;
      await connection.publish(topics.up(stream), encodeBatch(batch));
      return fromSeq + records.length - 1;
    },
    async acknowledged(stream, seq, limitMs = 10_000) {
      await eventually(
        `ack of ${stream} up to ${seq}`,
        () => acks().some((ack) => (ack.streams[stream]?.upTo ?? 0) >= seq),
        limitMs,
        10,
      );
    },
  };
}

/** Telemetry rows of one asset, one a second. */
export function rowsOf(asset: string, count: number, fromMs = Date.UTC(2026, 0, 1), value = 1) {
  return Array.from({ length: count }, (_, index) => ({
    asset,
    observedAtMs: fromMs + index * 1_000,
    values: { vib: value + index },
  }));
}

/** Makes a subscriber account; answers its login. */
export async function subscriber(server: Bellwether, account: string, sites = ["plant-a"]) {
  const made = await server.call("POST /v1/subscribers", { account, sites });
  if (made.http !== 201) throw new Error(JSON.stringify(made.body));
  return { username: account, password: made.body.secret as string };
}
