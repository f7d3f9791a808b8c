import type { DownsampledRow } from "@bellwether/protocol/messages/stream.ts";
import type { StoredRow } from "../store/ingest.ts";
import { addSample, type Figures, figuresOfSample, MINUTE_MS } from "./figures.ts";

/** A channel of an asset at a site. */
export interface SeriesKey {
  readonly site: string;
  readonly asset: string;
  readonly channel: string;
}

/** One minute of one channel. */
export interface MinuteFigures extends Figures {
  readonly series: SeriesKey;
  /** Minutes since 1970 UTC. */
  readonly minute: number;
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
    const channels = this.#channelsOf(site, row.asset);
    for (const channel in row.values) {
      const value = row.values[channel];
      if (value === null || value === undefined) continue;
      let open = channels.get(channel);
      if (open === undefined) {
        open = { series: { site, asset: row.asset, channel }, minutes: new Map(), usual: undefined };
        channels.set(channel, open);
      }
      const found = open.usual?.minute === minute ? open.usual : open.minutes.get(minute);
      if (found === undefined) {
        const first = { series: open.series, minute, ...figuresOfSample(value, row.correctedAtMs, row.hist) };
        open.minutes.set(minute, first);
        open.usual = first;
      } else {
        addSample(found, value, row.correctedAtMs, row.hist);
        open.usual = found;
      }
    }
  }

  #channelsOf(site: string, asset: string): Map<string, Open> {
    const key = `${site}/${asset}`;
    const channels = this.#assets.get(key) ?? new Map<string, Open>();
    this.#assets.set(key, channels);
    return channels;
  }

  /** Every minute, channel by channel; the same rows give the same order. */
  minutes(): MinuteFigures[] {
    return [...this.#assets.values()].flatMap((channels) =>
      [...channels.values()].flatMap(({ minutes }) => [...minutes.values()]),
    );
  }
}

/** What a device has left of rows that gave way, as minutes. */
export function minutesOfDownsampled(
  { site, offsetMs, hist }: { readonly site: string; readonly offsetMs: number; readonly hist: boolean },
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

/** Minutes one piece of a slice holds: the store's writer is done with it in some ten milliseconds. */
const PIECE_MINUTES_MAX = 2_000;

/** Cuts a slice's minutes into pieces; there is at least one, which may be empty. */
export function piecesOf(minutes: readonly MinuteFigures[]): (readonly MinuteFigures[])[] {
  if (minutes.length === 0) return [[]];
  const count = Math.ceil(minutes.length / PIECE_MINUTES_MAX);
  return Array.from({ length: count }, (_, piece) =>
    minutes.slice(piece * PIECE_MINUTES_MAX, (piece + 1) * PIECE_MINUTES_MAX),
  );
}
