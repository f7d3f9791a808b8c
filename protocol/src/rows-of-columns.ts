import {
  type ColumnFault,
  inOrder,
  type TelemetryColumn,
  type TelemetryColumns,
  type TelemetryGroup,
  timesOf,
} from "./columns.ts";
import type { TelemetryRow } from "./messages/stream.ts";
import { gridOf } from "./resolution.ts";

interface MutableRow {
  asset: string;
  observedAtMs: number;
  values: Record<string, number | null>;
  quality?: Record<string, "uncertain" | "bad">;
}

/** Columns that fit their schema back to rows in their order, or the first fault. Never throws. */
export function rowsOfColumns(columns: TelemetryColumns): TelemetryRow[] | ColumnFault {
  const perAsset: MutableRow[][] = [];
  for (const [index, group] of columns.groups.entries()) {
    const fault = addRowsOfGroup(group, `/groups/${index}`, perAsset);
    if (fault !== undefined) return fault;
  }
  return inOrder(perAsset, columns.order);
}

function addRowsOfGroup(group: TelemetryGroup, path: string, into: MutableRow[][]): ColumnFault | undefined {
  const times = timesOf(group);
  if (times === undefined) return { path: `${path}/dt`, reason: "a time outside the calendar" };
  const own = ownersOf(group, times.length);
  if (own === undefined) return { path, reason: `neither one asset nor assets with ${times.length} rows in all` };
  const { assets, counts } = own;
  const rows: MutableRow[] = [];
  for (const [index, asset] of assets.entries()) {
    const from = rows.length;
    const to = from + (counts[index] as number);
    for (let at = from; at < to; at++) rows.push({ asset, observedAtMs: times[at] as number, values: {} });
    into.push(rows.slice(from));
  }
  const seen = new Set<string>();
  for (const [index, column] of group.channels.entries()) {
    const at = `${path}/channels/${index}`;
    if (seen.has(column.channel)) return { path: at, reason: `channel ${column.channel} twice` };
    seen.add(column.channel);
    const fault = fillColumn(rows, column);
    if (fault !== undefined) return { path: at, reason: fault };
  }
  return undefined;
}

/** Whose the rows of a group are, and how many each has; undefined where it does not say, or says two things. */
export function ownersOf(
  { asset, assets, rows: counts }: TelemetryGroup,
  rows: number,
): { readonly assets: readonly string[]; readonly counts: readonly number[] } | undefined {
  if (asset !== undefined) {
    return assets === undefined && counts === undefined ? { assets: [asset], counts: [rows] } : undefined;
  }
  if (assets === undefined || counts === undefined || assets.length !== counts.length) return undefined;
  return counts.reduce((sum, count) => sum + count, 0) === rows ? { assets, counts } : undefined;
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

/** A column's values; or what is wrong with it. */
export function valuesOfColumn(column: TelemetryColumn): (number | null)[] | string {
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
