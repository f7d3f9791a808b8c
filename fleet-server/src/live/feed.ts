import { moveOf } from "@bellwether/protocol/drift/charts.ts";
import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type {
  AlarmFeed,
  DeviceFeed,
  DriftFeed,
  LastFeed,
  PredictionFeed,
  TelemetryFeed,
} from "@bellwether/protocol/messages/feed.ts";
import {
  ALERT_CLEARED,
  ALERT_RAISED,
  type EventRecord,
  type InferenceRecord,
  type TelemetryRow,
} from "@bellwether/protocol/messages/stream.ts";
import { formatTopic } from "@bellwether/protocol/topics.ts";
import type { Presence } from "../devices/presence.ts";
import type { CohortVerdict } from "../drift/verdict.ts";
import type { DeviceRecord } from "../store/devices.ts";
import type { CommittedBatch, LatestOfAsset } from "../store/ingest.ts";

/** One message of the feed; no body is an empty payload, which clears what was retained. */
export interface FeedMessage {
  readonly topic: string;
  readonly body?: TelemetryFeed | PredictionFeed | DriftFeed | LastFeed | AlarmFeed | DeviceFeed;
}

/** The alarm of an alert: the model that raises it. */
export function alarmName(record: EventRecord): string {
  return record.model ?? "alert";
}

/** What a committed batch says to those who listen. Assets and channels are named as the device names them. */
export function feedOf(batch: CommittedBatch, wanted: (topic: string) => boolean): FeedMessage[] {
  switch (batch.stream) {
    case "telemetry":
      return ofAssets(batch, "telemetry", wanted, batch.records as readonly TelemetryRow[], telemetryBody);
    case "inference":
      return ofAssets(batch, "prediction", wanted, batch.records as readonly InferenceRecord[], predictionBody);
    case "event":
      return (batch.records as readonly EventRecord[])
        .flatMap((record) => alarmMessage(record, batch))
        .filter(({ topic }) => wanted(topic));
    case "drift":
      return ofAssets(batch, "drift", wanted, batch.records as readonly DriftRecord[], driftBody);
    default:
      return [];
  }
}

/** Assets a committed batch has said something new of: their `last` changes. */
export function assetsOf(batch: CommittedBatch): string[] {
  if (batch.stream !== "telemetry" && batch.stream !== "inference") return [];
  return [...new Set((batch.records as readonly { asset: string }[]).map(({ asset }) => asset))];
}

type Origin = Pick<CommittedBatch, "device" | "hist" | "offsetMs">;

function ofAssets<T extends { readonly asset: string }>(
  batch: CommittedBatch,
  feed: "telemetry" | "prediction" | "drift",
  wanted: (topic: string) => boolean,
  records: readonly T[],
  bodyOf: (record: T, origin: Origin) => TelemetryFeed | PredictionFeed | DriftFeed,
): FeedMessage[] {
  const topics = new Map<string, string | undefined>();
  const messages: FeedMessage[] = [];
  for (const record of records) {
    if (!topics.has(record.asset)) {
      const topic = formatTopic({ kind: "feed", site: batch.site, asset: record.asset, feed });
      topics.set(record.asset, wanted(topic) ? topic : undefined);
    }
    const topic = topics.get(record.asset);
    if (topic !== undefined) messages.push({ topic, body: bodyOf(record, batch) });
  }
  return messages;
}

function about(record: { readonly asset: string; readonly observedAtMs: number }, { device, hist, offsetMs }: Origin) {
  const { asset, observedAtMs } = record;
  return { asset, device, time: timeOf(observedAtMs + offsetMs), observedAtMs, hist };
}

function telemetryBody(row: TelemetryRow, origin: Origin): TelemetryFeed {
  return { ...about(row, origin), ...valuesOf(row) };
}

function valuesOf({ values, quality }: TelemetryRow) {
  return { values: { ...values }, ...(quality ? { quality: { ...quality } } : {}) };
}

function predictionBody(record: InferenceRecord, origin: Origin): PredictionFeed {
  const { outputs, explanation, quality } = record;
  return {
    ...about(record, origin),
    ...saidOf(record),
    ...(outputs ? { outputs } : {}),
    ...(explanation ? { explanation } : {}),
    ...(quality ? { quality } : {}),
  };
}

function driftBody(record: DriftRecord, origin: Origin): DriftFeed {
  const { asset, model, version, phase, verdicts, quality } = record;
  const [strongest] = verdicts;
  const moved = strongest === undefined ? "" : `: ${strongest.feature} ${moveOf(strongest)}`;
  return { ...about(record, origin), model, version, phase, text: `${asset} is ${phase}${moved}`, verdicts, quality };
}

/** A new verdict on a cohort, for one of its assets. */
export function cohortDriftMessage(
  { model, cohort, phase, text, toMs }: CohortVerdict,
  { site, device, asset }: { readonly site: string; readonly device: string; readonly asset: string },
): FeedMessage {
  const origin = { device, hist: false, offsetMs: 0 };
  return {
    topic: formatTopic({ kind: "feed", site, asset, feed: "drift" }),
    body: { ...about({ asset, observedAtMs: toMs }, origin), model, phase, text, cohort },
  };
}

function saidOf({ model, version, digest, value, error, alert }: InferenceRecord) {
  return {
    model,
    version,
    digest,
    ...(value === undefined ? {} : { value }),
    ...(error === undefined ? {} : { error }),
    ...(alert === undefined ? {} : { alert }),
  };
}

/** An alert that begins or ends. Backfill raises nobody's alarm, but it may end one. */
function alarmMessage(record: EventRecord, { site, device, hist, offsetMs }: CommittedBatch): FeedMessage[] {
  if (record.kind !== "alert" || record.asset === undefined) return [];
  const topic = alarmTopic(site, record.asset, record);
  if (record.code === ALERT_CLEARED) return [{ topic }];
  if (record.code !== ALERT_RAISED || hist) return [];
  return [{ topic, body: alarmBody(record, record.asset, { device, hist, offsetMs }) }];
}

/** The topic of an asset's alarm. */
export function alarmTopic(site: string, asset: string, record: EventRecord): string {
  return formatTopic({ kind: "alarm", site, asset, alarm: alarmName(record) });
}

/** A standing alert as its alarm. */
export function alarmBody(record: EventRecord, asset: string, origin: Origin): AlarmFeed {
  const { atMs, severity, code, text, model, detail } = record;
  return {
    ...about({ asset, observedAtMs: atMs }, origin),
    alarm: alarmName(record),
    severity,
    code,
    text,
    ...(model === undefined ? {} : { model }),
    ...(detail === undefined ? {} : { detail }),
  };
}

/** The newest of an asset, as it is retained. */
export function lastMessage({
  site,
  asset,
  row,
  predictions,
}: LatestOfAsset): FeedMessage & { readonly body: LastFeed } {
  const newest = predictions.map(({ record, offsetMs }) => ({
    ...saidOf(record),
    time: timeOf(record.observedAtMs + offsetMs),
    observedAtMs: record.observedAtMs,
  }));
  return {
    topic: formatTopic({ kind: "feed", site, asset, feed: "last" }),
    body: {
      ...(row ? telemetryBody(row.record, row) : { asset, values: {} }),
      predictions: Object.fromEntries(newest.map((one) => [one.model, one])),
    },
  };
}

/** A device's presence with its age, its health, and what it runs, as it is retained. */
export function deviceMessage(
  device: Pick<DeviceRecord, "device" | "site" | "labels" | "state">,
  heard: { readonly presence: Presence; readonly ageMs: number | null },
  models: readonly ReportedModel[],
  nowMs: number,
): FeedMessage {
  return {
    topic: formatTopic({ kind: "presence", site: device.site, device: device.device }),
    body: {
      device: device.device,
      time: timeOf(nowMs),
      ...heard,
      labels: { ...device.labels },
      ...(device.state?.health ? { health: device.state.health } : {}),
      models: models.map(({ model, phase, active }) => ({ model, phase, ...active })),
    },
  };
}

/** ISO 8601; a time that no calendar holds becomes the nearest one that it does. */
function timeOf(atMs: number): string {
  return new Date(Math.min(8.64e15, Math.max(0, atMs))).toISOString();
}
