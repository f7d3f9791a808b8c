import { moveOf } from "./drift/charts.ts";
import type { DriftRecord } from "./messages/drift.ts";
import type { AlarmFeed, DeviceFeed, DriftFeed, LastFeed, PredictionFeed, TelemetryFeed } from "./messages/feed.ts";
import {
  ALERT_CLEARED,
  ALERT_RAISED,
  type EventRecord,
  type InferenceRecord,
  type Stream,
  type TelemetryRow,
} from "./messages/stream.ts";
import { formatTopic } from "./topics.ts";

/** Where records come from: the server adds what it knows of the device's clock, a device of itself adds nothing. */
export interface FeedOrigin {
  readonly device: string;
  /** Backfill. */
  readonly hist: boolean;
  /** What to add to the device's own times. */
  readonly offsetMs: number;
}

/** Committed records of one stream of a device. */
export interface FeedBatch extends FeedOrigin {
  readonly site: string;
  readonly stream: Stream;
  readonly records: readonly unknown[];
}

interface Newest<T> extends FeedOrigin {
  readonly record: T;
}

/** The newest of an asset: a row, and what each model said last. */
export interface NewestOfAsset {
  readonly site: string;
  readonly asset: string;
  readonly row?: Newest<TelemetryRow>;
  readonly predictions: readonly Newest<InferenceRecord>[];
}

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
export function feedOf(batch: FeedBatch, wanted: (topic: string) => boolean): FeedMessage[] {
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
export function assetsOf(batch: FeedBatch): string[] {
  if (batch.stream !== "telemetry" && batch.stream !== "inference") return [];
  return [...new Set((batch.records as readonly { asset: string }[]).map(({ asset }) => asset))];
}

function ofAssets<T extends { readonly asset: string }>(
  batch: FeedBatch,
  feed: "telemetry" | "prediction" | "drift",
  wanted: (topic: string) => boolean,
  records: readonly T[],
  bodyOf: (record: T, origin: FeedOrigin) => TelemetryFeed | PredictionFeed | DriftFeed,
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

/** What every message of the feed says first. */
export function aboutOf(
  record: { readonly asset: string; readonly observedAtMs: number },
  { device, hist, offsetMs }: FeedOrigin,
) {
  const { asset, observedAtMs } = record;
  return { asset, device, time: timeOf(observedAtMs + offsetMs), observedAtMs, hist };
}

function telemetryBody(row: TelemetryRow, origin: FeedOrigin): TelemetryFeed {
  return { ...aboutOf(row, origin), ...valuesOf(row) };
}

function valuesOf({ values, quality }: TelemetryRow) {
  return { values: { ...values }, ...(quality ? { quality: { ...quality } } : {}) };
}

function predictionBody(record: InferenceRecord, origin: FeedOrigin): PredictionFeed {
  const { outputs, explanation, quality } = record;
  return {
    ...aboutOf(record, origin),
    ...saidOf(record),
    ...(outputs ? { outputs } : {}),
    ...(explanation ? { explanation } : {}),
    ...(quality ? { quality } : {}),
  };
}

function driftBody(record: DriftRecord, origin: FeedOrigin): DriftFeed {
  const { asset, model, version, phase, verdicts, quality } = record;
  const [strongest] = verdicts;
  const moved = strongest === undefined ? "" : `: ${strongest.feature} ${moveOf(strongest)}`;
  return { ...aboutOf(record, origin), model, version, phase, text: `${asset} is ${phase}${moved}`, verdicts, quality };
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
function alarmMessage(record: EventRecord, { site, device, hist, offsetMs }: FeedBatch): FeedMessage[] {
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
export function alarmBody(record: EventRecord, asset: string, origin: FeedOrigin): AlarmFeed {
  const { atMs, severity, code, text, model, detail } = record;
  return {
    ...aboutOf({ asset, observedAtMs: atMs }, origin),
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
}: NewestOfAsset): FeedMessage & { readonly body: LastFeed } {
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
  {
    site,
    device,
    labels,
    health,
  }: {
    readonly site: string;
    readonly device: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly health?: unknown;
  },
  heard: Pick<DeviceFeed, "presence" | "ageMs">,
  models: DeviceFeed["models"],
  nowMs: number,
): FeedMessage {
  return {
    topic: formatTopic({ kind: "presence", site, device }),
    body: {
      device,
      time: timeOf(nowMs),
      ...heard,
      labels: { ...labels },
      ...(health ? { health } : {}),
      models: [...models],
    },
  };
}

/** ISO 8601; a time that no calendar holds becomes the nearest one that it does. */
function timeOf(atMs: number): string {
  return new Date(Math.min(8.64e15, Math.max(0, atMs))).toISOString();
}
