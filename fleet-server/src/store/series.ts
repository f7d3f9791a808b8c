import type { MinuteTable, SeriesKey } from "../series/minute-table.ts";
import type { Points } from "../series/steps.ts";

/** A stretch of committed batches that is being added up, and which piece of it comes next. */
export interface RollupSlice {
  /** Batches after this id, up to and including `to`. */
  readonly from: number;
  readonly to: number;
  /** Pieces of it that are written already. */
  readonly done: number;
}

/** What of a channel was asked for. */
export interface SeriesQuery {
  readonly sites?: readonly string[];
  readonly assets?: readonly string[];
  readonly channels?: readonly string[];
}

/** The newest value of a channel. */
export interface CurrentValue extends SeriesKey {
  /** Null where the last reading failed. */
  readonly value: number | null;
  readonly quality: "good" | "uncertain" | "bad";
  readonly correctedAtMs: number;
  readonly hist: boolean;
}

/** Figures per minute and hour of every channel, made from committed batches after their commit. */
export interface SeriesStore {
  /** The next batches that are not in the figures yet, added up; undefined when all are. Reads only. */
  pending(
    args: Record<string, never>,
  ): Promise<{ readonly slice: RollupSlice; readonly minutes: MinuteTable } | undefined>;
  /**
   * Writes one piece of a slice; `last` closes the slice. A piece that was written before is ignored, so whoever was
   * interrupted asks for what is pending and goes on. Answers whether it was written.
   */
  keep(args: { readonly slice: RollupSlice; readonly minutes: MinuteTable; readonly last: boolean }): Promise<boolean>;
  /** Packs minutes before a time into blocks, a day of a few channels at once; `next` where the next call goes on. */
  pack(args: { readonly beforeMs: number; readonly fromGroup: number }): Promise<{ readonly next?: number }>;
  /**
   * Figures of some channels in even steps: `fromMs` is a multiple of `stepMs`, a multiple of a minute; whole hours come
   * from the figures per hour. In the order of site, asset and channel, after one of them.
   */
  points(
    args: SeriesQuery & {
      readonly fromMs: number;
      readonly toMs: number;
      readonly stepMs: number;
      readonly after?: readonly [site: string, asset: string, channel: string];
      readonly limit: number;
    },
  ): Promise<{ readonly items: (SeriesKey & { readonly points: Points })[]; readonly more: boolean }>;
  /** The newest value of every channel, in that order. */
  current(
    args: SeriesQuery & {
      readonly after?: readonly [site: string, asset: string, channel: string];
      readonly limit: number;
    },
  ): Promise<CurrentValue[]>;
  /** Batches that are not in the figures yet. */
  waiting(args: Record<string, never>): Promise<number>;
}
