import { TIME_MS_MAX } from "@bellwether/protocol/ids.ts";
import { stringify } from "yaml";

export const FORMATS = ["table", "json", "yaml"] as const;
export type Format = (typeof FORMATS)[number];

/** One column of a table: its title, and what of a row stands in it. */
export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => unknown;
}

/** A column that shows the member of that name. */
export function member<T extends object>(name: keyof T & string, title: string = name): Column<T> {
  return { title, value: (row) => row[name] };
}

/** Rows as text: whole rows in JSON and YAML, the columns in a table. Ends with a line end. */
export function formatRows<T>(format: Format, rows: readonly T[], columns: readonly Column<T>[]): string {
  if (format === "json") return `${JSON.stringify(rows, undefined, 2)}\n`;
  if (format === "yaml") return stringify(rows);
  if (rows.length === 0) return "(none)\n";
  const cells = rows.map((row) => columns.map(({ value }) => cell(value(row))));
  const titles = columns.map(({ title }) => title.toUpperCase());
  const widths = titles.map((title, i) => Math.max(width(title), ...cells.map((line) => width(line[i]!))));
  return `${[titles, ...cells]
    .map((line) => `${line.map((text, i) => pad(text, widths[i]!)).join("  ")}`.trimEnd())
    .join("\n")}\n`;
}

/** One record as text: whole in JSON and YAML, one line per column in a table. */
export function formatRecord<T>(format: Format, record: T, columns: readonly Column<T>[]): string {
  if (format === "json") return `${JSON.stringify(record, undefined, 2)}\n`;
  if (format === "yaml") return stringify(record);
  const widest = Math.max(...columns.map(({ title }) => width(title)));
  return `${columns.map(({ title, value }) => `${pad(title, widest)}  ${cell(value(record))}`.trimEnd()).join("\n")}\n`;
}

/** A span of time in words, rounded down: "3 s", "5 min", "2 h", "4 d". */
export function age(spanMs: number | undefined | null): string {
  if (spanMs === undefined || spanMs === null) return "never";
  const seconds = Math.max(0, Math.floor(spanMs / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** A time as people and scripts read it: ISO 8601 in UTC; empty for none, the number where no date can say it. */
export function time(atMs: number | undefined | null): string {
  if (atMs === undefined || atMs === null) return "";
  return Math.abs(atMs) <= TIME_MS_MAX ? new Date(atMs).toISOString() : `${atMs} ms`;
}

/** Labels as people write selectors: "line=2,site=a". */
export function labels(map: Readonly<Record<string, unknown>> | undefined): string {
  return Object.entries(map ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .toSorted()
    .join(",");
}

/** A text made safe for a terminal: devices choose many of these, and an escape sequence could lie to the reader. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (char) => `\\u${char.codePointAt(0)!.toString(16).padStart(4, "0")}`);
}

function cell(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  return printable(typeof value === "string" ? value : JSON.stringify(value));
}

function width(text: string): number {
  return [...text].length;
}

function pad(text: string, to: number): string {
  return text + " ".repeat(Math.max(0, to - width(text)));
}
