import { type ColumnFault, type TelemetryColumns, type TelemetryGroup, timesOf } from "@bellwether/protocol/columns.ts";
import type { DownsampledRow } from "@bellwether/protocol/messages/stream.ts";
import { ownersOf, rowsOfColumns, valuesOfColumn } from "@bellwether/protocol/rows-of-columns.ts";
import type { StoredRow } from "../store/ingest.ts";
import { ENTRY, figuresOfEntry, setEntry } from "./entries.ts";
import { addSample, figuresOfSample, MINUTE_MS } from "./figures.ts";
import { type AssetMinute, type MinuteTable, tableOf } from "./minute-table.ts";

/** What a batch's rows have in common: where they are from, what to add to their times, and whether they are backfill. */
export interface CommittedAs {
  readonly site: string;
  readonly offsetMs: number;
  readonly hist: boolean;
}

/** An asset's minutes while they are added up. */
interface OpenAsset {
  readonly site: string;
  readonly asset: string;
  readonly channels: string[];
  /** Where each channel is in `channels`. */
  readonly places: Map<string, number>;
  readonly minutes: Map<number, OpenMinute>;
}

interface OpenMinute {
  readonly minute: number;
  /** The entries so far, and room for more; an entry's key is its channel's place. */
  entries: Float64Array;
  /** Where each channel's entry begins. */
  readonly at: Map<number, number>;
}

/** Entries a minute has room for at first. */
const ROOM = 32;

/** Rows of a group that follow each other and go to one minute of one asset: from one row up to another. */
interface Stretch {
  readonly of: OpenAsset;
  readonly minute: OpenMinute;
  readonly to: number;
}

/** Samples of one channel. */
interface Samples {
  readonly values: readonly (number | null)[];
  /** The row of each; undefined where every row has one. */
  readonly rows: readonly number[] | undefined;
  /** When each row was. */
  readonly timesMs: readonly number[];
  readonly hist: boolean;
}

/** Adds committed rows up to minutes of their channels, in the order they are given: that of their commit. */
export class MinuteRollup {
  readonly #assets = new Map<string, OpenAsset>();

  /** Samples without a value (failed reads) count as absent. */
  add(site: string, row: Pick<StoredRow, "asset" | "values" | "correctedAtMs" | "hist">): void {
    const of = this.#openOf(site, row.asset);
    const minute = minuteOf(of, Math.floor(row.correctedAtMs / MINUTE_MS));
    for (const channel in row.values) {
      const values = [row.values[channel] ?? null];
      const samples = { values, rows: undefined, timesMs: [row.correctedAtMs], hist: row.hist };
      addSamples(of, minute, channel, samples, 0, 1);
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
    for (const [row, timeMs] of timesMs.entries()) timesMs[row] = timeMs + offsetMs;
    const stretches = this.#stretchesOf(site, group, timesMs);
    for (const column of group.channels) {
      const values = made(valuesOfColumn(column));
      const samples = { values, rows: column.at, timesMs, hist };
      let index = 0;
      for (const { of, minute, to } of stretches) {
        const from = index;
        if (column.at === undefined) index = to;
        else while (index < values.length && (column.at[index] as number) < to) index += 1;
        if (index > from) addSamples(of, minute, column.channel, samples, from, index);
      }
    }
  }

  #stretchesOf(site: string, group: TelemetryGroup, timesMs: readonly number[]): Stretch[] {
    const { assets, counts } = made(ownersOf(group, timesMs.length));
    const stretches: Stretch[] = [];
    let row = 0;
    for (const [owner, asset] of assets.entries()) {
      const of = this.#openOf(site, asset);
      const end = row + (counts[owner] as number);
      while (row < end) {
        const minute = Math.floor((timesMs[row] as number) / MINUTE_MS);
        for (row += 1; row < end && Math.floor((timesMs[row] as number) / MINUTE_MS) === minute; ) row += 1;
        stretches.push({ of, minute: minuteOf(of, minute), to: row });
      }
    }
    return stretches;
  }

  #openOf(site: string, asset: string): OpenAsset {
    const key = `${site}/${asset}`;
    let open = this.#assets.get(key);
    if (open === undefined) {
      open = { site, asset, channels: [], places: new Map(), minutes: new Map() };
      this.#assets.set(key, open);
    }
    return open;
  }

  /** Every minute, asset by asset; the same rows give the same order. */
  minutes(): MinuteTable {
    const all: AssetMinute[] = [];
    for (const of of this.#assets.values()) {
      for (const { minute, entries, at } of of.minutes.values()) {
        if (at.size > 0) all.push({ of, minute, entries: entries.subarray(0, at.size * ENTRY) });
      }
    }
    const { assets, ...numbers } = tableOf(all);
    // What else an open asset has needs not cross to another thread.
    return { assets: assets.map(({ site, asset, channels }) => ({ site, asset, channels })), ...numbers };
  }
}

function minuteOf(of: OpenAsset, minute: number): OpenMinute {
  let open = of.minutes.get(minute);
  if (open === undefined) {
    open = { minute, entries: new Float64Array(ROOM * ENTRY), at: new Map() };
    of.minutes.set(minute, open);
  }
  return open;
}

/** Adds samples of one channel, from one place up to another, to one minute. */
function addSamples(
  of: OpenAsset,
  minute: OpenMinute,
  channel: string,
  { values, rows, timesMs, hist }: Samples,
  from: number,
  to: number,
): void {
  const place = placeOf(of, channel);
  let at = minute.at.get(place);
  let figures = at === undefined ? undefined : figuresOfEntry(minute.entries, at);
  for (let index = from; index < to; index++) {
    const value = values[index] as number | null;
    if (value === null) continue;
    const atMs = timesMs[rows === undefined ? index : (rows[index] as number)] as number;
    if (figures === undefined) figures = figuresOfSample(value, atMs, hist);
    else addSample(figures, value, atMs, hist);
  }
  if (figures === undefined) return;
  at ??= newEntry(minute, place);
  setEntry(minute.entries, at, place, figures);
}

function placeOf(of: OpenAsset, channel: string): number {
  let place = of.places.get(channel);
  if (place === undefined) {
    place = of.channels.push(channel) - 1;
    of.places.set(channel, place);
  }
  return place;
}

/** Where a new entry of a minute begins. */
function newEntry(minute: OpenMinute, place: number): number {
  const at = minute.at.size * ENTRY;
  if (at === minute.entries.length) {
    const grown = new Float64Array(2 * at);
    grown.set(minute.entries);
    minute.entries = grown;
  }
  minute.at.set(place, at);
  return at;
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
): MinuteTable {
  return tableOf(
    rows.map(({ asset, observedAtMs, figures }) => {
      const lastAtMs = observedAtMs + offsetMs;
      const channels = Object.keys(figures);
      const entries = new Float64Array(channels.length * ENTRY);
      for (const [place, { count, min, mean, max, last }] of Object.values(figures).entries()) {
        const bounds = { min: min + 0, max: max + 0 };
        const sums = { sum: mean * count, sumError: 0 };
        setEntry(entries, place * ENTRY, place, { count, hist: hist ? count : 0, ...bounds, ...sums, last, lastAtMs });
      }
      return { of: { site, asset, channels }, minute: Math.floor(lastAtMs / MINUTE_MS), entries };
    }),
  );
}
