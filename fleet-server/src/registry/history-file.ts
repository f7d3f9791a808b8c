import { isName } from "@bellwether/protocol/ids.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { nearest } from "@bellwether/protocol/text.ts";
import { parseIsoMs } from "@bellwether/protocol/time.ts";

/** Which columns of a history hold what. */
export interface HistoryColumns {
  readonly asset?: string;
  readonly time?: string;
  readonly channels: readonly { readonly channel: string; readonly column: string }[];
}

/** What a header and its first rows suggest. */
export interface HistoryHeader {
  readonly columns: readonly string[];
  /** Columns whose first cells are all numbers or nothing. */
  readonly numeric: readonly string[];
  readonly assetColumn?: string;
  readonly timeColumn?: string;
}

const ASSET_NAMES = ["asset", "asset_id", "unit", "unit_id", "machine", "machine_id", "device", "engine", "equipment"];
const TIME_NAMES = [
  "time",
  "timestamp",
  "observed_at",
  "observedat",
  "observedatms",
  "datetime",
  "date",
  "ts",
  "cycle",
];
/** What recorders write where they have nothing. */
const NOTHING = new Set(["", "nan", "null", "na", "n/a", "none", "-", "?"]);

/** Looks at a header and the rows below it, to propose what is not said. */
export function readHeader(header: readonly string[], sample: readonly (readonly string[])[]): HistoryHeader {
  const columns = header.map((name) => name.trim());
  const find = (names: readonly string[]) => columns.find((name) => names.includes(name.toLowerCase()));
  const assetColumn = find(ASSET_NAMES);
  const timeColumn = find(TIME_NAMES);
  const numeric = columns.filter(
    (name, i) =>
      name !== assetColumn &&
      name !== timeColumn &&
      sample.some((row) => numberOf(row[i] ?? "") !== undefined) &&
      sample.every((row) => numberOf(row[i] ?? "") !== undefined || isNothing(row[i] ?? "")),
  );
  return { columns, numeric, ...(assetColumn && { assetColumn }), ...(timeColumn && { timeColumn }) };
}

/** Reads a history's rows one after another; counts what it could not use. */
export interface HistoryReader {
  /** The row of these cells, or undefined when it has no time or no asset. */
  read(cells: readonly string[]): TelemetryRow | undefined;
  readonly counts: { rows: number; unusable: number; unreadable: number };
}

/** A reader of these columns. Without a time column rows count as one second apart; without an asset column there is one asset. */
export function historyReader(
  file: string,
  header: readonly string[],
  { asset, time, channels }: HistoryColumns,
): Result<HistoryReader> {
  const columns = header.map((name) => name.trim());
  const indexes = new Map<string, number>();
  for (const name of [...channels.map(({ column }) => column), ...(asset ? [asset] : []), ...(time ? [time] : [])]) {
    const index = columns.indexOf(name);
    if (index < 0) {
      const close = nearest(name, columns);
      const hint = close === undefined ? "" : `; did you mean "${close}"?`;
      return err("HISTORY_UNUSABLE", { file, reason: `it has no column ${name}${hint}` });
    }
    indexes.set(name, index);
  }
  const counts = { rows: 0, unusable: 0, unreadable: 0 };
  const sources = channels.map(({ channel, column }) => ({ channel, index: indexes.get(column)! }));
  return ok({
    counts,
    read(cells) {
      counts.rows += 1;
      const name = asset === undefined ? "asset" : assetName(cells[indexes.get(asset)!] ?? "");
      const observedAtMs = time === undefined ? counts.rows * 1_000 : timeOf(cells[indexes.get(time)!] ?? "");
      if (name === undefined || observedAtMs === undefined) {
        counts.unusable += 1;
        return undefined;
      }
      const values: Record<string, number | null> = {};
      for (const { channel, index } of sources) {
        const cell = cells[index] ?? "";
        const value = numberOf(cell);
        if (value === undefined && !isNothing(cell)) counts.unreadable += 1;
        values[channel] = value ?? null;
      }
      return { asset: name, observedAtMs, values };
    },
  });
}

function isNothing(cell: string): boolean {
  return NOTHING.has(cell.trim().toLowerCase());
}

function numberOf(cell: string): number | undefined {
  const text = cell.trim();
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return undefined;
  const value = Number(text);
  return Number.isFinite(value) ? value : undefined;
}

/** Units are often plain numbers. */
function assetName(cell: string): string | undefined {
  const name = cell.trim();
  return isName(name) ? name : undefined;
}

/** ISO 8601 (UTC without a zone), or a number: milliseconds or seconds since 1970 by its size, else seconds of its own. */
function timeOf(cell: string): number | undefined {
  const number = numberOf(cell);
  if (number === undefined) return parseIsoMs(cell, 0);
  const ms = number >= 1e11 ? number : number * 1_000;
  return ms >= 0 && ms <= 8.64e15 ? Math.round(ms) : undefined;
}
