/** The member of a JSON document that a JSON pointer (RFC 6901) names; undefined where there is none. */
export function atPointer(document: unknown, pointer: string): unknown {
  if (pointer === "") return document;
  let value = document;
  for (const token of pointer.slice(1).split("/")) {
    const member = token.replaceAll("~1", "/").replaceAll("~0", "~");
    if (Array.isArray(value)) {
      if (!/^(0|[1-9]\d*)$/.test(member)) return undefined;
      value = value[Number(member)];
    } else if (typeof value === "object" && value !== null && Object.hasOwn(value, member)) {
      value = (value as Readonly<Record<string, unknown>>)[member];
    } else return undefined;
  }
  return value;
}

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?$/i;

/** A number out of what gateways send: a number, its decimal text, or true/false as 1/0; undefined for all else. */
export function asNumber(value: unknown): number | undefined {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "number") return Number.isFinite(value) ? value : undefined;
  if (typeof value === "string") return decimal(value);
  return undefined;
}

/** A decimal number's text, and nothing else that Number() would take (hex, blanks, Infinity). */
export function decimal(text: string): number | undefined {
  const trimmed = text.length > 400 ? "" : text.trim();
  if (!DECIMAL.test(trimmed)) return undefined;
  const value = Number(trimmed);
  return Number.isFinite(value) ? value : undefined;
}
