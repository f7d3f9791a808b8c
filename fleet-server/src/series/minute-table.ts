import type { Figures } from "./figures.ts";

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

/** Minutes of channels in numbers: they cross threads at once, where an object for each costs more than adding it up. */
export interface MinuteTable {
  readonly series: readonly SeriesKey[];
  /** For each minute its channel's place in `series`, the minute, and its figures. */
  readonly numbers: Float64Array;
}

const NUMBERS = 10;

/** Minutes as a table; those of one channel share its key. */
export function tableOf(minutes: readonly MinuteFigures[]): MinuteTable {
  const numbers = new Float64Array(minutes.length * NUMBERS);
  const places = new Map<SeriesKey, number>();
  let at = 0;
  for (const one of minutes) {
    const place = places.get(one.series) ?? places.size;
    places.set(one.series, place);
    numbers[at++] = place;
    numbers[at++] = one.minute;
    numbers[at++] = one.count;
    numbers[at++] = one.hist;
    numbers[at++] = one.min;
    numbers[at++] = one.max;
    numbers[at++] = one.sum;
    numbers[at++] = one.sumError;
    numbers[at++] = one.last;
    numbers[at++] = one.lastAtMs;
  }
  return { series: [...places.keys()], numbers };
}

/** The minutes of a table again. */
export function minutesOf({ series, numbers }: MinuteTable): MinuteFigures[] {
  const number = (at: number) => numbers[at] as number;
  return Array.from({ length: numbers.length / NUMBERS }, (_, index) => {
    const at = index * NUMBERS;
    return {
      series: series[number(at)] as SeriesKey,
      minute: number(at + 1),
      count: number(at + 2),
      hist: number(at + 3),
      min: number(at + 4),
      max: number(at + 5),
      sum: number(at + 6),
      sumError: number(at + 7),
      last: number(at + 8),
      lastAtMs: number(at + 9),
    };
  });
}

/** Minutes one piece of a slice holds: the store's writer is done with it in some ten milliseconds. */
const PIECE_MINUTES_MAX = 2_000;

/** Cuts a slice's minutes into pieces of so many; there is at least one, which may be empty. */
export function piecesOf({ series, numbers }: MinuteTable, minutesMax = PIECE_MINUTES_MAX): MinuteTable[] {
  const count = Math.max(1, Math.ceil(numbers.length / NUMBERS / minutesMax));
  const length = minutesMax * NUMBERS;
  // Copies: of a part of an array another thread would get all of it.
  return Array.from({ length: count }, (_, piece) => ({
    series,
    numbers: numbers.slice(piece * length, (piece + 1) * length),
  }));
}
