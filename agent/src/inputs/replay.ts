import { isName } from "@bellwether/protocol/ids.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { nearest } from "@bellwether/protocol/text.ts";
import { parseIsoMs } from "@bellwether/protocol/time.ts";
import type { ReplayInputConfig, ReplayPoint } from "../config/config.ts";
import { decimal } from "./pointer.ts";
import { rowOf } from "./row.ts";

const TIME_MS_MAX = 8_640_000_000_000_000;
/** What recorders write where they have nothing. */
const NOTHING = new Set(["", "nan", "null", "na", "n/a", "none", "-"]);

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
  const missing = (column: string) => {
    const close = nearest(column, names);
    const hint = close === undefined ? "" : ` (did you mean "${close}"?)`;
    return err("INPUT_COLUMN_MISSING", { input: config.id, column, file: config.file, hint });
  };
  const columns: { point: ReplayPoint; index: number }[] = [];
  for (const point of config.points) {
    const index = names.indexOf(point.column);
    if (index < 0) return missing(point.column);
    columns.push({ point, index });
  }
  const assetIndex = config.assetColumn === undefined ? -1 : names.indexOf(config.assetColumn);
  if (config.assetColumn !== undefined && assetIndex < 0) return missing(config.assetColumn);
  const { time } = config;
  const timeIndex = time.kind === "column" ? names.indexOf(time.column) : -1;
  if (time.kind === "column" && timeIndex < 0) return missing(time.column);
  const counts = new Map<string, number>();
  return ok({
    read(cells) {
      if (cells.length !== names.length) return `${cells.length} cells, the header has ${names.length}`;
      const asset = assetIndex < 0 ? config.asset! : `${config.assetPrefix}${cells[assetIndex]!.trim()}`;
      if (!isName(asset)) return `"${asset.slice(0, 80)}" is no name for an asset`;
      const count = counts.get(asset) ?? 0;
      counts.set(asset, count + 1);
      if (count >= (config.rows ?? Number.POSITIVE_INFINITY)) return { unreadable: [] };
      if (config.only !== undefined && !config.only.includes(asset)) return { unreadable: [] };
      const observedAtMs = timeOf(config, timeIndex < 0 ? "" : cells[timeIndex]!, count);
      if (observedAtMs === undefined) return `"${cells[timeIndex]!.slice(0, 40)}" is no time`;
      return rowOfCells(asset, observedAtMs, columns, cells);
    },
  });
}

/** Assets a file names, for the birth: the reader's own rule, without reading values. */
export function assetOfLine(config: ReplayInputConfig, header: readonly string[], cells: readonly string[]): string {
  const index = header.findIndex((name) => name.trim() === config.assetColumn);
  return `${config.assetPrefix}${(cells[index] ?? "").trim()}`;
}

function timeOf({ time }: ReplayInputConfig, cell: string, count: number): number | undefined {
  if (time.kind === "steps") return time.startMs + count * time.stepMs;
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
