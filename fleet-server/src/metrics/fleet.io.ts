import { DEVICE_PHASES } from "@bellwether/protocol/messages/device.ts";
import type { BrokerCounts } from "../broker/broker.io.ts";
import { PRESENCES, type PresenceRule, presenceOf } from "../devices/presence.ts";
import type { IngestCounts } from "../ingest/ingest.io.ts";
import { ROLLOUT_PHASES } from "../rollouts/machine.ts";
import type { Store } from "../store/store.ts";
import type { Metrics, Reading } from "./metrics.ts";

export interface FleetMetricsPorts {
  readonly store: Pick<Store, "figures">;
  readonly rule: PresenceRule;
  ingest(): IngestCounts;
  broker(): BrokerCounts;
  readonly feed: { leftOutRecords(): number };
  /** What expires, and how many days from now. */
  expiries(): Promise<readonly { readonly role: string; readonly daysLeft: number }[]>;
  now(): number;
}

/** The fleet's figures: how many devices stand where and how old that is, what was taken in, what was lost. */
export function addFleetMetrics(metrics: Metrics, ports: FleetMetricsPorts): void {
  metrics.gauge("bellwether_devices", "Active devices by presence.", async () => {
    const heard = await hearing(ports);
    return PRESENCES.map((presence) => ({
      labels: { presence },
      value: heard.filter((one) => one.presence === presence).length,
    }));
  });
  metrics.gauge(
    "bellwether_device_oldest_age_seconds",
    "Time since the longest unheard active device of each presence was heard.",
    async () => {
      const heard = await hearing(ports);
      return PRESENCES.flatMap((presence): Reading[] => {
        const ages = heard.filter((one) => one.presence === presence && one.ageMs !== null).map(({ ageMs }) => ageMs!);
        return ages.length === 0 ? [] : [{ labels: { presence }, value: ages.reduce((a, b) => Math.max(a, b)) / 1000 }];
      });
    },
  );
  metrics.gauge("bellwether_devices_enrolled", "Devices by phase.", async () => {
    const devices = await ports.store.figures.devices({});
    return DEVICE_PHASES.map((phase) => ({
      labels: { phase },
      value: devices.filter((device) => device.phase === phase).length,
    }));
  });
  metrics.gauge(
    "bellwether_device_clock_ahead_seconds",
    "How far clocks of active devices are ahead of the server's (behind: below 0), where it is over 2 s; the 100 worst.",
    async () => wrongClocks(await ports.store.figures.devices({})),
  );
  metrics.gauge("bellwether_rollouts", "Rollouts by phase.", async () => {
    const counted = await ports.store.figures.rolloutsByPhase({});
    return ROLLOUT_PHASES.map((phase) => ({
      labels: { phase },
      value: counted.find((one) => one.phase === phase)?.count ?? 0,
    }));
  });
  metrics.gauge("bellwether_dead_letters", "Messages kept because they could not be read.", async () => [
    { value: (await ports.store.figures.losses({})).deadLetters },
  ]);
  metrics.gauge(
    "bellwether_gap_records",
    "Records that devices dropped or lost, as their gaps count them.",
    async () => [{ value: (await ports.store.figures.losses({})).gapRecords }],
  );
  metrics.gauge("bellwether_expiry_days", "Days until signed metadata of each role expire.", async () =>
    (await ports.expiries()).map(({ role, daysLeft }) => ({ labels: { role }, value: daysLeft })),
  );
  addIngestMetrics(metrics, ports);
  addBrokerMetrics(metrics, ports);
}

/** A clock that is off by less than this is right: the word it is judged by was on its way for a while. */
const CLOCK_OFF_MS = 2_000;
/** A metric with a label for each device must stay short, however many clocks are wrong. */
const CLOCKS_MAX = 100;

function wrongClocks(devices: Awaited<ReturnType<Store["figures"]["devices"]>>): Reading[] {
  return devices
    .filter(({ phase, clockAheadMs }) => phase === "active" && Math.abs(clockAheadMs ?? 0) > CLOCK_OFF_MS)
    .sort((a, b) => Math.abs(b.clockAheadMs as number) - Math.abs(a.clockAheadMs as number))
    .slice(0, CLOCKS_MAX)
    .map(({ device, clockAheadMs }) => ({ labels: { device }, value: (clockAheadMs as number) / 1000 }));
}

async function hearing({ store, rule, now }: FleetMetricsPorts) {
  const nowMs = now();
  const devices = await store.figures.devices({});
  return devices
    .filter(({ phase }) => phase === "active")
    .map(({ online, ...heard }) => presenceOf({ ...heard, state: online === null ? null : { online } }, nowMs, rule));
}

function addIngestMetrics(metrics: Metrics, { ingest }: FleetMetricsPorts): void {
  metrics.gauge("bellwether_ingest_waiting_messages", "Messages that wait for their commit.", () => [
    { value: ingest().waiting },
  ]);
  metrics.reading("bellwether_ingest_messages_total", "Messages of devices.", () => [{ value: ingest().messages }]);
  metrics.reading("bellwether_ingest_bytes_total", "Their bytes by class.", () =>
    Object.entries(ingest().bytes).map(([kind, value]) => ({ labels: { class: kind }, value })),
  );
  metrics.reading("bellwether_ingest_outcomes_total", "How durable messages ended.", () => {
    const { committed, duplicates, poison, conflicts, deferred } = ingest();
    return [
      { labels: { outcome: "committed" }, value: committed },
      { labels: { outcome: "duplicate" }, value: duplicates },
      { labels: { outcome: "poison" }, value: poison },
      { labels: { outcome: "conflict" }, value: conflicts },
      { labels: { outcome: "deferred" }, value: deferred },
    ];
  });
}

function addBrokerMetrics(metrics: Metrics, { broker, feed }: FleetMetricsPorts): void {
  metrics.gauge("bellwether_mqtt_connections", "Open MQTT connections.", () => [{ value: broker().connections }]);
  metrics.reading("bellwether_mqtt_refused_total", "Refused MQTT logins.", () => [{ value: broker().refused }]);
  metrics.gauge("bellwether_mqtt_subscribers", "Subscribers among them.", () => [{ value: broker().subscribers }]);
  metrics.gauge("bellwether_mqtt_waiting_bytes", "Bytes of devices that wait for the store.", () => [
    { value: broker().waitingBytes },
  ]);
  metrics.gauge("bellwether_mqtt_paused", "Devices that are not read until the store has caught up.", () => [
    { value: broker().paused },
  ]);
  metrics.gauge("bellwether_quota_paused", "Devices that are not read until their quota allows it.", () => [
    { value: broker().overQuota },
  ]);
  metrics.reading("bellwether_quota_pauses_total", "How often a device used its quota up.", () => [
    { value: broker().quotaPauses },
  ]);
  metrics.reading("bellwether_mqtt_turned_away_total", "Connections refused because there were too many.", () => [
    { value: broker().turnedAway },
  ]);
  metrics.reading("bellwether_mqtt_forbidden_total", "Connections cut for a topic that is not theirs.", () => [
    { value: broker().forbidden },
  ]);
  metrics.reading("bellwether_mqtt_dropped_total", "Connections cut because they stopped reading.", () => [
    { value: broker().dropped },
  ]);
  metrics.reading("bellwether_mqtt_oversized_total", "Connections cut for a packet over its limit.", () => [
    { value: broker().oversized },
  ]);
  metrics.reading(
    "bellwether_feed_left_out_total",
    "Rows and predictions that were not told to subscribers, because ingest came first.",
    () => [{ value: feed.leftOutRecords() }],
  );
  metrics.reading("bellwether_feed_skipped_total", "Feed messages that a subscriber was too slow for.", () => [
    { value: broker().skipped },
  ]);
}
