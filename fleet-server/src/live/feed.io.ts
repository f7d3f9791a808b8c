import {
  alarmBody,
  alarmTopic,
  assetsOf,
  deviceMessage,
  type FeedMessage,
  feedOf,
  lastMessage,
} from "@bellwether/protocol/feed.ts";
import { formatTopic } from "@bellwether/protocol/topics.ts";
import type { Broker, NewSubscription } from "../broker/broker.io.ts";
import { type Presence, type PresenceRule, presenceOf } from "../devices/presence.ts";
import type { CohortVerdict } from "../drift/verdict.ts";
import type { DeviceRecord } from "../store/devices.ts";
import type { AskedRecords, CommittedBatch, CommittedGroup } from "../store/ingest.ts";
import type { Store } from "../store/store.ts";
import { FeedBudget } from "./budget.ts";
import { cohortDriftMessage } from "./feed.ts";

/** The committed feed to MQTT subscribers. Never awaited by ingest; who reads too slowly misses, and that is counted. */
export interface Feed {
  /** Which records of so many messages it wants once they are committed: those it can tell without being in ingest's way. */
  asks(messages: number): AskedRecords;
  committed(group: Pick<CommittedGroup, "batches" | "leftOut">): void;
  /** Rows and predictions that were not told, because taking and acknowledging others came first. */
  leftOutRecords(): number;
  /** A cohort entered another drift phase; told to each of its assets. */
  cohortDrift(verdict: CohortVerdict, assets: readonly { site: string; device: string; asset: string }[]): void;
  /** A device spoke of itself. */
  presence(device: string): void;
  /** Gives a new subscriber what is retained: the newest of every asset, standing alarms, every device's presence. */
  welcome(subscription: NewSubscription): Promise<void>;
  close(): Promise<void>;
}

/** Rows of one asset, and words of one device, may come by the thousand; what is retained follows at most this often. */
const RETAINED_EVERY_MS = 200;
/** How often it is looked who has fallen silent: nobody else would say so. */
const PRESENCE_EVERY_MS = 1_000;
const DEVICES_AT_ONCE = 500;
/** What comes over the network is looked at again after so long, however much there is to tell. */
const SLICE_MS = 2;
/** Records that may wait to be told. */
const WAITING_MAX = 50_000;

/** A feed over the broker; what is retained is read from the store, so a restart forgets nothing. */
export function createFeed(ports: {
  readonly store: Pick<Store, "devices" | "figures" | "ingest">;
  broker(): Pick<Broker, "wanted" | "toSubscribers">;
  readonly rule: PresenceRule;
  now(): number;
  report(problem: string, detail: unknown): void;
}): Feed {
  const { store, rule } = ports;
  const changed = new Map<string, { site: string; asset: string }>();
  const spoke = new Set<string>();
  /** What subscribers were told last of each device. */
  const told = new Map<string, Presence>();
  const budget = new FeedBudget();
  /** Committed, and still to be told. */
  const waiting: CommittedBatch[] = [];
  let waitingRecords = 0;
  let leftOutRecords = 0;
  let telling = false;
  let closed = false;
  let retainedTimer: NodeJS.Timeout | undefined;

  function publish({ topic, body }: FeedMessage): void {
    ports.broker().toSubscribers(topic, () => encode(body));
  }

  /** Runs what nobody waits for. */
  function apart(work: () => Promise<void> | void): void {
    new Promise<void>((done) => done(work())).catch((cause) => ports.report("feed", cause));
  }

  function publishSoon(): void {
    if (!closed) retainedTimer ??= setTimeout(() => apart(publishRetained), RETAINED_EVERY_MS);
  }

  async function publishRetained(): Promise<void> {
    const assets = [...changed.values()];
    const devices = [...spoke];
    changed.clear();
    spoke.clear();
    try {
      if (assets.length > 0) for (const latest of await store.ingest.latest({ assets })) publish(lastMessage(latest));
      for (const device of devices) await publishDevice(device);
    } finally {
      // Only now: while the store is slow, one round waits for it and not one every moment.
      retainedTimer = undefined;
      if (changed.size > 0 || spoke.size > 0) publishSoon();
    }
  }

  /** Tells what waits, a little at a time: ingest comes first. */
  function tellOn(): void {
    if (telling || waiting.length === 0) return;
    telling = true;
    setImmediate(() => {
      telling = false;
      apart(tellSome);
      tellOn();
    });
  }

  function tellSome(): void {
    const fromMs = performance.now();
    let batches = 0;
    try {
      while (batches < waiting.length && performance.now() - fromMs < SLICE_MS)
        tell(waiting[batches++] as CommittedBatch);
    } finally {
      waiting.splice(0, batches);
      budget.spent(batches, (performance.now() - fromMs) * 1_000);
      if (changed.size > 0) publishSoon();
    }
  }

  /** Keeps a batch until it is told. Alarms and drift are few, and never left out. */
  function keep(batch: CommittedBatch): void {
    const { stream, records } = batch;
    const many = stream === "telemetry" || stream === "inference";
    if (many && waitingRecords + records.length > WAITING_MAX) {
      leftOutRecords += records.length;
      for (const asset of assetsOf(batch)) changes(batch.site, asset);
      return;
    }
    waitingRecords += records.length;
    waiting.push(batch);
  }

  function tell(batch: CommittedBatch): void {
    waitingRecords -= batch.records.length;
    for (const message of feedOf(batch, wanted)) publish(message);
    for (const asset of assetsOf(batch)) changes(batch.site, asset);
  }

  function changes(site: string, asset: string): void {
    if (wanted(lastTopic(site, asset))) changed.set(`${site}/${asset}`, { site, asset });
  }

  function wanted(topic: string): boolean {
    return ports.broker().wanted(topic);
  }

  async function messageOf(device: DeviceRecord): Promise<FeedMessage> {
    const { models } = await store.devices.reportedModels({ device: device.device });
    const nowMs = ports.now();
    const heard = presenceOf(device, nowMs, rule);
    told.set(device.device, heard.presence);
    const running = models.map(({ model, phase, active }) => ({ model, phase, ...active }));
    return deviceMessage({ ...device, health: device.state?.health }, heard, running, nowMs);
  }

  async function publishDevice(name: string): Promise<void> {
    const device = await store.devices.get({ device: name });
    if (device) publish(await messageOf(device));
  }

  /** Who is late or offline says nothing: the server says it for them. */
  async function watch(): Promise<void> {
    if (!ports.broker().wanted()) return told.clear();
    for (const { device, online, ...heard } of await store.figures.devices({})) {
      const state = online === null ? null : { online };
      if (presenceOf({ ...heard, state }, ports.now(), rule).presence !== told.get(device)) await publishDevice(device);
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
  }, PRESENCE_EVERY_MS);

  return {
    asks: (messages) => ({
      withRecords: ports.broker().wanted(),
      telemetryEvery: budget.every(messages, performance.now()),
    }),
    committed({ batches, leftOut }) {
      if (!ports.broker().wanted()) return;
      leftOutRecords += leftOut.rows;
      for (const batch of batches) keep(batch);
      tellOn();
      for (const { site, asset } of leftOut.assets) changes(site, asset);
      if (changed.size > 0) publishSoon();
    },
    leftOutRecords: () => leftOutRecords,
    cohortDrift(verdict, assets) {
      if (!ports.broker().wanted()) return;
      for (const asset of assets) publish(cohortDriftMessage(verdict, asset));
    },
    presence(device) {
      if (!ports.broker().wanted()) return;
      spoke.add(device);
      publishSoon();
    },
    async welcome({ sites, matches, give }) {
      for (const latest of await store.ingest.latest({ sites })) {
        const { topic, body } = lastMessage(latest);
        if (matches(topic) && !(await give(topic, encode(body)))) return;
      }
      for (const { site, asset, record, ...origin } of await store.ingest.alarms({ sites })) {
        const topic = alarmTopic(site, asset, record);
        if (matches(topic) && !(await give(topic, encode(alarmBody(record, asset, origin))))) return;
      }
      for (let after: string | undefined; ; ) {
        const devices = await store.devices.list({ sites, limit: DEVICES_AT_ONCE, ...(after ? { after } : {}) });
        for (const device of devices) {
          const topic = presenceTopic(device.site, device.device);
          if (matches(topic) && !(await give(topic, encode((await messageOf(device)).body)))) return;
        }
        if (devices.length < DEVICES_AT_ONCE) return;
        after = devices.at(-1)?.device;
      }
    },
    async close() {
      clearInterval(timer);
      closed = true;
      clearTimeout(retainedTimer);
      await watching;
    },
  };
}

function encode(body: unknown): Uint8Array {
  return body === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(body));
}

function lastTopic(site: string, asset: string): string {
  return formatTopic({ kind: "feed", site, asset, feed: "last" });
}

function presenceTopic(site: string, device: string): string {
  return formatTopic({ kind: "presence", site, device });
}
