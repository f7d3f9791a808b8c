import { createHash, randomBytes } from "node:crypto";
import { ok, unwrap } from "@bellwether/protocol/result.ts";
import { keyPairOf, signBytes } from "@bellwether/protocol/trust/keys.ts";
import { loginBytes } from "@bellwether/protocol/trust/login.ts";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import type { Outbox, OutboxOptions } from "../../agent/src/buffer/outbox.ts";
import { createLink } from "../../agent/src/link/link.io.ts";
import type { Link, LinkOptions } from "../../agent/src/link/ports.ts";
import { type Broker, startBroker } from "../../fleet-server/src/broker/broker.io.ts";
import { createDeviceLogin, type DeviceLogin } from "../../fleet-server/src/broker/login.io.ts";
import { createIngest } from "../../fleet-server/src/ingest/ingest.io.ts";
import type { Store } from "../../fleet-server/src/store/store.ts";
import { outboxOptions } from "./outbox.ts";
import { portOf } from "./outbox-port.ts";

export const SITE = "plant-a";

/** The server's network side over a store: real broker, real ingest, logins without HTTP. */
export interface LinkServer {
  readonly port: number;
  readonly broker: Broker;
  readonly login: DeviceLogin;
  readonly trouble: string[];
  /** Acknowledgements and documents the server tried to send. */
  readonly sent: { readonly topic: string; readonly text: string }[];
  /** While true, nothing the server says reaches a device. */
  mute: boolean;
  close(): Promise<void>;
}

/** Starts it; `onListening` is called when a device can be told things. */
export async function startLinkServer(
  store: Pick<Store, "devices" | "ingest">,
  options: {
    port?: number;
    secret?: Uint8Array;
    onListening?: (device: string, site: string, broker: Broker) => void;
  } = {},
): Promise<LinkServer> {
  const trouble: string[] = [];
  const sent: { topic: string; text: string }[] = [];
  const report = (what: string, detail: unknown) => void trouble.push(`${what}: ${JSON.stringify(detail)} ${detail}`);
  const now = () => Date.now();
  const secret = options.secret ?? randomBytes(32);
  const login = createDeviceLogin({
    brokerId: "broker-of-the-test",
    secret,
    devices: store.devices,
    now,
    loopShare: () => 0,
  });
  const ingest = createIngest({
    store,
    toDevice(device, topic, payload) {
      sent.push({ topic, text: Buffer.from(payload).toString("utf8") });
      return !server.mute && broker.toDevice(device, topic, payload);
    },
    feed: { asks: () => ({ withRecords: false }), committed: () => undefined, presence: () => undefined },
    onOpened: () => undefined,
    onReported: () => undefined,
    now,
    report,
  });
  const broker: Broker = await startBroker({
    port: options.port ?? 0,
    login,
    devices: store.devices,
    onMessage: (sender, kind, payload) => ingest.offer(sender, kind, payload),
    onDeviceListening: (device, site) => options.onListening?.(device, site, broker),
    onSubscription: async () => undefined,
    report,
  });
  const server: LinkServer = {
    port: broker.port,
    broker,
    login,
    trouble,
    sent,
    mute: false,
    async close() {
      await broker.close();
      await ingest.close();
    },
  };
  return server;
}

/** A device with a key that a store knows. */
export interface TestDevice {
  readonly device: string;
  readonly seed: Uint8Array;
}

/** Enrols a device in a store. */
export async function enrolDevice(store: Pick<Store, "devices">, device: string): Promise<TestDevice> {
  const seed = createHash("sha256").update(device).digest();
  const hash = createHash("sha256").update(`token of ${device}`).digest("hex");
  const token = {
    id: `t-${device}`,
    site: SITE,
    labels: {},
    serials: null,
    preapproved: true,
    usesLeft: 1,
    expiresAtMs: Date.now() + 60_000,
    createdAtMs: Date.now(),
    createdBy: "test",
    revoked: false,
  };
  unwrap(await store.devices.addEnrolmentToken({ hash, token }));
  const publicHex = Buffer.from(keyPairOf(seed).publicKey).toString("hex");
  unwrap(await store.devices.enrol({ hash, device, serial: null, publicHex, nowMs: Date.now(), reference: "" }));
  return { device, seed };
}

/** A device's outbox and link together. */
export interface TestLink {
  readonly outbox: Outbox;
  readonly link: Link;
  readonly desired: string[];
  readonly phases: string[];
  readonly problems: string[];
  close(): Promise<void>;
}

/** Times of a link that tests can wait for. */
export const QUICK = { firstMs: 50, maxMs: 200, steadyMs: 1_000, syncMs: 1_000, ackMs: 400, leaveMs: 500 };

/** Opens the outbox at `file` and starts a link to `port`. */
export function startLink(
  device: TestDevice,
  file: string,
  port: number,
  login: () => DeviceLogin,
  change: { outbox?: Partial<OutboxOptions>; link?: Partial<LinkOptions> } = {},
): TestLink {
  const clock = () => ({ bootId: "boot-1", monoMs: performance.now(), wallMs: Date.now(), clockSynced: true });
  const options = outboxOptions({ commitMs: 20, clock, sendable: () => outboxPort.sendable(), ...change.outbox });
  let session = Date.now();
  const desired: string[] = [];
  const phases: string[] = [];
  const problems: string[] = [];
  const outboxPort: ReturnType<typeof portOf> = portOf(
    () => outbox,
    () => link.epochChanged(),
  );
  const outbox: Outbox = unwrap(openOutbox(file, options));
  const link: Link = createLink({
    mqttUrl: `mqtt://127.0.0.1:${port}`,
    site: SITE,
    device: device.device,
    heartbeatMs: 200,
    async login() {
      const { brokerId, nonce } = login();
      const fresh = unwrap(nonce(device.device));
      const signature = signBytes(loginBytes(brokerId, device.device, fresh), device.seed).toString("hex");
      return ok({ username: `${SITE}/${device.device}`, password: `${fresh}.${signature}` });
    },
    outbox: outboxPort,
    sessions: { next: () => ++session },
    births: () => [{ asset: "pump-1", channels: [{ channel: "vib", unit: "mm/s" }], facts: {}, agentVersion: "0.1.0" }],
    onDesired: (bytes) => void desired.push(Buffer.from(bytes).toString("utf8")),
    onPhase: (phase) => void phases.push(phase),
    onProblem: ({ code }) => void problems.push(code),
    timing: QUICK,
    ...change.link,
  });
  link.start();
  return {
    outbox,
    link,
    desired,
    phases,
    problems,
    async close() {
      await link.stop();
      unwrap(outbox.close());
    },
  };
}
