/**
 * Canonical JSON after RFC 8785: members sorted by UTF-16 code unit, no white space, numbers and texts as
 * ECMAScript writes them. The same value gives the same bytes on every machine, so a digest names it.
 *
 * Members that are undefined are left out, as JSON does; NaN and infinities throw, for they have no form at all.
 */
export function canonicalText(value: unknown): string {
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`${value} has no canonical form`);
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value as Record<string, unknown>)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([name, member]) => `${JSON.stringify(name)}:${canonicalText(member)}`);
    return `{${members.join(",")}}`;
  }
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`a ${typeof value} has no canonical form`);
  return text;
}

/** The canonical text as UTF-8. */
export function canonicalBytes(value: unknown): Buffer {
  return Buffer.from(canonicalText(value), "utf8");
}
