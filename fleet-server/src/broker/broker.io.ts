import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { createServer, type Server } from "node:net";
import type { Duplex } from "node:stream";
import { type SecureContext, TLSSocket } from "node:tls";
import { deviceMaySubscribe, deviceSays, subscriberMaySubscribe, type UpKind } from "@bellwether/protocol/topics.ts";
import { Aedes, type Client } from "aedes";
import type { DevicesStore } from "../store/devices.ts";
import { BackPressure, type QuotaUse, Sender } from "./back-pressure.io.ts";
import { claimOf, type Identity, identify } from "./identity.io.ts";
import { forgetLogin, guardPackets, keepBytesPlainly, readPublishes } from "./inside.io.ts";
import { BROKER_LIMITS, type BrokerLimits } from "./limits.ts";
import type { DeviceLogin } from "./login.io.ts";
import { Outgoing, publishPacket } from "./outgoing.io.ts";
import { PublishReader } from "./publishes.ts";
import { shareReads } from "./shared-reads.io.ts";
import { type NewSubscription, Subscribers } from "./subscribers.io.ts";
import { handshake } from "./tls.io.ts";
import { createWebSockets } from "./websocket.io.ts";

export type { NewSubscription } from "./subscribers.io.ts";

/** A device's connection, as what it says comes from it. */
export interface DeviceSender {
  readonly device: string;
  readonly site: string;
  /** Says that this many messages were taken care of: until then they count against the client. */
  done(messages: number, payloadBytes: number): void;
}

/** Figures of the broker since it started; the first five are of this moment. */
export interface BrokerCounts {
  readonly connections: number;
  readonly subscribers: number;
  readonly waitingBytes: number;
  readonly paused: number;
  /** Devices among them that wait for their quota, and how often one was used up. */
  readonly overQuota: number;
  readonly quotaPauses: number;
  /** Logins refused, and connections turned away because there were too many. */
  readonly refused: number;
  readonly turnedAway: number;
  /** Connections cut: a packet over its limit; a topic that is not the client's; a reader that stood still. */
  readonly oversized: number;
  readonly forbidden: number;
  readonly dropped: number;
  /** Messages a subscriber was too slow for. */
  readonly skipped: number;
}

export interface Broker {
  readonly port: number;
  /** Takes over a connection of the HTTP port that asked to speak MQTT over WebSocket, under the bounds of this one. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** The site of a device that is connected and listens; undefined of any other. */
  siteOf(device: string): string | undefined;
  /** Sends to a device that is connected and listens; false when it is not. */
  toDevice(device: string, topic: string, payload: Uint8Array): boolean;
  /** Sends to every subscriber whose filter matches; one whose connection is full is passed over and counted. */
  toSubscribers(topic: string, payload: () => Uint8Array): void;
  /** Whether anybody listens to a topic, or to anything at all. */
  wanted(topic?: string): boolean;
  /** Closes a device's or an account's live connections, those that are just logging in included. */
  kick(kind: Identity["kind"], name: string): void;
  counts(): BrokerCounts;
  /** Whether a device has to wait for its quota now, and how often it had to. */
  quotaOf(device: string): QuotaUse;
  close(): Promise<void>;
}

export interface BrokerOptions {
  readonly port: number;
  /** Where it listens; loopback by default. */
  readonly host?: string;
  /** The certificate of this moment; absent: no TLS. */
  readonly tls?: () => SecureContext;
  /** Where devices must show a certificate at TLS: why the one of this connection does not do. */
  readonly refusal?: (connection: unknown, device: string) => Promise<string | undefined>;
  readonly limits?: Partial<BrokerLimits>;
  /** The clock that quotas are filled by; the machine's own by default. */
  readonly monotonicMs?: () => number;
  readonly login: DeviceLogin;
  readonly devices: Pick<DevicesStore, "findSubscriber">;
  /** A message of a device. `payload` is a view into what was read: who needs it after the call keeps a copy. */
  onMessage(sender: DeviceSender, kind: UpKind, payload: Uint8Array): void;
  /** A connection of a device listens now: whatever it should know is sent again. */
  onDeviceListening(device: string, site: string): void;
  /** A subscriber listens to a filter: what is retained is given to it. */
  onSubscription(subscription: NewSubscription): Promise<void>;
  report(problem: string, detail: unknown): void;
}

/** An MQTT 3.1.1 broker, in which devices speak to the server and to nobody else. */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const limits: BrokerLimits = { ...BROKER_LIMITS, ...options.limits };
  // A will is published after its connection has gone: identities are kept as long as their clients are.
  const identities = new WeakMap<Client, Identity>();
  /** What was spoken to a client at TLS, where it was. */
  const secured = new WeakMap<Client, Duplex>();
  const connected = new Map<Client, Identity>();
  const senders = new WeakMap<Client, Sender>();
  const attempts = new Set<{ readonly kind: string; readonly name: string; cancelled: boolean }>();
  const listening = new Map<string, Client>();
  const outgoing = new Outgoing(limits.outgoingBytesMax);
  const subscribers = new Subscribers(
    outgoing,
    limits.filtersMax,
    (subscription) => options.onSubscription(subscription),
    options.report,
  );
  const pressure = new BackPressure(limits, options.monotonicMs ?? (() => performance.now()));
  const counts = { refused: 0, turnedAway: 0, oversized: 0, forbidden: 0, dropped: 0 };
  let closing = false;

  async function authenticate(client: Client, username: string | undefined, password: string): Promise<boolean> {
    const claim = claimOf(username);
    if (!claim) return false;
    const attempt = { ...claim, cancelled: false };
    attempts.add(attempt);
    try {
      const identity = await identify(options, claim, client.id, password);
      if (!identity || attempt.cancelled || client.closed) return false;
      if (identity.kind === "device" && (await options.refusal?.(secured.get(client), identity.name)) !== undefined)
        return false;
      if (attempt.cancelled || client.closed) return false;
      identities.set(client, identity);
      connected.set(client, identity);
      if (identity.kind === "device") listenTo(client, identity.name, identity.site);
      return true;
    } finally {
      attempts.delete(attempt);
    }
  }

  const aedes = new Aedes({
    id: "bellwether",
    connectTimeout: limits.connectTimeoutMs,
    drainTimeout: limits.drainTimeoutMs,
    queueLimit: 100,
    maxInflightInbound: 100,
    preConnect: (_client, packet, done) => {
      // Client ids are one space in MQTT, and the newest connection takes the id: an account must not take a device's.
      // An empty id is a wish for any (MQTT-3.1.3-6); dashboards have it.
      if (claimOf(packet.username)?.kind === "subscriber") {
        packet.clientId = `${packet.username}/${packet.clientId || randomUUID()}`;
      }
      // The application acknowledges, and what is retained comes from the store: the broker keeps no sessions.
      packet.clean = true;
      done(null, !closing);
    },
    authenticate: (client, username, password, done) => {
      authenticate(client, username, password?.toString("utf8") ?? "").then(
        (known) => {
          if (!known) counts.refused++;
          done(null, known);
        },
        (cause) => {
          options.report("login", cause);
          done(null, false);
        },
      );
    },
    authorizeSubscribe: (client, subscription, done) => {
      const identity = identities.get(client);
      const allowed = identity !== undefined && maySubscribe(identity, subscription.topic);
      // Refused in the SUBACK; the connection stays, so that a dashboard with one wrong filter says which. Devices are
      // bounded as well: aedes keeps whatever they ask for below their own topics.
      done(null, allowed && subscribers.mayAdd(client, subscription.topic) ? subscription : null);
    },
    authorizePublish: (client, packet, done) => {
      const identity = client ? identities.get(client) : undefined;
      // While the server closes, wills are its own doing: they say nothing about the devices.
      if (!client || !identity || closing) return done(client ? new Error("not now") : null);
      const said = identity.kind === "device" ? deviceSays(identity.site, identity.name, packet.topic) : undefined;
      if (identity.kind !== "device" || said === undefined) {
        counts.forbidden++;
        return done(new Error("this topic is not yours"));
      }
      const sender = senders.get(client);
      if (said !== "command" && sender) take(sender, said, packet.payload as Buffer);
      // What a device says is for the server alone: nothing of it is forwarded or retained.
      packet.topic = "$bw/taken";
      packet.payload = NOTHING;
      packet.retain = false;
      done(null);
    },
  });

  function take(sender: Sender, kind: UpKind, payload: Uint8Array): void {
    sender.take(payload.length);
    options.onMessage(sender, kind, payload);
  }

  function listenTo(client: Client, device: string, site: string): void {
    const sender = new Sender(pressure, client, device, site);
    senders.set(client, sender);
    const reader = new PublishReader(site, device, limits.packetBytes);
    readPublishes(client, reader, (stream, payload) => take(sender, stream, payload));
  }

  aedes.on("subscribe", (subscriptions, client) => {
    const identity = connected.get(client);
    const granted = subscriptions
      .filter((subscription) => subscription.qos < 128)
      .map((subscription) => subscription.topic);
    if (!identity || client.closed || granted.length === 0) return;
    if (identity.kind === "subscriber") return subscribers.add(client, identity.sites, granted);
    // Once for each connection: one that subscribes in a loop makes no more work than one that does not.
    if (listening.get(identity.name) === client) return;
    listening.set(identity.name, client);
    options.onDeviceListening(identity.name, identity.site);
  });
  aedes.on("clientReady", (client) => forgetLogin(client));
  aedes.on("unsubscribe", (filters, client) => subscribers.remove(client, filters));
  const stoodStill = new WeakSet<Client>();
  aedes.on("clientError", (client, error) => {
    // Reported for everything that waited for the client.
    if (error.message !== "drain timeout" || stoodStill.has(client)) return;
    stoodStill.add(client);
    counts.dropped++;
  });
  aedes.on("connectionError", () => undefined);

  function forget(client: Client): void {
    const identity = connected.get(client);
    connected.delete(client);
    if (identity?.kind === "device" && listening.get(identity.name) === client) listening.delete(identity.name);
    subscribers.remove(client);
    const sender = senders.get(client);
    if (sender) pressure.forget(sender);
    outgoing.forget(client);
  }

  // Every connection counts from its first byte: one without a client has not said its first packet yet.
  const sockets = new Map<Duplex, Client | undefined>();
  function admit(socket: Duplex): boolean {
    if (sockets.size >= limits.connectionsMax || sockets.size - connected.size >= limits.loginsMax) {
      counts.turnedAway++;
      socket.destroy();
      return false;
    }
    sockets.set(socket, undefined);
    socket.on("close", () => {
      const client = sockets.get(socket);
      sockets.delete(socket);
      if (client) forget(client);
    });
    return true;
  }
  function serve(socket: Duplex, stream: Duplex): Client {
    const client = aedes.handle(stream);
    secured.set(client, stream instanceof TLSSocket ? stream : socket);
    sockets.set(socket, client);
    keepBytesPlainly(client);
    guardPackets(client, limits, () => counts.oversized++);
    return client;
  }
  const webSockets = createWebSockets(limits, { admit, serve, oversized: () => counts.oversized++ });
  const server: Server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }, (socket) => {
    if (!admit(socket)) return;
    if (options.tls) {
      const wanted = options.refusal !== undefined;
      handshake(socket, options.tls(), limits.connectTimeoutMs, wanted, (stream) => serve(socket, stream));
    } else {
      shareReads(socket);
      serve(socket, socket);
    }
  });
  await aedes.listen();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    // A fleet that comes back at once waits in the kernel; whom it turns away there tries again only after a second.
    server.listen({ port: options.port, host: options.host ?? "127.0.0.1", backlog: limits.backlog }, resolve);
  }).catch(async (cause) => {
    await new Promise<void>((resolve) => aedes.close(() => resolve()));
    throw cause;
  });
  const address = server.address();

  return {
    port: typeof address === "object" && address ? address.port : options.port,
    upgrade: webSockets.upgrade,
    siteOf(device) {
      const client = listening.get(device);
      return client && senders.get(client)?.site;
    },
    toDevice(device, topic, payload) {
      const client = listening.get(device);
      if (!client || client.closed) return false;
      if (outgoing.send(client, publishPacket(topic, payload, false))) return true;
      // What a device is told must not be skipped: cut off, it connects again and everything is sent anew.
      counts.dropped++;
      client.close();
      return false;
    },
    toSubscribers: (topic, payload) => subscribers.send(topic, payload),
    wanted: (topic) => (topic === undefined ? subscribers.size > 0 : subscribers.wants(topic)),
    kick(kind, name) {
      for (const attempt of attempts) if (attempt.kind === kind && attempt.name === name) attempt.cancelled = true;
      for (const [client, identity] of connected) if (identity.kind === kind && identity.name === name) client.close();
    },
    quotaOf: (device) => pressure.quotaOf(device),
    counts: () => ({
      connections: connected.size,
      subscribers: subscribers.size,
      waitingBytes: pressure.figures.bytes,
      paused: pressure.figures.paused,
      overQuota: pressure.figures.overQuota,
      quotaPauses: pressure.figures.quotaPauses,
      skipped: outgoing.skipped,
      ...counts,
    }),
    async close() {
      closing = true;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const [socket, client] of sockets) {
        client?.conn.destroy();
        socket.destroy();
      }
      await closed;
      await new Promise<void>((resolve) => aedes.close(() => resolve()));
      pressure.close();
    },
  };
}

const NOTHING = Buffer.alloc(0);

function maySubscribe(identity: Identity, filter: string): boolean {
  return identity.kind === "device"
    ? deviceMaySubscribe(identity.site, identity.name, filter)
    : subscriberMaySubscribe(identity.scope, filter);
}
