import { statSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { DownsampledRow, StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import type { Outbox, OutboxFigures } from "../../agent/src/buffer/outbox.ts";
import { read } from "../kit/outbox.ts";

/** A device whose line is down for hours, and how much it may keep. */
export interface OfflinePlan {
  readonly hours: number;
  readonly rowsPerSecond: number;
  readonly maxBytes: number;
  readonly maxAgeHours: number;
  readonly commitMs: number;
}

export interface OfflineFigures {
  readonly rows: number;
  readonly commits: number;
  /** Most bytes of file and write-ahead log after any commit, as the machine's user sees them. */
  readonly mostBytes: number;
  readonly delivered: number;
  /** Of these only figures were left; of what is evicted or expired, nothing. */
  readonly downsampled: number;
  readonly evicted: number;
  readonly expired: number;
  readonly expiredEvents: number;
  /** What the outbox itself counted. */
  readonly counted: OutboxFigures;
}

const CHANNELS = 24;
const ASSETS = 2;
const RESOLUTION = 0.01;
const START_MS = 1_790_000_000_000;
const BATCH_BYTES = 4 * 1024 * 1024;
/** One event in ten minutes: what is more important than rows must all come through. */
const EVENT_EVERY_MS = 600_000;

/** The n-th row, from 0: what a plant's slow sensors with noise give. Anybody can compute it again. */
export function rowOf(n: number, { rowsPerSecond }: Pick<OfflinePlan, "rowsPerSecond">): TelemetryRow {
  const values: Record<string, number> = {};
  let state = (Math.imul(n, 0x9e3779b1) ^ 0x5bd1e995) >>> 0;
  for (let channel = 0; channel < CHANNELS; channel++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    values[`c${channel}`] = ((channel + 1) * 1_000 + Math.floor(n / 2_000) * (channel % 3) + (state >>> 28)) / 100;
  }
  return { asset: `pump-${n % ASSETS}`, observedAtMs: START_MS + Math.floor((n * 1_000) / rowsPerSecond), values };
}

/**
 * Takes rows at their rate for hours without a line, by a clock that is set, on real files in `folder`; then gives
 * everything to a server that holds it, value by value and seq by seq, against what was taken. Throws where a promise
 * is broken.
 */
export async function stayOffline(folder: string, plan: OfflinePlan): Promise<OfflineFigures> {
  const file = join(folder, "outbox.sqlite");
  let elapsedMs = 0;
  const clock = () => ({ bootId: "boot", monoMs: elapsedMs, wallMs: START_MS + elapsedMs, clockSynced: true });
  const outbox = unwrap(
    openOutbox(file, {
      maxBytes: plan.maxBytes,
      maxAgeMs: plan.maxAgeHours * 3_600_000,
      commitMs: plan.commitMs,
      keepAckedMs: 0,
      backfillBytesPerSecond: 1e9,
      clock,
      resolutionOf: () => RESOLUTION,
      time: { after: () => () => undefined },
    }),
  );
  let [rows, commits, mostBytes, events] = [0, 0, 0, 0];
  for (; elapsedMs < plan.hours * 3_600_000; elapsedMs += plan.commitMs) {
    const due = Math.floor(((elapsedMs + plan.commitMs) * plan.rowsPerSecond) / 1_000);
    outbox.append({ rows: Array.from({ length: due - rows }, (_, index) => rowOf(rows + index, plan)) });
    rows = due;
    if (elapsedMs >= events * EVENT_EVERY_MS) outbox.append({ events: [eventOf(events++)] });
    unwrap(outbox.commit());
    // What compressing takes outside the heap goes back when the loop turns, as it does all the time on a device.
    if (++commits % 100 === 0) await turn();
    mostBytes = Math.max(mostBytes, bytesOf(file));
    if (mostBytes > plan.maxBytes) throw new Error(`${mostBytes} bytes of ${plan.maxBytes} after ${elapsedMs} ms`);
  }
  const counted = outbox.stats();
  const taken = await takeAll(outbox, plan, () => {
    mostBytes = Math.max(mostBytes, bytesOf(file));
  });
  unwrap(outbox.close());
  if (taken.nextRow !== rows || taken.nextEvent !== events) throw new Error(`${rows} rows and ${events} events taken`);
  if (mostBytes > plan.maxBytes) throw new Error(`${mostBytes} bytes of ${plan.maxBytes} while it was sent`);
  const { nextRow: _, nextEvent: __, ...gone } = taken;
  return { rows, commits, mostBytes, ...gone, counted };
}

function eventOf(index: number) {
  const atMs = START_MS + index * EVENT_EVERY_MS;
  return { atMs, kind: "device", severity: "info", code: "LOOK", text: `${index}` } as const;
}

function bytesOf(file: string): number {
  return ["", "-wal"].reduce(
    (sum, part) => sum + (statSync(`${file}${part}`, { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}

/** The server: takes every chunk in the order of seq, looks at every value, and acknowledges. */
async function takeAll(outbox: Outbox, plan: OfflinePlan, looked: () => void) {
  const taken = { nextRow: 0, nextEvent: 0, delivered: 0, downsampled: 0, evicted: 0, expired: 0, expiredEvents: 0 };
  const { epoch } = outbox.open();
  outbox.setOnline(true);
  for (;;) {
    const chunks = outbox.nextChunks(BATCH_BYTES);
    if (chunks.length === 0) return taken;
    for (const batch of chunks.map(read)) {
      if (batch.stream === "telemetry") takeRows(batch as StreamBatch<"telemetry">, taken, plan);
      else if (batch.stream === "event") takeEvents(batch as StreamBatch<"event">, taken);
      else throw new Error(`a batch of ${batch.stream}`);
    }
    const upTo = (next: number) => ({ epoch, upTo: next, also: [] });
    outbox.acked({ v: 1, streams: { telemetry: upTo(taken.nextRow), event: upTo(taken.nextEvent) } });
    unwrap(outbox.commit());
    looked();
    await turn();
  }
}

type Taken = Awaited<ReturnType<typeof takeAll>>;

function takeRows(batch: StreamBatch<"telemetry">, taken: Taken, plan: OfflinePlan): void {
  const { fromSeq, records, gap, downsampled = [], hist } = batch;
  if (fromSeq !== taken.nextRow + 1 || !hist) throw new Error(`seq ${fromSeq} after ${taken.nextRow}`);
  if (gap) {
    if (gap.reason === "unreadable") throw new Error(`rows from ${fromSeq} cannot be read`);
    if (gap.reason === "downsampled") checkFigures(downsampled, taken.nextRow, gap.count, plan);
    taken[gap.reason] += gap.count;
    taken.nextRow += gap.count;
    return;
  }
  for (const row of records) {
    const [given, stored] = [JSON.stringify(rowOf(taken.nextRow++, plan)), JSON.stringify(row)];
    if (given !== stored) throw new Error(`row ${taken.nextRow} arrived as ${stored}, and was ${given}`);
    taken.delivered++;
  }
}

/** Compares figures with those of the very rows that they stand for. */
function checkFigures(told: readonly DownsampledRow[], first: number, count: number, plan: OfflinePlan): void {
  const minutes = new Map<string, TelemetryRow[]>();
  for (let n = first; n < first + count; n++) {
    const row = rowOf(n, plan);
    const key = `${row.asset} ${Math.floor(row.observedAtMs / 60_000)}`;
    minutes.set(key, [...(minutes.get(key) ?? []), row]);
  }
  if (minutes.size !== told.length)
    throw new Error(`figures of ${told.length} minutes, and there were ${minutes.size}`);
  for (const { asset, observedAtMs, figures } of told) {
    const rows = minutes.get(`${asset} ${Math.floor(observedAtMs / 60_000)}`) ?? [];
    for (const [channel, { mean, ...rest }] of Object.entries(figures)) {
      const values = rows.map(({ values }) => values[channel] as number);
      const [min, max, last] = [Math.min(...values), Math.max(...values), values.at(-1)];
      const off = mean / (values.reduce((sum, value) => sum + value, 0) / values.length) - 1;
      const exact = isDeepStrictEqual(rest, { count: values.length, min, max, last });
      if (!exact || Math.abs(off) > 1e-8 || rows.at(-1)?.observedAtMs !== observedAtMs) {
        throw new Error(`${JSON.stringify(figures[channel])} of ${channel} of ${asset} at ${observedAtMs}`);
      }
    }
    if (Object.keys(figures).length !== CHANNELS) throw new Error(`figures of ${Object.keys(figures).length} channels`);
  }
}

function takeEvents({ records, gap }: StreamBatch<"event">, taken: Taken): void {
  if (gap) {
    if (gap.reason !== "expired") throw new Error(`events are ${gap.reason}`);
    taken.nextEvent += gap.count;
    taken.expiredEvents += gap.count;
  }
  for (const record of records) {
    if (record.text !== String(taken.nextEvent++)) throw new Error(`event ${taken.nextEvent} is ${record.text}`);
  }
}
