import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { parseIsoMs } from "@bellwether/protocol/time.ts";
import { type Zone, zoneOf } from "./zone.ts";

export const TIME_FORMATS = ["auto", "iso", "epoch_s", "epoch_ms", "step"] as const;
export type TimeFormat = (typeof TIME_FORMATS)[number];

/** How the times of a file are to be read. */
export interface TimeOptions {
  readonly format: TimeFormat;
  /** For ISO times that name no zone. */
  readonly timeZone?: string;
  /** For step numbers: step n is at start + n * stepMs. */
  readonly startMs: number;
  readonly stepMs: number;
}

/** What the times of a file turned out to be; all of one file are of one kind. */
export type TimeKind = "with a zone" | "without a zone" | "seconds since 1970" | "milliseconds since 1970" | "steps";

/** Reads the times of one file, one after another, and remembers of what kind they are. */
export interface TimeReader {
  read(text: string, line: number): Result<number>;
  kind(): TimeKind | undefined;
  /** Times that the zone's clock showed twice; the earlier instant was taken. */
  ambiguous(): number;
}

const TIME_MS_MAX = 8_640_000_000_000_000;
const NUMBER = /^[+-]?\d+(\.\d+)?(e[+-]?\d{1,2})?$/i;
const ZONED = /(Z|[+-]\d{2}(:?\d{2})?)$/i;

/** A reader for a file; refuses a zone that does not exist. */
export function timeReader(file: string, options: TimeOptions): Result<TimeReader> {
  const zone = options.timeZone === undefined ? ok(undefined) : zoneOf(options.timeZone);
  if (!zone.ok) return zone;
  let kind: TimeKind | undefined;
  let ambiguous = 0;
  return ok({
    kind: () => kind,
    ambiguous: () => ambiguous,
    read(text, line) {
      const trimmed = text.trim();
      const time = trimmed.slice(0, 40);
      const found = kindOf(trimmed, options.format);
      if (found === undefined) {
        return err("HISTORY_TIME_WRONG", { time, line, file, reason: expectation(options.format) });
      }
      if (kind !== undefined && kind !== found) {
        return err("HISTORY_TIME_MIXED", { time, line, file, kind: found, before: kind });
      }
      kind = found;
      const instant = instantOf(trimmed, found, options, zone.value);
      if (instant === "no zone") return err("HISTORY_TIME_ZONE_MISSING", { time, line, file });
      if (typeof instant === "string") return err("HISTORY_TIME_WRONG", { time, line, file, reason: instant });
      if (instant.ambiguous) ambiguous += 1;
      return ok(instant.utcMs);
    },
  });
}

function kindOf(text: string, format: TimeFormat): TimeKind | undefined {
  const isNumber = NUMBER.test(text);
  if (format === "iso" || (format === "auto" && !isNumber)) {
    // A date alone ends in what looks like an offset ("-01-31"): only after a clock time is it one.
    if (isNumber || parseIsoMs(text, 0) === undefined) return undefined;
    return /:\d{2}|T\d{2}/i.test(text) && ZONED.test(text) ? "with a zone" : "without a zone";
  }
  if (!isNumber) return undefined;
  if (format === "epoch_s") return "seconds since 1970";
  if (format === "epoch_ms") return "milliseconds since 1970";
  if (format === "step") return "steps";
  const size = Math.abs(Number(text));
  // 1e11 s is the year 5138, 1e11 ms March 1973; below 1e8 it is no time of a machine but a counter.
  if (size >= 1e11) return "milliseconds since 1970";
  return size >= 1e8 ? "seconds since 1970" : undefined;
}

function instantOf(
  text: string,
  kind: TimeKind,
  options: TimeOptions,
  zone: Zone | undefined,
): { readonly utcMs: number; readonly ambiguous: boolean } | string {
  if (kind === "with a zone") return within(parseIsoMs(text));
  if (kind === "without a zone") {
    const localMs = parseIsoMs(text, 0);
    if (localMs === undefined) return "it is not ISO 8601";
    if (zone === undefined) return "no zone";
    const instant = zone.instantOf(localMs);
    if (instant === undefined) return `the clocks of ${zone.name} never showed it (daylight saving skipped it)`;
    const held = within(instant.utcMs);
    return typeof held === "string" ? held : instant;
  }
  const value = Number(text);
  if (kind === "steps") return within(options.startMs + value * options.stepMs);
  return within(kind === "seconds since 1970" ? value * 1_000 : value);
}

function within(ms: number | undefined): { readonly utcMs: number; readonly ambiguous: false } | string {
  if (ms === undefined) return "it is not ISO 8601";
  const utcMs = Math.round(ms);
  return utcMs >= 0 && utcMs <= TIME_MS_MAX ? { utcMs, ambiguous: false } : "it lies before 1970";
}

function expectation(format: TimeFormat): string {
  if (format === "iso") return "it is not ISO 8601";
  if (format === "auto") return "it is neither ISO 8601 nor a plausible number of seconds or milliseconds since 1970";
  return "it is not a number";
}
