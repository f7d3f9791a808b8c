import { ENTRY } from "./entries.ts";

/** A channel of an asset at a site. */
export interface SeriesKey {
  readonly site: string;
  readonly asset: string;
  readonly channel: string;
}

/** An asset at a site, and channels of it. */
export interface AssetChannels {
  readonly site: string;
  readonly asset: string;
  readonly channels: readonly string[];
}

/** Figures per minute in numbers: they cross threads at once, where an object for each costs more than adding it up. */
export interface MinuteTable {
  readonly assets: readonly AssetChannels[];
  /** For each minute of an asset: the asset's place in `assets`, the minute since 1970 UTC, and how many entries it has. */
  readonly minutes: Float64Array;
  /** The entries of each, one after the other; an entry's key is the channel's place among those of its asset. */
  readonly entries: Float64Array;
}

/** One minute of one asset: the figures of the channels that had a value in it. */
export interface AssetMinute {
  readonly of: AssetChannels;
  /** Minutes since 1970 UTC. */
  readonly minute: number;
  /** An entry's key is the channel's place in `of.channels`. */
  readonly entries: Float64Array;
}

const MINUTE = 3;

/** Minutes as a table. */
export function tableOf(all: readonly AssetMinute[]): MinuteTable {
  const minutes = new Float64Array(all.length * MINUTE);
  const entries = new Float64Array(all.reduce((sum, one) => sum + one.entries.length, 0));
  const places = new Map<AssetChannels, number>();
  let end = 0;
  for (const [index, one] of all.entries()) {
    const place = places.get(one.of) ?? places.size;
    places.set(one.of, place);
    minutes.set([place, one.minute, one.entries.length / ENTRY], index * MINUTE);
    entries.set(one.entries, end);
    end += one.entries.length;
  }
  return { assets: [...places.keys()], minutes, entries };
}

/** The minutes of a table again; their entries are parts of the table's own. */
export function minutesOf({ assets, minutes, entries }: MinuteTable): AssetMinute[] {
  let end = 0;
  return Array.from({ length: minutes.length / MINUTE }, (_, index) => {
    const [place, minute, count] = minutes.subarray(index * MINUTE) as unknown as [number, number, number];
    const from = end;
    end += count * ENTRY;
    return { of: assets[place] as AssetChannels, minute, entries: entries.subarray(from, end) };
  });
}

/** Entries one piece of a slice holds, or those of one minute: the store's writer is done with it in some ten milliseconds. */
const PIECE_ENTRIES_MAX = 8_000;

/** Cuts a slice's minutes into pieces of so many entries, or of one minute; there is at least one, which may be empty. */
export function piecesOf({ assets, minutes, entries }: MinuteTable, entriesMax = PIECE_ENTRIES_MAX): MinuteTable[] {
  const pieces: MinuteTable[] = [];
  let [from, fromEntry, to, toEntry] = [0, 0, 0, 0];
  // Copies: of a part of an array another thread would get all of it.
  const cut = () => {
    const own = entries.slice(fromEntry * ENTRY, toEntry * ENTRY);
    pieces.push({ assets, minutes: minutes.slice(from, to), entries: own });
    [from, fromEntry] = [to, toEntry];
  };
  for (; to < minutes.length; to += MINUTE) {
    const count = minutes[to + 2] as number;
    if (to > from && toEntry - fromEntry + count > entriesMax) cut();
    toEntry += count;
  }
  cut();
  return pieces;
}
