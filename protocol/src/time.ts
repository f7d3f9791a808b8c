const ISO =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s?(Z|[+-]\d{2}(?::?\d{2})?)?)?$/i;

/**
 * Milliseconds since 1970 of an ISO 8601 date or date and time; undefined when it is none or names a day that does not
 * exist. A time without a zone is taken in `zoneMinutes` east of UTC; without that too, it is refused.
 */
export function parseIsoMs(text: string, zoneMinutes?: number): number | undefined {
  const match = ISO.exec(text.trim());
  if (match === null) return undefined;
  const [, year, month, day, hour = "0", minute = "0", second = "0", fraction = "", zone] = match;
  const east = zone === undefined ? zoneMinutes : zoneOf(zone);
  if (east === undefined) return undefined;
  const ms = Math.floor(Number(`0.${fraction}0`) * 1_000 + 1e-6);
  const utc = Date.UTC(+year!, +month! - 1, +day!, +hour, +minute, +second, ms);
  const made = new Date(utc);
  // Date.UTC carries the 31st of June over into July: such a text is an error, not a date.
  if (made.getUTCMonth() !== +month! - 1 || made.getUTCDate() !== +day!) return undefined;
  if (+hour > 23 || +minute > 59 || +second > 59) return undefined;
  return utc - east * 60_000;
}

/** Minutes east of UTC of "Z", "+02", "+0200" or "+02:00". */
function zoneOf(zone: string): number | undefined {
  if (zone === "Z" || zone === "z") return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(3).replace(":", "") || "0");
  if (hours > 14 || minutes > 59) return undefined;
  return (zone.startsWith("-") ? -1 : 1) * (hours * 60 + minutes);
}
