import { randomUUID } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import {
  deviceMayPublish,
  deviceMaySubscribe,
  parseTopic,
  subscriberMaySubscribe,
  topicMatches,
  type UpKind,
} from "@bellwether/protocol/topics.ts";
import { Aedes, type Client } from "aedes";
import { hashSecret } from "../governance/tokens.ts";
import type { DevicesStore } from "../store/devices.ts";
import type { DeviceLogin } from "./login.io.ts";

/** Bounds of the broker. */
export interface BrokerLimits {
  /** A packet before login, and after it, in bytes. */
  readonly packetBytesBeforeLogin: number;
  readonly packetBytes: number;
  readonly connectionsMax: number;
  readonly connectTimeoutMs: number;
  /** Bytes of one client that may wait for the store before it is not read any more. */
  readonly waitingBytesMax: number;
  /** A subscriber that reads nothing for this long is dropped. */
  readonly drainTimeoutMs: number;
  /** Filters that one subscriber's connection may have. */
  readonly filtersMax: number;
}

export const BROKER_LIMITS: BrokerLimits = {
  packetBytesBeforeLogin: 2_048,
  packetBytes: 65_536,
  connectionsMax: 20_000,
  connectTimeoutMs: 10_000,
  waitingBytesMax: 524_288,
  drainTimeoutMs: 10_000,
  filtersMax: 100,
};

/** Who a connection proved to be. */
type Identity =
  | { readonly kind: "device"; readonly device: string; readonly site: string }
  | { readonly kind: "subscriber"; readonly account: string; readonly sites: readonly string[] };

/** A message of a device. `done` says that it was taken care of: until then its bytes count against the client. */
export interface DeviceMessage {
  readonly device: string;
  readonly site: string;
  readonly kind: UpKind;
  readonly bytes: Uint8Array;
  done(): void;
}

export interface Broker {
  readonly port: number;
  /** Sends to a device that is connected and listens; false when it is not. */
  toDevice(device: string, topic: string, payload: Uint8Array): boolean;
  /** Sends to every subscriber whose filter matches; one whose connection is full is passed over and counted. */
  toSubscribers(topic: string, payload: () => Uint8Array): void;
  /** Whether anybody listens to the feed at all. */
  hasSubscribers(): boolean;
  /** Closes a device's or an account's live connections. */
  kick(kind: Identity["kind"], name: string): void;
  counts(): {
    readonly connections: number;
    readonly refused: number;
    readonly skipped: number;
    readonly oversized: number;
  };
  close(): Promise<void>;
}

export interface BrokerOptions {
  readonly port: number;
  readonly limits?: Partial<BrokerLimits>;
  readonly login: DeviceLogin;
  readonly devices: Pick<DevicesStore, "findSubscriber">;
  onMessage(message: DeviceMessage): void;
  /** A device listens now: whatever it should know is sent again. */
  onDeviceListening(device: string, site: string): void;
  /** A subscriber listens to a filter: what is retained is given to it. */
  onSubscription(matches: (topic: string) => boolean, give: (topic: string, payload: Uint8Array) => void): void;
  report(problem: string, detail: unknown): void;
}

/** An MQTT 3.1.1 broker on loopback, in which devices speak to the server and to nobody else. */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const limits: BrokerLimits = { ...BROKER_LIMITS, ...options.limits };
  const identities = new WeakMap<Client, Identity>();
  const waitingBytes = new WeakMap<Client, number>();
  const listening = new Map<string, Client>();
  const subscribers = new Map<Client, Set<string>>();
  const clients = new Set<Client>();
  const proven = new Set<Client>();
  const arriving = new Set<{ readonly kicked: string[] }>();
  const counts = { connections: 0, refused: 0, skipped: 0, oversized: 0 };

  const aedes = new Aedes({
    id: "bellwether",
    connectTimeout: limits.connectTimeoutMs,
    drainTimeout: limits.drainTimeoutMs,
    // The application acknowledges; the broker keeps nothing for clients that are away.
    queueLimit: 100,
    preConnect: (_client, packet, done) => {
      // Client ids are one space in MQTT, and the newest connection takes the id: an account must not take a device's.
      // An empty id is a wish for any (MQTT-3.1.3-6); dashboards have it.
      if (packet.username?.includes("/") === false)
        packet.clientId = `${packet.username}/${packet.clientId || randomUUID()}`;
      packet.clean = true;
      done(null, true);
    },
    authenticate: (client, username, password, done) => {
      const arrival = { kicked: [] as string[] };
      arriving.add(arrival);
      const identified = identify(options, client.id, username, password?.toString("utf8"));
      identified
        .finally(() => arriving.delete(arrival))
        .then(
          (found) => {
            // Revoked between the look into the store and now.
            const identity = found && !arrival.kicked.includes(`${found.kind} ${nameOf(found)}`) ? found : undefined;
            if (identity) {
              identities.set(client, identity);
              proven.add(client);
            } else counts.refused++;
            done(null, identity !== undefined);
          },
          (cause) => {
            options.report("login", cause);
            done(null, false);
          },
        );
    },
    authorizeSubscribe: (client, subscription, done) => {
      const identity = identities.get(client);
      const own = subscribers.get(client);
      const full = own !== undefined && own.size >= limits.filtersMax && !own.has(subscription.topic);
      const allowed = identity !== undefined && !full && maySubscribe(identity, subscription.topic);
      // Counted here and not when all are granted: one packet may hold hundreds.
      if (allowed && identity.kind === "subscriber") {
        if (own) own.add(subscription.topic);
        else subscribers.set(client, new Set([subscription.topic]));
      }
      // Refused in the SUBACK; the connection stays, so that a dashboard with one wrong filter says which.
      done(null, allowed ? subscription : null);
    },
    authorizePublish: (client, packet, done) => {
      const identity = client ? identities.get(client) : undefined;
      if (!client || !identity) return done(null);
      if (identity.kind !== "device" || !deviceMayPublish(identity.site, identity.device, packet.topic)) {
        return done(new Error("this topic is not yours"));
      }
      take(client, identity, packet.topic, packet.payload as Buffer);
      // What a device says is for the server alone: nothing of it is forwarded or retained.
      packet.topic = "$bw/taken";
      packet.payload = NOTHING;
      packet.retain = false;
      done(null);
    },
    authorizeForward: (client, packet) => ((client.conn as Socket).writableNeedDrain ? null : packet),
  });

  function take(client: Client, identity: Identity & { kind: "device" }, topic: string, payload: Buffer): void {
    const parsed = parseTopic(topic);
    if (!parsed.ok || parsed.value.kind !== "up") return;
    const cost = payload.length + MESSAGE_BYTES;
    const waits = (waitingBytes.get(client) ?? 0) + cost;
    waitingBytes.set(client, waits);
    if (waits > limits.waitingBytesMax) pauseReading(client);
    let open = true;
    options.onMessage({
      device: identity.device,
      site: identity.site,
      kind: parsed.value.up,
      bytes: payload,
      done() {
        if (!open) return;
        open = false;
        const left = (waitingBytes.get(client) ?? 0) - cost;
        waitingBytes.set(client, left);
        if (left <= limits.waitingBytesMax / 2) resumeReading(client);
      },
    });
  }

  aedes.on("subscribe", (subscriptions, client) => {
    const identity = identities.get(client);
    const granted = subscriptions
      .filter((subscription) => subscription.qos < 128)
      .map((subscription) => subscription.topic);
    if (!identity || granted.length === 0) return;
    if (identity.kind === "device") {
      listening.set(identity.device, client);
      return options.onDeviceListening(identity.device, identity.site);
    }
    options.onSubscription(
      (topic) => granted.some((filter) => topicMatches(filter, topic)),
      (topic, payload) => send(client, topic, payload, true),
    );
  });
  aedes.on("unsubscribe", (filters, client) => {
    for (const filter of filters) subscribers.get(client)?.delete(filter);
  });
  aedes.on("client", (client) => {
    if ((client as object as ClientInside).closed) return;
    clients.add(client);
    counts.connections = clients.size;
  });
  aedes.on("clientDisconnect", (client) => {
    const identity = identities.get(client);
    clients.delete(client);
    subscribers.delete(client);
    counts.connections = clients.size;
    if (identity?.kind === "device" && listening.get(identity.device) === client) listening.delete(identity.device);
  });
  aedes.on("connectionError", () => undefined);
  aedes.on("clientError", () => undefined);

  function send(client: Client, topic: string, payload: Uint8Array, retain: boolean): void {
    if ((client.conn as Socket).writableNeedDrain) {
      counts.skipped++;
      return;
    }
    client.publish({ cmd: "publish", topic, payload: Buffer.from(payload), qos: 0, retain, dup: false }, (error) => {
      if (error) counts.skipped++;
    });
  }

  const sockets = new Set<Socket>();
  const server: Server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }, (socket) => {
    if (sockets.size >= limits.connectionsMax) return socket.destroy();
    sockets.add(socket);
    const client = aedes.handle(socket);
    socket.on("close", () => {
      sockets.delete(socket);
      proven.delete(client);
      subscribers.delete(client);
    });
    guardPackets(client, limits, () => counts.oversized++);
  });
  await aedes.listen();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, "127.0.0.1", resolve);
  });
  const address = server.address();

  return {
    port: typeof address === "object" && address ? address.port : options.port,
    toDevice(device, topic, payload) {
      const client = listening.get(device);
      if (!client) return false;
      send(client, topic, payload, false);
      return true;
    },
    toSubscribers(topic, payload) {
      let bytes: Uint8Array | undefined;
      for (const [client, filters] of subscribers) {
        if (![...filters].some((filter) => topicMatches(filter, topic))) continue;
        bytes ??= payload();
        // MQTT-3.3.1-9: to those who listened already it is no retained message but news.
        send(client, topic, bytes, false);
      }
    },
    hasSubscribers: () => subscribers.size > 0,
    kick(kind, name) {
      for (const { kicked } of arriving) kicked.push(`${kind} ${name}`);
      for (const client of proven) {
        const identity = identities.get(client);
        if (identity?.kind === kind && nameOf(identity) === name) client.close();
      }
    },
    counts: () => ({ ...counts }),
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await new Promise<void>((resolve) => aedes.close(() => resolve()));
    },
  };
}

const NOTHING = Buffer.alloc(0);
/** What a waiting message costs beside its payload: a flood of tiny ones must be held back as well. */
const MESSAGE_BYTES = 1_024;

function nameOf(identity: Identity): string {
  return identity.kind === "device" ? identity.device : identity.account;
}

async function identify(
  options: BrokerOptions,
  clientId: string,
  username: string | undefined,
  password: string | undefined,
): Promise<Identity | undefined> {
  if (username === undefined || password === undefined) return undefined;
  const [site = "", device, ...more] = username.split("/");
  if (device === undefined) {
    const account = await options.devices.findSubscriber({ account: username, hash: hashSecret(password) });
    return account && { kind: "subscriber", account: account.account, sites: account.sites };
  }
  if (more.length > 0 || clientId !== device) return undefined;
  const cut = password.lastIndexOf(".");
  const record = await options.login.verify(device, password.slice(0, cut), password.slice(cut + 1));
  return record?.site === site ? { kind: "device", device, site } : undefined;
}

function maySubscribe(identity: Identity, filter: string): boolean {
  if (identity.kind === "device") return deviceMaySubscribe(identity.site, identity.device, filter);
  return subscriberMaySubscribe({ sites: identity.sites, classes: "all" }, filter);
}

/** The parts of aedes' client that are not in its types: pinned at 1.2.0 and held by the broker's tests. */
interface ClientInside {
  readonly _parser: {
    packet: { length: number };
    _parseLength(): boolean;
    _emitError(error: Error): void;
  };
  readonly _authorized: boolean;
  pause(): void;
  resume(): void;
  closed: boolean;
}

/**
 * Refuses a packet by the length its header announces, before a byte of its body is kept: aedes itself has no limit,
 * and four sockets without a login could fill the memory.
 */
function guardPackets(client: Client, limits: BrokerLimits, onOversized: () => void): void {
  const inside = client as object as ClientInside;
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

function pauseReading(client: Client): void {
  (client as object as ClientInside).pause();
}

function resumeReading(client: Client): void {
  const inside = client as object as ClientInside;
  if (!inside.closed) inside.resume();
}
