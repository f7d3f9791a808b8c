import { type ColumnFault, type TelemetryColumns, type TelemetryGroup, timesOf } from "@bellwether/protocol/columns.ts";
import type { DownsampledRow } from "@bellwether/protocol/messages/stream.ts";
import { ownersOf, rowsOfColumns, valuesOfColumn } from "@bellwether/protocol/rows-of-columns.ts";
import type { StoredRow } from "../store/ingest.ts";
import { addSample, figuresOfSample, MINUTE_MS } from "./figures.ts";
import { type MinuteFigures, type MinuteTable, type SeriesKey, tableOf } from "./minute-table.ts";

/** What a batch's rows have in common: where they are from, what to add to their times, and whether they are backfill. */
export interface CommittedAs {
  readonly site: string;
  readonly offsetMs: number;
  readonly hist: boolean;
}

interface Open {
  readonly series: SeriesKey;
  readonly minutes: Map<number, MinuteFigures>;
  /** The minute the last sample went to: nearly always that of the next. */
  usual: MinuteFigures | undefined;
}

/** Adds committed rows up to minutes of their channels, in the order they are given: that of their commit. */
export class MinuteRollup {
  readonly #assets = new Map<string, Map<string, Open>>();

  /** Samples without a value (failed reads) count as absent. */
  add(site: string, row: Pick<StoredRow, "asset" | "values" | "correctedAtMs" | "hist">): void {
    const minute = Math.floor(row.correctedAtMs / MINUTE_MS);
    for (const channel in row.values) {
      const value = row.values[channel];
      if (value === null || value === undefined) continue;
      addTo(this.#openOf(site, row.asset, channel), value, minute, row.correctedAtMs, row.hist);
    }
  }

  /**
   * The same for all rows of a batch as they travelled, one channel after the other: making an object of each row costs more than adding
   * it up.
   */
  addColumns(of: CommittedAs, columns: TelemetryColumns): void {
    if (isScattered(columns)) {
      for (const { asset, values, observedAtMs } of made(rowsOfColumns(columns))) {
        this.add(of.site, { asset, values, correctedAtMs: observedAtMs + of.offsetMs, hist: of.hist });
      }
      return;
    }
    for (const group of columns.groups) this.#addGroup(of, group);
  }

  #addGroup({ site, offsetMs, hist }: CommittedAs, group: TelemetryGroup): void {
    const timesMs = made(timesOf(group));
    const { assets, counts } = made(ownersOf(group, timesMs.length));
    for (const [row, timeMs] of timesMs.entries()) timesMs[row] = timeMs + offsetMs;
    const minutes = timesMs.map((timeMs) => Math.floor(timeMs / MINUTE_MS));
    for (const column of group.channels) {
      const values = made(valuesOfColumn(column));
      let [owner, end] = [-1, 0];
      let open: Open | undefined;
      for (let index = 0; index < values.length; index++) {
        const row = column.at === undefined ? index : (column.at[index] as number);
        while (row >= end) {
          end += counts[++owner] as number;
          open = undefined;
        }
        const value = values[index] as number | null;
        if (value === null) continue;
        open ??= this.#openOf(site, assets[owner] as string, column.channel);
        addTo(open, value, minutes[row] as number, timesMs[row] as number, hist);
      }
    }
  }

  #openOf(site: string, asset: string, channel: string): Open {
    const key = `${site}/${asset}`;
    let channels = this.#assets.get(key);
    if (channels === undefined) {
      channels = new Map();
      this.#assets.set(key, channels);
    }
    let open = channels.get(channel);
    if (open === undefined) {
      open = { series: { site, asset, channel }, minutes: new Map(), usual: undefined };
      channels.set(channel, open);
    }
    return open;
  }

  /** Every minute, channel by channel; the same rows give the same order. */
  minutes(): MinuteTable {
    const figures = [...this.#assets.values()].flatMap((channels) =>
      [...channels.values()].flatMap(({ minutes }) => [...minutes.values()]),
    );
    return tableOf(figures);
  }
}

function addTo(open: Open, value: number, minute: number, atMs: number, hist: boolean): void {
  const found = open.usual?.minute === minute ? open.usual : open.minutes.get(minute);
  if (found === undefined) {
    const first = { series: open.series, minute, ...figuresOfSample(value, atMs, hist) };
    open.minutes.set(minute, first);
    open.usual = first;
  } else {
    addSample(found, value, atMs, hist);
    open.usual = found;
  }
}

/** Whether an asset's rows lie in several groups: which of two at one time was the later only their order says. */
function isScattered({ groups }: TelemetryColumns): boolean {
  if (groups.length < 2) return false;
  const assets = groups.flatMap((group) => group.assets ?? [group.asset]);
  return new Set(assets).size < assets.length;
}

/** What was made of columns; they were judged before they were stored, so a fault is the store's. */
function made<T extends object>(found: T | ColumnFault | string | undefined): T {
  if (typeof found !== "object" || "reason" in found) throw new Error("a stored batch is not what was committed");
  return found;
}

/** What a device has left of rows that gave way, as minutes. */
export function minutesOfDownsampled(
  { site, offsetMs, hist }: CommittedAs,
  rows: readonly DownsampledRow[],
): MinuteFigures[] {
  return rows.flatMap(({ asset, observedAtMs, figures }) => {
    const lastAtMs = observedAtMs + offsetMs;
    return Object.entries(figures).map(([channel, { count, min, mean, max, last }]) => ({
      series: { site, asset, channel },
      minute: Math.floor(lastAtMs / MINUTE_MS),
      ...{ count, hist: hist ? count : 0, min: min + 0, max: max + 0, sum: mean * count, sumError: 0, last, lastAtMs },
    }));
  });
}
