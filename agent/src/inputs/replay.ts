import { isName, TIME_MS_MAX } from "@bellwether/protocol/ids.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { nearest } from "@bellwether/protocol/text.ts";
import { parseIsoMs } from "@bellwether/protocol/time.ts";
import type { ReplayInputConfig, ReplayPoint } from "../config/config.ts";
import { decimal } from "./pointer.ts";
import { rowOf } from "./row.ts";

/** What recorders write where they have nothing. */
const NOTHING = new Set(["", "nan", "null", "na", "n/a", "none", "-"]);

/** Assets of one file; rows of more are left out. */
export const ASSETS_MAX = 10_000;

/** A recorded line read: its row (absent where the configuration leaves its asset out), and values that were none. */
export interface ReadLine {
  readonly row?: TelemetryRow;
  readonly unreadable: readonly { readonly channel: string; readonly reason: string }[];
}

/** Reads the lines of one CSV file, one after another: it counts the rows of each asset. */
export interface LineReader {
  /** The row of a line, or why the line has none. */
  read(cells: readonly string[]): ReadLine | string;
}

/** Finds the configured columns in a file's header. */
export function lineReader(config: ReplayInputConfig, header: readonly string[]): Result<LineReader> {
  const names = header.map((name) => name.trim());
  const delimiter = config.format === "tsv" ? "tabs" : "commas";
  const missing = (column: string) => {
    const close = nearest(column, names);
    const only = names.length === 1 && /[;\t]/.test(names[0]!) ? ` (it is not divided by ${delimiter})` : "";
    const hint = close === undefined ? only : ` (did you mean "${close}"?)`;
    return err("INPUT_COLUMN_MISSING", { input: config.id, column, file: config.file, hint });
  };
  const { time } = config;
  const needed = [
    ...config.points.map(({ column }) => column),
    ...(config.assetColumn === undefined ? [] : [config.assetColumn]),
    ...(time.kind === "column" ? [time.column] : []),
  ];
  for (const column of needed) {
    const index = names.indexOf(column);
    if (index < 0) return missing(column);
    if (names.lastIndexOf(column) !== index) {
      return err("INPUT_COLUMN_TWICE", { input: config.id, column, file: config.file });
    }
  }
  const columns = config.points.map((point) => ({ point, index: names.indexOf(point.column) }));
  const assetIndex = config.assetColumn === undefined ? -1 : names.indexOf(config.assetColumn);
  const timeIndex = time.kind === "column" ? names.indexOf(time.column) : -1;
  const counts = new Map<string, number>();
  return ok({
    read(cells) {
      if (cells.length !== names.length) return `${cells.length} cells, the header has ${names.length}`;
      const asset = assetIndex < 0 ? config.asset! : `${config.assetPrefix}${cells[assetIndex]!.trim()}`;
      if (!isName(asset)) return `"${asset.slice(0, 80)}" is no name for an asset`;
      const count = counts.get(asset) ?? 0;
      if (count === 0 && counts.size >= ASSETS_MAX) return `"${asset}" is the ${ASSETS_MAX + 1}th asset`;
      counts.set(asset, count + 1);
      if (count >= (config.rows ?? Number.POSITIVE_INFINITY)) return { unreadable: [] };
      if (config.only !== undefined && !config.only.includes(asset)) return { unreadable: [] };
      const observedAtMs = timeOf(config, timeIndex < 0 ? "" : cells[timeIndex]!, count);
      if (observedAtMs === undefined) return `"${(cells[timeIndex] ?? `row ${count}`).slice(0, 40)}" is no time`;
      return rowOfCells(asset, observedAtMs, columns, cells);
    },
  });
}

/** Assets a file names, for the birth: the reader's own rule, without reading values. */
export function assetOfLine(config: ReplayInputConfig, header: readonly string[], cells: readonly string[]): string {
  const index = header.findIndex((name) => name.trim() === config.assetColumn);
  return `${config.assetPrefix}${(cells[index] ?? "").trim()}`;
}

/** Time of the n-th row, n from 0; undefined where it is beyond what a message can carry. */
export function stepTime({ startMs, stepMs }: { startMs: number; stepMs: number }, n: number): number | undefined {
  const ms = startMs + n * stepMs;
  return ms <= TIME_MS_MAX ? ms : undefined;
}

function timeOf({ time }: ReplayInputConfig, cell: string, count: number): number | undefined {
  if (time.kind === "steps") return stepTime(time, count);
  const ms = time.format === "iso" ? parseIsoMs(cell, 0) : decimal(cell);
  if (ms === undefined) return undefined;
  const rounded = Math.round(time.format === "epoch_s" ? ms * 1_000 : ms);
  return rounded >= 0 && rounded <= TIME_MS_MAX ? rounded : undefined;
}

function rowOfCells(
  asset: string,
  observedAtMs: number,
  columns: readonly { point: ReplayPoint; index: number }[],
  cells: readonly string[],
): ReadLine {
  const unreadable: { channel: string; reason: string }[] = [];
  const readings = columns
    .filter(({ point }) => point.asset === undefined || point.asset === asset)
    .map(({ point, index }) => {
      const cell = cells[index]!;
      const value = decimal(cell);
      if (value === undefined && !NOTHING.has(cell.trim().toLowerCase())) {
        unreadable.push({ channel: point.channel, reason: `"${cell.slice(0, 40)}" is no number` });
      }
      return [point, value] as const;
    });
  return { row: rowOf(asset, observedAtMs, readings), unreadable };
}
