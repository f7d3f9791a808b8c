import { formatTopic } from "@bellwether/protocol/topics.ts";
import type { Broker } from "../broker/broker.io.ts";
import { type Presence, type PresenceRule, presenceOf } from "../devices/presence.ts";
import type { CommittedBatch } from "../store/ingest.ts";
import type { Store } from "../store/store.ts";
import { feedOf, rowBody } from "./feed.ts";

/** The committed feed to MQTT subscribers. Never awaited by ingest; who reads too slowly misses, and that is counted. */
export interface Feed {
  wanted(): boolean;
  committed(batches: readonly CommittedBatch[]): void;
  presence(device: string): void;
  /** Gives a new subscriber what is retained: the newest values of every asset, and every device's presence. */
  welcome(matches: (topic: string) => boolean, give: (topic: string, payload: Uint8Array) => void): void;
  close(): Promise<void>;
}

/** How often silent devices are looked for: nobody says that a device has fallen silent, least of all the device. */
const WATCH_EVERY_MS = 1_000;

/** A feed over the broker; what is retained is read from the store, so a restart forgets nothing. */
export function createFeed(ports: {
  readonly store: Pick<Store, "devices" | "figures" | "ingest">;
  broker(): Broker;
  readonly rule: PresenceRule;
  now(): number;
  report(problem: string, detail: unknown): void;
}): Feed {
  const encode = (body: unknown) => Buffer.from(JSON.stringify(body));
  /** What subscribers were told last of each device. */
  const told = new Map<string, Presence>();

  async function presenceMessage(name: string) {
    const device = await ports.store.devices.get({ device: name });
    if (!device) return undefined;
    const nowMs = ports.now();
    const { models } = await ports.store.devices.reportedModels({ device: name });
    const presence = presenceOf(device, nowMs, ports.rule);
    told.set(name, presence.presence);
    return {
      topic: formatTopic({ kind: "presence", site: device.site, device: name }),
      body: {
        device: name,
        time: new Date(nowMs).toISOString(),
        ...presence,
        labels: device.labels,
        health: device.state?.health,
        models: models.map(({ model, phase, active }) => ({ model, phase, version: active?.version })),
      },
    };
  }

  async function give(matches: (topic: string) => boolean, send: (topic: string, payload: Uint8Array) => void) {
    const last = await ports.store.ingest.last({});
    for (const { site, row, device, hist } of last) {
      const topic = formatTopic({ kind: "feed", site, asset: row.asset, feed: "last" });
      if (matches(topic)) send(topic, encode(rowBody(row, device, hist)));
    }
    for (const { device } of await ports.store.devices.list({ limit: 100_000 })) {
      const message = await presenceMessage(device);
      if (message && matches(message.topic)) send(message.topic, encode(message.body));
    }
  }

  async function tell(device: string): Promise<void> {
    const message = await presenceMessage(device);
    if (message) ports.broker().toSubscribers(message.topic, () => encode(message.body));
  }

  async function watch(): Promise<void> {
    if (!ports.broker().hasSubscribers()) return told.clear();
    const nowMs = ports.now();
    for (const { device, online, ...heard } of await ports.store.figures.devices({})) {
      const state = online === null ? null : { online };
      if (presenceOf({ ...heard, state }, nowMs, ports.rule).presence !== told.get(device)) await tell(device);
    }
  }
  let watching = Promise.resolve();
  let idle = true;
  const timer = setInterval(() => {
    if (!idle) return;
    idle = false;
    watching = watch()
      .catch((cause) => ports.report("feed", cause))
      .finally(() => {
        idle = true;
      });
  }, WATCH_EVERY_MS);

  return {
    wanted: () => ports.broker().hasSubscribers(),
    committed(batches) {
      if (!ports.broker().hasSubscribers()) return;
      for (const { topic, body } of batches.flatMap(feedOf)) ports.broker().toSubscribers(topic, () => encode(body));
    },
    presence(device) {
      if (!ports.broker().hasSubscribers()) return;
      tell(device).catch((cause) => ports.report("feed", cause));
    },
    welcome(matches, send) {
      give(matches, send).catch((cause) => ports.report("feed", cause));
    },
    async close() {
      clearInterval(timer);
      await watching;
    },
  };
}
