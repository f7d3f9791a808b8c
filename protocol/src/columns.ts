import { type Static, type TSchema, Type } from "typebox";
import { Name, TimeMs } from "./ids.ts";
import type { TelemetryRow } from "./messages/stream.ts";
import { gridOf } from "./resolution.ts";

/** Most records one batch may hold; every list in it is bounded by this. */
export const BATCH_RECORDS_MAX = 10_000;

/** The resolution a channel declares, or undefined where it declares none. */
export type ResolutionOf = (asset: string, channel: string) => number | undefined;

/** Schema of a column: a list with an entry for each row, or for some. */
export function columnOf<S extends TSchema>(of: S) {
  return Type.Array(of, { maxItems: BATCH_RECORDS_MAX });
}

/** Schema of places in a batch or a group, 0-based. */
export const Indexes = columnOf(Type.Integer({ minimum: 0 }));
const Delta = Type.Integer({ minimum: -Number.MAX_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER });

/** Time of the first row, then the difference of each further row to the one before it. */
export const TimeColumn = { t0: TimeMs, dt: Type.Array(Delta, { maxItems: BATCH_RECORDS_MAX - 1 }) };

/** One channel of one asset. Either `steps` with `resolution`, or `values`. */
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

/** All rows of one asset in a batch, in their order: times and one column per channel. */
export const TelemetryGroup = Type.Object({
  asset: Name,
  ...TimeColumn,
  channels: Type.Array(TelemetryColumn, { maxItems: 1_024 }),
});
export type TelemetryGroup = Static<typeof TelemetryGroup>;

/** How rows travel: one group per asset, and the group of each record where there are several. */
export const telemetryColumns = {
  order: Type.Optional(Indexes),
  groups: Type.Array(TelemetryGroup, { maxItems: BATCH_RECORDS_MAX }),
};
export interface TelemetryColumns {
  readonly order?: number[];
  readonly groups: TelemetryGroup[];
}

interface ColumnDraft {
  readonly channel: string;
  /** Rows that have the channel, where not all of them do so far. */
  at: number[] | undefined;
  readonly values: (number | null)[];
  readonly uncertain: number[];
  readonly bad: number[];
}
interface GroupDraft {
  readonly times: number[];
  readonly columns: Map<string, ColumnDraft>;
  /** The columns in the order rows had them so far: rows of one input name their channels in one order. */
  readonly usual: ColumnDraft[];
}

/**
 * Rows to columns, exactly: `rowsOfColumns` gives back the same doubles in the same order. A value that is not finite
 * is a failed read and travels as null with quality bad.
 */
export function columnsOfRows(rows: readonly TelemetryRow[], resolutionOf: ResolutionOf): TelemetryColumns {
  const byAsset = new Map<string, { readonly index: number; readonly rows: TelemetryRow[] }>();
  const order: number[] = [];
  for (const row of rows) {
    let own = byAsset.get(row.asset);
    if (own === undefined) {
      own = { index: byAsset.size, rows: [] };
      byAsset.set(row.asset, own);
    }
    order.push(own.index);
    own.rows.push(row);
  }
  const groups = [...byAsset.values()].map((own) => evenGroup(own.rows, resolutionOf) ?? group(own.rows, resolutionOf));
  return groups.length > 1 ? { order, groups } : { groups };
}

/**
 * The columns of rows that all have the same channels in the same order, a number in each and no marks, as nearly all
 * rows have: their values go through one list of doubles. Undefined for others.
 */
function evenGroup(rows: readonly TelemetryRow[], resolutionOf: ResolutionOf): TelemetryGroup | undefined {
  const { asset, values: first } = rows[0] as TelemetryRow;
  const names = Object.keys(first);
  const cells = cellsOf(rows, names);
  if (cells === undefined) return undefined;
  const channels = names.map((channel, place): TelemetryColumn => {
    const resolution = resolutionOf(asset, channel);
    const steps = resolution === undefined ? undefined : stepsOfCells(cells, place, names.length, resolution);
    if (steps !== undefined && resolution !== undefined) return { channel, resolution, steps };
    return columnOfValues(channel, valuesOfCells(cells, place, names.length));
  });
  return { asset, ...differencesOf(rows.map(({ observedAtMs }) => observedAtMs)), channels };
}

/** The rows' values one row after the other; undefined where a row has other channels, no number, or marks. */
function cellsOf(rows: readonly TelemetryRow[], names: readonly string[]): Float64Array | undefined {
  const cells = new Float64Array(rows.length * names.length);
  let at = 0;
  for (const { values, quality } of rows) {
    if (quality !== undefined) return undefined;
    let place = 0;
    for (const channel in values) {
      const value = values[channel] as number | null;
      if (names[place++] !== channel || value === null || !Number.isFinite(value)) return undefined;
      cells[at++] = value;
    }
    if (place !== names.length) return undefined;
  }
  return cells;
}

function stepsOfCells(cells: Float64Array, place: number, width: number, resolution: number): number[] | undefined {
  const grid = gridOf(resolution);
  const steps = new Array<number>(cells.length / width);
  let before = 0;
  for (let at = place, row = 0; at < cells.length; at += width, row++) {
    const value = cells[at] as number;
    const step = grid.stepsOf(value);
    if (step === undefined || !Object.is(grid.valueOf(step), value)) return undefined;
    const difference = step - before;
    // Told to be a small integer where it is one: lists of those are kept and written faster.
    steps[row] = difference === (difference | 0) ? difference | 0 : difference;
    before = step;
  }
  return steps;
}

function valuesOfCells(cells: Float64Array, place: number, width: number): number[] {
  const values: number[] = [];
  for (let at = place; at < cells.length; at += width) values.push(cells[at] as number);
  return values;
}

function columnOfValues(channel: string, values: (number | null)[]): TelemetryColumn {
  const negativeZeros = negativeZerosOf(values);
  return negativeZeros.length === 0 ? { channel, values } : { channel, values, negativeZeros };
}

function group(rows: readonly TelemetryRow[], resolutionOf: ResolutionOf): TelemetryGroup {
  const draft: GroupDraft = { times: [], columns: new Map(), usual: [] };
  for (const row of rows) addRow(draft, row);
  return finishGroup((rows[0] as TelemetryRow).asset, draft, resolutionOf);
}

function addRow(group: GroupDraft, row: TelemetryRow): void {
  const { times, usual } = group;
  const { values } = row;
  const index = times.length;
  times.push(row.observedAtMs);
  let place = 0;
  for (const channel in values) {
    const expected = usual[place++];
    const column = expected?.channel === channel ? expected : draftOf(group, channel);
    const value = values[channel] as number | null;
    // A column that every row had so far needs no list of its rows.
    if (column.values.length !== index && column.at === undefined) column.at = firstRows(column.values.length);
    column.at?.push(index);
    if (value !== null && Number.isFinite(value)) column.values.push(value);
    else {
      column.values.push(null);
      if (value !== null) column.bad.push(index);
    }
  }
  if (row.quality === undefined) return;
  for (const channel of Object.keys(row.quality)) {
    const column = draftOf(group, channel);
    const marks = row.quality[channel] === "bad" ? column.bad : column.uncertain;
    if (column.bad.at(-1) !== index) marks.push(index);
  }
}

function firstRows(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

function draftOf(group: GroupDraft, channel: string): ColumnDraft {
  let column = group.columns.get(channel);
  if (column === undefined) {
    column = { channel, at: undefined, values: [], uncertain: [], bad: [] };
    group.columns.set(channel, column);
    group.usual.push(column);
  }
  return column;
}

function finishGroup(asset: string, group: GroupDraft, resolutionOf: ResolutionOf): TelemetryGroup {
  const { times } = group;
  const channels = [...group.columns].map(([channel, draft]): TelemetryColumn => {
    const resolution = resolutionOf(asset, channel);
    const steps = resolution === undefined ? undefined : stepsOfValues(draft.values, resolution);
    const negativeZeros = steps === undefined ? negativeZerosOf(draft.values) : [];
    return {
      channel,
      ...(draft.values.length === times.length ? {} : { at: draft.at ?? firstRows(draft.values.length) }),
      ...(steps === undefined || resolution === undefined ? { values: draft.values } : { resolution, steps }),
      ...(negativeZeros.length === 0 ? {} : { negativeZeros }),
      ...(draft.uncertain.length === 0 ? {} : { uncertain: draft.uncertain }),
      ...(draft.bad.length === 0 ? {} : { bad: draft.bad }),
    };
  });
  return { asset, ...differencesOf(times), channels };
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

/** The values as differences of steps, or undefined when even one would not come back as the same double. */
function stepsOfValues(values: readonly (number | null)[], resolution: number): (number | null)[] | undefined {
  const grid = gridOf(resolution);
  const steps: (number | null)[] = [];
  let before = 0;
  for (let index = 0; index < values.length; index++) {
    const value = values[index] as number | null;
    if (value === null) {
      steps.push(null);
      continue;
    }
    const step = grid.stepsOf(value);
    if (step === undefined || !Object.is(grid.valueOf(step), value)) return undefined;
    steps.push(step - before);
    before = step;
  }
  return steps;
}

function negativeZerosOf(values: readonly (number | null)[]): number[] {
  const found: number[] = [];
  for (let index = 0; index < values.length; index++) if (Object.is(values[index], -0)) found.push(index);
  return found;
}

/** What is wrong with columns that fit their schema and still make no rows. */
export interface ColumnFault {
  readonly path: string;
  readonly reason: string;
}

interface MutableRow {
  asset: string;
  observedAtMs: number;
  values: Record<string, number | null>;
  quality?: Record<string, "uncertain" | "bad">;
}

/** Columns that fit their schema back to rows in their order, or the first fault. Never throws. */
export function rowsOfColumns(columns: TelemetryColumns): TelemetryRow[] | ColumnFault {
  const perGroup: MutableRow[][] = [];
  for (const [index, group] of columns.groups.entries()) {
    const rows = rowsOfGroup(group, `/groups/${index}`);
    if (!Array.isArray(rows)) return rows;
    perGroup.push(rows);
  }
  return inOrder(perGroup, columns.order);
}

/** Records of several groups in the order of the batch, or what is wrong with that order. */
export function inOrder<T>(perGroup: T[][], order: readonly number[] | undefined): T[] | ColumnFault {
  const count = perGroup.reduce((sum, rows) => sum + rows.length, 0);
  if (count > BATCH_RECORDS_MAX) return { path: "/groups", reason: `more than ${BATCH_RECORDS_MAX} rows` };
  if (order === undefined) {
    return perGroup.length > 1 ? { path: "/order", reason: "missing beside several groups" } : (perGroup[0] ?? []);
  }
  if (order.length !== count) return { path: "/order", reason: `not ${count} entries, one per row` };
  const next = perGroup.map(() => 0);
  const rows: T[] = [];
  for (const group of order) {
    const row = perGroup[group]?.[next[group] as number];
    if (row === undefined) return { path: "/order", reason: `too many rows of group ${group}` };
    next[group] = (next[group] as number) + 1;
    rows.push(row);
  }
  return rows;
}

function rowsOfGroup(group: TelemetryGroup, path: string): MutableRow[] | ColumnFault {
  const times = timesOf(group);
  if (times === undefined) return { path: `${path}/dt`, reason: "a time outside the calendar" };
  const rows = times.map((observedAtMs): MutableRow => ({ asset: group.asset, observedAtMs, values: {} }));
  const seen = new Set<string>();
  for (const [index, column] of group.channels.entries()) {
    const at = `${path}/channels/${index}`;
    if (seen.has(column.channel)) return { path: at, reason: `channel ${column.channel} twice` };
    seen.add(column.channel);
    const fault = fillColumn(rows, column);
    if (fault !== undefined) return { path: at, reason: fault };
  }
  return rows;
}

function fillColumn(rows: MutableRow[], column: TelemetryColumn): string | undefined {
  const values = valuesOfColumn(column);
  if (typeof values === "string") return values;
  const count = column.at?.length ?? rows.length;
  if (values.length !== count) return `${values.length} values for ${count} rows`;
  let before = -1;
  for (let index = 0; index < count; index++) {
    const at = column.at === undefined ? index : (column.at[index] as number);
    const row = rows[at];
    if (row === undefined || at <= before) return "rows that do not ascend, or do not exist";
    before = at;
    row.values[column.channel] = values[index] as number | null;
  }
  return markQuality(rows, column, "uncertain") ?? markQuality(rows, column, "bad");
}

function markQuality(rows: MutableRow[], column: TelemetryColumn, mark: "uncertain" | "bad"): string | undefined {
  for (const at of column[mark] ?? []) {
    const row = rows[at];
    if (row === undefined) return `quality of row ${at}, which does not exist`;
    row.quality ??= {};
    row.quality[column.channel] = mark;
  }
  return undefined;
}

function valuesOfColumn(column: TelemetryColumn): (number | null)[] | string {
  const { steps, resolution, values } = column;
  if ((steps === undefined) === (values === undefined)) return "either steps or values, not both";
  if (values !== undefined) {
    for (const index of column.negativeZeros ?? []) {
      if (values[index] !== 0) return "a negative zero that is no zero";
      values[index] = -0;
    }
    return values;
  }
  if (steps === undefined || resolution === undefined) return "steps without a resolution";
  const grid = gridOf(resolution);
  let step = 0;
  const out: (number | null)[] = [];
  for (const delta of steps) {
    if (delta !== null) step += delta;
    const value = delta === null ? null : grid.valueOf(step);
    if (!Number.isSafeInteger(step) || (value !== null && !Number.isFinite(value))) return "steps beyond what is exact";
    out.push(value);
  }
  return out;
}
