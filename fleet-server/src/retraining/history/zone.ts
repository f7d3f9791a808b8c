import { err, ok, type Result } from "@bellwether/protocol/result.ts";

/** A place's clock: how a time written without a zone becomes an instant. */
export interface Zone {
  readonly name: string;
  /**
   * The instant at which this zone's clock showed `localMs` (its reading taken as if it were UTC). Undefined when it
   * never did (the hour that daylight saving skips). When it did twice, the earlier one, and `ambiguous` is true.
   */
  instantOf(localMs: number): { readonly utcMs: number; readonly ambiguous: boolean } | undefined;
}

const OFFSET = /^(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?$/i;
const QUARTER_MS = 900_000;
const DAY_MS = 86_400_000;

/** A zone by IANA name ("Europe/Berlin"), offset ("+02:00", "UTC+2") or "UTC". */
export function zoneOf(name: string): Result<Zone> {
  if (/^(utc|gmt|z)$/i.test(name)) return ok(fixedZone(name, 0));
  const offset = OFFSET.exec(name);
  if (offset !== null) {
    const minutes = Number(offset[2]) * 60 + Number(offset[3] ?? 0);
    if (minutes > 14 * 60 || Number(offset[3] ?? 0) > 59) return err("HISTORY_TIME_ZONE_UNKNOWN", { zone: name });
    return ok(fixedZone(name, (offset[1] === "-" ? -1 : 1) * minutes * 60_000));
  }
  if (!/^[A-Za-z][A-Za-z0-9_+/-]{0,63}$/.test(name)) return err("HISTORY_TIME_ZONE_UNKNOWN", { zone: name });
  try {
    return ok(namedZone(name));
  } catch (cause) {
    if (cause instanceof RangeError) return err("HISTORY_TIME_ZONE_UNKNOWN", { zone: name });
    throw cause;
  }
}

function fixedZone(name: string, offsetMs: number): Zone {
  return { name, instantOf: (localMs) => ({ utcMs: localMs - offsetMs, ambiguous: false }) };
}

function namedZone(name: string): Zone {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: name,
    calendar: "iso8601",
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  // Offsets change on quarters of an hour at the finest; asking the calendar costs microseconds, so answers are kept.
  const known = new Map<number, number>();
  const offsetAt = (utcMs: number): number => {
    const quarter = Math.floor(utcMs / QUARTER_MS);
    let offset = known.get(quarter);
    if (offset === undefined) {
      const parts = format.formatToParts(quarter * QUARTER_MS);
      const part = (type: string) => Number(parts.find((found) => found.type === type)?.value);
      const [y, mo, d, h, mi, s] = ["year", "month", "day", "hour", "minute", "second"].map(part) as number[];
      offset = Date.UTC(y!, mo! - 1, d, h, mi, s) - quarter * QUARTER_MS;
      if (known.size > 100_000) known.clear();
      known.set(quarter, offset);
    }
    return offset;
  };
  return {
    name,
    instantOf(localMs) {
      const before = offsetAt(localMs - DAY_MS);
      const after = offsetAt(localMs + DAY_MS);
      const instants = [...new Set([before, after, offsetAt(localMs)])]
        .map((offset) => localMs - offset)
        .filter((utcMs) => utcMs + offsetAt(utcMs) === localMs);
      if (instants.length === 0) return undefined;
      return { utcMs: Math.min(...instants), ambiguous: instants.length > 1 };
    },
  };
}
