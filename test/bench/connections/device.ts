import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { connect } from "node:net";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { publicHexOf } from "@bellwether/protocol/trust/keys.ts";
import { enrolmentBytes, loginBytes } from "@bellwether/protocol/trust/login.ts";
import { BACKOFF, type LinkEffect, type LinkEvent, OFFLINE, stepLink } from "../../../agent/src/link/machine.ts";
import { type MqttConnection, openMqtt, publishPacket } from "../ingest/mqtt.ts";

/** The agent's own limits: for the nonce, for a session to open, for the server's word on what it has. */
const TIMEOUT_MS = 10_000;
const KEEPALIVE_S = 30;
/** How often an agent with its default configuration says that it is there. */
export const HEARTBEAT_MS = 10_000;
const ROWS_A_BATCH = 10;

/** Where the devices' server listens. */
export interface Target {
  readonly httpPort: number;
  readonly mqttPort: number;
}

/** What all devices met together. */
export interface FleetCounts {
  /** Attempts that ran into one of the agent's time limits, and those the server refused or cut. */
  timeouts: number;
  refused: number;
}

/**
 * A device as its server sees one: its key, its login, its session, its heartbeats and batches, and the agent's own link
 * machine with its own jitter. What is behind that in an agent is left out: ten thousand share a process.
 */
export class BenchDevice {
  readonly name: string;
  /** The newest director document, as it came. */
  document: Buffer | undefined;
  readonly #site: string;
  readonly #address: string;
  readonly #key: KeyObject;
  readonly #publicHex: string;
  readonly #epoch: string;
  readonly #counts: FleetCounts;
  #target: Target;
  #brokerId = "";
  #state = OFFLINE;
  #attempt = 0;
  #session = 0;
  #nextSeq = 1;
  #connection: MqttConnection | undefined;
  #retry: NodeJS.Timeout | undefined;
  #late: NodeJS.Timeout | undefined;

  constructor(number: number, site: string, target: Target, counts: FleetCounts) {
    this.name = `gw-${number}`;
    this.#site = site;
    // An address each, as devices have: a server bounds what one address may ask.
    this.#address = `127.${1 + (number >> 16)}.${(number >> 8) & 0xff}.${number & 0xff}`;
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    this.#key = privateKey;
    this.#publicHex = publicHexOf(publicKey) as string;
    this.#epoch = createHash("sha256").update(this.name).digest("hex").slice(0, 16);
    this.#target = target;
    this.#counts = counts;
  }

  get isOnline(): boolean {
    return this.#state.phase === "online";
  }

  /** Number of the session that is open; undefined while none is. */
  get session(): number | undefined {
    return this.isOnline ? this.#session : undefined;
  }

  async enrol(token: string): Promise<void> {
    const request = { token, device: this.name, publicHex: this.#publicHex };
    const { brokerId } = await this.#ask<{ brokerId: string }>("/v1/enrolment", {
      token,
      device: this.name,
      key: { type: "ed25519", publicHex: this.#publicHex },
      signatureHex: sign(null, enrolmentBytes(request), this.#key).toString("hex"),
    });
    this.#brokerId = brokerId;
  }

  start(target: Target): void {
    this.#target = target;
    this.#happened("start");
  }

  stop(): void {
    this.#happened("stop");
  }

  /** The line breaks. */
  cut(): void {
    this.#connection?.close();
  }

  /** What an agent says in the time of a heartbeat: that it is there, and a row a second. */
  speak(): void {
    if (!this.isOnline) return;
    const topics = deviceTopic(this.#site, this.name);
    this.#connection?.publish(topics.up("state"), bytesOf(this.#stateMessage()));
    const nowMs = Date.now();
    const values = Array.from({ length: ROWS_A_BATCH }, (_, row) => 20 + ((this.#nextSeq + row) % 7) / 10);
    const batch = {
      v: 1,
      epoch: this.#epoch,
      fromSeq: this.#nextSeq,
      hist: false,
      clock: { bootId: "b", monoMs: Math.round(performance.now()), wallMs: nowMs, clockSynced: true },
      groups: [
        {
          asset: `${this.name}-pump`,
          t0: nowMs - 1_000 * ROWS_A_BATCH,
          dt: Array(ROWS_A_BATCH - 1).fill(1_000),
          channels: [{ channel: "vibration", values }],
        },
      ],
    };
    this.#nextSeq += ROWS_A_BATCH;
    this.#connection?.write(publishPacket(topics.up("telemetry"), bytesOf(batch), 1 + (this.#nextSeq % 60_000)));
  }

  #stateMessage() {
    return { v: 1, session: this.#session, online: true, atMs: Date.now(), heartbeatMs: HEARTBEAT_MS };
  }

  #happened(event: LinkEvent, askedMs = 0): void {
    const input = { nowMs: performance.now(), random: Math.random(), timing: BACKOFF, askedMs };
    const { state, effects } = stepLink(this.#state, event, input);
    this.#state = state;
    for (const effect of effects) this.#run(effect);
  }

  #run(effect: LinkEffect): void {
    if (effect.do === "connect") void this.#connect(++this.#attempt);
    else if (effect.do === "openSession") this.#openSession();
    else if (effect.do === "drop" || effect.do === "leave") this.#drop();
    else if (effect.do === "retryIn") this.#retry = setTimeout(() => this.#happened("due"), effect.delayMs);
    else if (effect.do === "cancelRetry") clearTimeout(this.#retry);
  }

  #drop(): void {
    this.#attempt++;
    clearTimeout(this.#late);
    this.#connection?.close();
    this.#connection = undefined;
  }

  async #connect(attempt: number): Promise<void> {
    this.#session++;
    try {
      const username = `${this.#site}/${this.name}`;
      const { nonce } = await this.#ask<{ nonce: string }>("/v1/device/nonce", { device: this.name });
      const signature = sign(null, loginBytes(this.#brokerId, this.name, nonce), this.#key).toString("hex");
      if (attempt !== this.#attempt) return;
      const opening = this.#open(username, `${nonce}.${signature}`, attempt);
      opening.then(
        (late) => attempt !== this.#attempt && late.close(),
        () => undefined,
      );
      this.#connection = await this.#inTime(opening);
      if (attempt !== this.#attempt) return;
      this.#happened("connected");
    } catch (cause) {
      if (attempt !== this.#attempt) return;
      this.#counts.refused++;
      this.#happened("lost", (cause as { askedMs?: number }).askedMs);
    }
  }

  #open(username: string, password: string, attempt: number): Promise<MqttConnection> {
    const topics = deviceTopic(this.#site, this.name);
    const will = { topic: topics.up("state"), payload: `{"v":1,"session":${this.#session},"online":false}` };
    const login = {
      clientId: this.name,
      username,
      password,
      keepaliveS: KEEPALIVE_S,
      will,
      localAddress: this.#address,
    };
    return openMqtt(this.#target.mqttPort, login, topics.downFilters, {
      message: (topic, payload) => this.#hear(topic, payload),
      closed: () => {
        // Before it was open, whoever waits for it hears of it.
        if (attempt === this.#attempt && this.#connection !== undefined) this.#happened("lost");
      },
    });
  }

  #openSession(): void {
    const streams = [{ stream: "telemetry", firstHeld: 1, next: this.#nextSeq }];
    const state = { ...this.#stateMessage(), epoch: this.#epoch, streams };
    this.#connection?.publish(deviceTopic(this.#site, this.name).up("state"), bytesOf(state));
    this.#late = setTimeout(() => {
      this.#counts.timeouts++;
      this.#happened("stuck");
    }, TIMEOUT_MS);
  }

  #hear(topic: string, payload: Buffer): void {
    if (topic.endsWith("/down/desired")) this.document = Buffer.from(payload);
    if (this.#state.phase !== "syncing" || !topic.endsWith("/down/ack")) return;
    clearTimeout(this.#late);
    this.#happened("synced");
  }

  /** Posts JSON over a connection of its own, as an agent does. */
  #ask<T>(path: string, body: object): Promise<T> {
    const text = JSON.stringify(body);
    const { httpPort } = this.#target;
    const asked = new Promise<T>((resolve, reject) => {
      const socket = connect({ port: httpPort, host: "127.0.0.1", localAddress: this.#address }, () =>
        socket.write(
          `POST ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n` +
            `content-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
        ),
      );
      let answer = "";
      socket.setEncoding("utf8");
      socket.on("data", (part) => {
        answer += part;
      });
      socket.on("error", reject);
      socket.on("close", () => {
        const [head = "", json = ""] = answer.split("\r\n\r\n");
        if (/^HTTP\/1.1 20/.test(head)) resolve(JSON.parse(json) as T);
        else {
          const askedMs = 1_000 * Number(/^retry-after: (\d+)$/im.exec(head)?.[1] ?? 0);
          reject(Object.assign(new Error(`${path}: ${head.split("\r\n")[0]} ${json}`), { askedMs }));
        }
      });
    });
    return this.#inTime(asked);
  }

  async #inTime<T>(done: Promise<T>): Promise<T> {
    let late: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      late = setTimeout(() => {
        this.#counts.timeouts++;
        reject(new Error(`not within ${TIMEOUT_MS} ms`));
      }, TIMEOUT_MS);
    });
    return await Promise.race([done, limit]).finally(() => clearTimeout(late));
  }
}

function bytesOf(message: object): Buffer {
  return Buffer.from(JSON.stringify(message));
}
