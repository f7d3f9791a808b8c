import type { EventRecord, InferenceRecord, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { formatTopic } from "@bellwether/protocol/topics.ts";
import type { CommittedBatch } from "../store/ingest.ts";

/** One message of the feed: flat JSON, made only when somebody reads it. */
export interface FeedMessage {
  readonly topic: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What a committed batch says to subscribers. Assets and channels are named as the device names them. */
export function feedOf(batch: CommittedBatch): FeedMessage[] {
  const { site, device, hist } = batch;
  const about = (asset: string, feed: "last" | "telemetry" | "prediction") =>
    formatTopic({ kind: "feed", site, asset, feed });
  switch (batch.stream) {
    case "telemetry": {
      const rows = batch.records as readonly TelemetryRow[];
      const messages = rows.map((row) => ({ topic: about(row.asset, "telemetry"), body: rowBody(row, device, hist) }));
      const newest = new Map(rows.map((row) => [row.asset, row]));
      for (const [asset, row] of newest)
        messages.push({ topic: about(asset, "last"), body: rowBody(row, device, hist) });
      return messages;
    }
    case "inference":
      return (batch.records as readonly InferenceRecord[]).map((record) => ({
        topic: about(record.asset, "prediction"),
        body: { ...record, device, time: timeOf(record.observedAtMs), hist },
      }));
    case "event":
      return (batch.records as readonly EventRecord[]).flatMap((record) => alarmOf(record, batch));
    default:
      return [];
  }
}

/** An alert of an asset, as its alarm. Backfill is history: it raises nobody's alarm. */
function alarmOf(record: EventRecord, batch: CommittedBatch): FeedMessage[] {
  if (record.kind !== "alert" || record.asset === undefined || batch.hist) return [];
  const topic = formatTopic({
    kind: "alarm",
    site: batch.site,
    asset: record.asset,
    alarm: record.model ?? record.code,
  });
  return [{ topic, body: { ...record, device: batch.device, time: timeOf(record.atMs) } }];
}

/** A row as the feed writes it. */
export function rowBody(row: TelemetryRow, device: string, hist: boolean): Readonly<Record<string, unknown>> {
  const { asset, observedAtMs, values, quality } = row;
  return { asset, device, time: timeOf(observedAtMs), observedAtMs, ...(quality ? { quality } : {}), hist, values };
}

function timeOf(atMs: number): string {
  return new Date(atMs).toISOString();
}
