import { type Static, type TSchema, Type } from "typebox";
import { Name, TimeMs } from "./ids.ts";
import { integer } from "./schema.ts";

/** Most records one batch may hold; every list in it is bounded by this. */
export const BATCH_RECORDS_MAX = 10_000;

/** The resolution a channel declares, or undefined where it declares none. */
export type ResolutionOf = (asset: string, channel: string) => number | undefined;

/** Schema of a column: a list with an entry for each row, or for some. */
export function columnOf<S extends TSchema>(of: S) {
  return Type.Array(of, { maxItems: BATCH_RECORDS_MAX });
}

/** Schema of places in a batch or a group, 0-based. */
export const Indexes = columnOf(integer({ minimum: 0 }));
const Delta = integer();

/** Time of the first row, then the difference of each further row to the one before it. */
export const TimeColumn = { t0: TimeMs, dt: Type.Array(Delta, { maxItems: BATCH_RECORDS_MAX - 1 }) };

/** One channel of a group. Either `steps` with `resolution`, or `values`. */
export const TelemetryColumn = Type.Object({
  channel: Name,
  /** Rows of the group (0-based, ascending) that have this channel; absent when all have it. */
  at: Type.Optional(Indexes),
  resolution: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
  /** Values in steps of the resolution, each as the difference to the one before it that is not null. */
  steps: Type.Optional(columnOf(Type.Union([Delta, Type.Null()]))),
  /** Values as they are, where no resolution is declared or the values do not lie on its grid. */
  values: Type.Optional(columnOf(Type.Union([Type.Number(), Type.Null()]))),
  /** Positions in `values` of negative zeros, which JSON writers lose. */
  negativeZeros: Type.Optional(Indexes),
  /** Rows of the group where the channel's quality is not good. */
  uncertain: Type.Optional(Indexes),
  bad: Type.Optional(Indexes),
});
export type TelemetryColumn = Static<typeof TelemetryColumn>;

/**
 * Rows of one asset, or of several that have the same channels: those of each asset in their order, one asset after the
 * other. Times and values go on from one asset to the next.
 */
export const TelemetryGroup = Type.Object({
  asset: Type.Optional(Name),
  /** Where there are several: the assets, and how many of the rows are each one's. */
  assets: Type.Optional(columnOf(Name)),
  rows: Type.Optional(columnOf(integer({ minimum: 1 }))),
  ...TimeColumn,
  channels: Type.Array(TelemetryColumn, { maxItems: 1_024 }),
});
export type TelemetryGroup = Static<typeof TelemetryGroup>;

/** How rows travel: in groups, and for each record its asset (as counted over all groups) where there are several. */
export const telemetryColumns = {
  order: Type.Optional(Indexes),
  groups: Type.Array(TelemetryGroup, { maxItems: BATCH_RECORDS_MAX }),
};
export interface TelemetryColumns {
  readonly order?: number[];
  readonly groups: TelemetryGroup[];
}

/** Times as they travel; there is at least one. */
export function differencesOf(times: readonly number[]): { t0: number; dt: number[] } {
  const dt: number[] = [];
  for (let row = 1; row < times.length; row++) dt.push((times[row] as number) - (times[row - 1] as number));
  return { t0: times[0] as number, dt };
}

/** The times again; undefined where one lies outside the calendar. */
export function timesOf({ t0, dt }: { readonly t0: number; readonly dt: readonly number[] }): number[] | undefined {
  const times = [t0];
  let timeMs = t0;
  for (const delta of dt) {
    timeMs += delta;
    if (timeMs < 0 || timeMs > 8.64e15) return undefined;
    times.push(timeMs);
  }
  return times;
}

/** What is wrong with columns that fit their schema and still make no rows. */
export interface ColumnFault {
  readonly path: string;
  readonly reason: string;
}

/** Records that lie apart, each lot in its order, in the order of the batch; or what is wrong with that order. */
export function inOrder<T>(lots: T[][], order: readonly number[] | undefined): T[] | ColumnFault {
  const count = lots.reduce((sum, rows) => sum + rows.length, 0);
  if (count > BATCH_RECORDS_MAX) return { path: "/groups", reason: `more than ${BATCH_RECORDS_MAX} rows` };
  if (order === undefined) {
    return lots.length > 1 ? { path: "/order", reason: "missing where there are several to order" } : (lots[0] ?? []);
  }
  if (order.length !== count) return { path: "/order", reason: `not ${count} entries, one per row` };
  const next = lots.map(() => 0);
  const rows: T[] = [];
  for (const lot of order) {
    const row = lots[lot]?.[next[lot] as number];
    if (row === undefined) return { path: "/order", reason: `more than there are of ${lot}` };
    next[lot] = (next[lot] as number) + 1;
    rows.push(row);
  }
  return rows;
}
