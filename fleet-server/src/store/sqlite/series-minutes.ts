import type { Database } from "better-sqlite3";
import { ENTRY, entryOf, figuresOfEntry, mergeEntries } from "../../series/entries.ts";
import type { Figures } from "../../series/figures.ts";
import { type AssetChannels, type AssetMinute, type MinuteTable, minutesOf } from "../../series/minute-table.ts";
import { statement } from "./command.ts";

/**
 * Channels of one asset whose minutes share a row: statements cost more than figures, and SQLite keeps a row of this size (900 bytes)
 * beside its key. A longer one would spill into a page of its own.
 */
export const GROUP_SERIES_MAX = 12;

/** A channel's number, and that of the group its minutes lie in. */
export interface SeriesPlace {
  readonly id: number;
  readonly group: number;
}

/** Minutes of a group: an entry for each of its channels that had a value, the channel's number its key. */
export interface GroupMinute {
  readonly minute: number;
  readonly entries: Float64Array;
}

/** Adds minutes to those that are there. */
export function addMinutes(db: Database, minutes: MinuteTable): void {
  const places = new Map<AssetChannels, (SeriesPlace | undefined)[]>();
  for (const one of minutesOf(minutes)) {
    let known = places.get(one.of);
    if (known === undefined) {
      known = knownPlaces(db, one.of);
      places.set(one.of, known);
    }
    for (const { group, entries } of byGroup(db, one, known)) addMinute(db, group, one.minute, entries);
  }
}

function addMinute(db: Database, group: number, minute: number, later: Float64Array): void {
  const insert = statement(db, "INSERT INTO rollup_minutes VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
  if (insert.run(group, minute, bytesOf(later)).changes === 1) return;
  const find = statement(db, "SELECT bytes FROM rollup_minutes WHERE group_id = ? AND minute = ?").pluck();
  const there = entriesOf(find.get(group, minute) as Buffer);
  const replace = statement(db, "UPDATE rollup_minutes SET bytes = ? WHERE group_id = ? AND minute = ?");
  replace.run(bytesOf(mergeEntries(there, later)), group, minute);
}

/** A minute of an asset by the groups its channels are in; the channels' numbers are the keys. */
function byGroup(
  db: Database,
  { of, entries }: AssetMinute,
  known: (SeriesPlace | undefined)[],
): { readonly group: number; readonly entries: Float64Array }[] {
  const parts: { group: number; entries: Float64Array; length: number }[] = [];
  for (let at = 0; at < entries.length; at += ENTRY) {
    const channel = entries[at] as number;
    known[channel] ??= seriesPlace(db, of, of.channels[channel] as string);
    const { id, group } = known[channel];
    // Nearly always that of the channel before.
    let part = parts.at(-1)?.group === group ? parts.at(-1) : parts.find((one) => one.group === group);
    if (part === undefined) {
      part = { group, entries: new Float64Array(GROUP_SERIES_MAX * ENTRY), length: 0 };
      parts.push(part);
    }
    part.entries.set(entries.subarray(at, at + ENTRY), part.length);
    part.entries[part.length] = id;
    part.length += ENTRY;
  }
  return parts.map(({ group, entries: own, length }) => ({ group, entries: own.subarray(0, length) }));
}

/** Channels of an asset that are looked up together: one statement for all costs a fourth of one for each. */
const LOOKED_UP_TOGETHER_MAX = 100;

/** The places of an asset's channels, as far as they are looked up together. */
function knownPlaces(db: Database, { site, asset, channels }: AssetChannels): (SeriesPlace | undefined)[] {
  const find = statement(
    db,
    `SELECT channel, id, group_id FROM series_keys WHERE site = ? AND asset = ? LIMIT ${LOOKED_UP_TOGETHER_MAX}`,
  ).raw();
  const found = new Map<string, SeriesPlace>();
  for (const [channel, id, group] of find.all(site, asset) as [string, number, number][]) {
    found.set(channel, { id, group });
  }
  return channels.map((channel) => found.get(channel));
}

function seriesPlace(db: Database, { site, asset }: AssetChannels, channel: string): SeriesPlace {
  const find = statement(
    db,
    'SELECT id, group_id AS "group" FROM series_keys WHERE site = ? AND asset = ? AND channel = ?',
  );
  const found = find.get(site, asset, channel) as SeriesPlace | undefined;
  if (found) return found;
  const group = groupWithRoom(db, site, asset);
  const insert = statement(db, "INSERT INTO series_keys (site, asset, channel, group_id) VALUES (?, ?, ?, ?)");
  const id = Number(insert.run(site, asset, channel, group ?? 0).lastInsertRowid);
  if (group !== undefined) return { id, group };
  // The first of its group gives it its number.
  statement(db, "UPDATE series_keys SET group_id = id WHERE id = ?").run(id);
  return { id, group: id };
}

function groupWithRoom(db: Database, site: string, asset: string): number | undefined {
  const last = statement(db, "SELECT max(group_id) FROM series_keys WHERE site = ? AND asset = ?").pluck();
  const group = last.get(site, asset) as number | null;
  if (group === null || seriesOfGroup(db, { site, asset }, group).length === GROUP_SERIES_MAX) return undefined;
  return group;
}

/** The channels of a group; the asset leads to them. */
export function seriesOfGroup(
  db: Database,
  { site, asset }: Pick<AssetChannels, "site" | "asset">,
  group: number,
): number[] {
  const find = statement(db, "SELECT id FROM series_keys WHERE site = ? AND asset = ? AND group_id = ? ORDER BY id");
  return find.pluck().all(site, asset, group) as number[];
}

/** A group's minutes from one to another, both included, that are not packed. */
export function* minutesBetween(db: Database, group: number, from: number, to: number): Generator<GroupMinute> {
  const rows = statement(
    db,
    "SELECT minute, bytes FROM rollup_minutes WHERE group_id = ? AND minute BETWEEN ? AND ? ORDER BY minute",
  ).iterate(group, from, to) as IterableIterator<{ minute: number; bytes: Buffer }>;
  for (const { minute, bytes } of rows) yield { minute, entries: entriesOf(bytes) };
}

/** The newest figures of each of some channels of a group, as far as minutes have them that are not packed. */
export function newestOf(db: Database, group: number, series: readonly number[]): Map<number, Figures> {
  const newest = new Map<number, Figures>();
  const rows = statement(db, "SELECT bytes FROM rollup_minutes WHERE group_id = ? ORDER BY minute DESC").pluck();
  for (const bytes of rows.iterate(group) as IterableIterator<Buffer>) {
    const entries = entriesOf(bytes);
    for (const id of series) {
      const at = newest.has(id) ? -1 : entryOf(entries, id);
      if (at >= 0) newest.set(id, figuresOfEntry(entries, at));
    }
    if (newest.size === series.length) break;
  }
  return newest;
}

/** A group's entries as they are stored: doubles in the order of this machine's bytes, little-endian as every machine this runs on. */
export function bytesOf(entries: Float64Array): Buffer {
  return Buffer.from(entries.buffer, entries.byteOffset, entries.byteLength);
}

function entriesOf(bytes: Buffer): Float64Array {
  // Doubles must lie at multiples of eight, and a blob lies anywhere.
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes);
  return new Float64Array(buffer, byteOffset, byteLength / 8);
}
