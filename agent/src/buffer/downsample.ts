import { BATCH_BYTES_MAX, encodeBatch, type ResolutionOf } from "@bellwether/protocol/batch.ts";
import type { BucketFigures, DownsampledRow, StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";

/** As the server keeps them: its figures of a minute come out the same, whether rows arrive or what is left of them. */
const BUCKET_MS = 60_000;
/** What is left must be worth the rows that give way for it. */
const WORTH_FRACTION = 0.5;
const MEAN_DIGITS = 9;

interface Sums {
  count: number;
  min: number;
  sum: number;
  max: number;
  last: number;
}
interface Open {
  readonly asset: string;
  observedAtMs: number;
  readonly channels: Map<string, Sums>;
}

/** Rows in their order to the figures of each asset and minute; values that were not read count nowhere. */
export function downsample(rows: readonly TelemetryRow[]): DownsampledRow[] {
  const buckets = new Map<string, Open>();
  for (const { asset, observedAtMs, values } of rows) {
    const key = `${asset}/${Math.floor(observedAtMs / BUCKET_MS)}`;
    let open = buckets.get(key);
    if (open === undefined) {
      open = { asset, observedAtMs, channels: new Map() };
      buckets.set(key, open);
    }
    open.observedAtMs = Math.max(open.observedAtMs, observedAtMs);
    for (const channel in values) {
      const value = values[channel];
      if (value === null || value === undefined || !Number.isFinite(value)) continue;
      const figures = open.channels.get(channel);
      if (figures === undefined)
        open.channels.set(channel, { count: 1, min: value, sum: value, max: value, last: value });
      else {
        figures.count++;
        figures.min = Math.min(figures.min, value);
        figures.max = Math.max(figures.max, value);
        figures.sum += value;
        figures.last = value;
      }
    }
  }
  return [...buckets.values()].map(({ asset, observedAtMs, channels }) => ({
    asset,
    observedAtMs,
    figures: Object.fromEntries([...channels].map(([channel, figures]) => [channel, figuresOf(figures)])),
  }));
}

function figuresOf({ count, min, sum, max, last }: Sums): BucketFigures {
  const mean = Number((sum / count).toPrecision(MEAN_DIGITS));
  // Rounded, or with a sum beyond every double, it might lie outside what it is the mean of.
  return { count, min, mean: Math.min(max, Math.max(min, mean)), max, last };
}

/** Whether two batches say the same of their clock and their way: figures of both can stand under one of them. */
export function isAlike(one: StreamBatch, other: StreamBatch): boolean {
  const { hist, clock } = one;
  return hist === other.hist && clock.bootId === other.clock.bootId && clock.clockSynced === other.clock.clockSynced;
}

/**
 * The gap that takes the place of alike batches that follow each other, with the figures of their rows, as the bytes of a
 * batch; undefined where figures take no less room than the `bytes` they would free.
 */
export function downsampledGap(
  batches: readonly StreamBatch<"telemetry">[],
  fromSeq: number,
  bytes: number,
  resolutionOf: ResolutionOf | undefined,
): Uint8Array | undefined {
  const last = batches.at(-1);
  if (last === undefined) return undefined;
  const rows = batches.flatMap(({ records }) => records);
  const gap = { count: rows.length, reason: "downsampled" } as const;
  const kept = encodeBatch({ ...last, fromSeq, records: [], gap, downsampled: downsample(rows) }, resolutionOf);
  return kept.length <= Math.min(BATCH_BYTES_MAX, bytes * WORTH_FRACTION) ? kept : undefined;
}
