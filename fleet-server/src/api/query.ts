import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { TSchema } from "typebox";

/** What a text in a URL is read as; decided by the parameter's schema alone. */
type Kind = "string" | "integer" | "number" | "boolean";

const SAFE_INTEGER = /^-?(0|[1-9]\d{0,15})$/;
const DECIMAL = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,3})?$/;

/**
 * Reads a raw query string ("a=1&b=x") by the declared properties: a parameter is turned into a number or a boolean
 * only where its schema says so and its text is exactly one; unknown and repeated parameters are refused, an array
 * takes the repetitions. The values are not yet checked against the schema's bounds.
 */
export function parseQuery(
  raw: string,
  properties: Readonly<Record<string, TSchema>>,
): Result<Record<string, unknown>> {
  const values: Record<string, unknown> = {};
  if (raw === "") return ok(values);
  for (const pair of raw.split("&")) {
    const decoded = decodePair(pair);
    if (!decoded) return err("INVALID_QUERY", { name: shown(pair), expected: "percent-encoded UTF-8" });
    const [name, text] = decoded;
    const schema = Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (!schema) return err("INVALID_QUERY", { name: shown(name), expected: "this route has no such parameter" });
    const items = itemsOf(schema);
    const value = parseText(text, kindOf(items ?? schema));
    if (value === undefined) return err("INVALID_QUERY", { name, expected: `must be one ${kindOf(items ?? schema)}` });
    if (items) {
      const list = values[name];
      if (Array.isArray(list)) list.push(value);
      else values[name] = [value];
    } else if (Object.hasOwn(values, name)) {
      return err("INVALID_QUERY", { name, expected: "must stand once" });
    } else values[name] = value;
  }
  return ok(values);
}

/** Reads path members the same way. */
export function parseParams(
  raw: Readonly<Record<string, string>>,
  properties: Readonly<Record<string, TSchema>>,
): Result<Record<string, unknown>> {
  const values: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(properties)) {
    const value = parseText(raw[name] ?? "", kindOf(schema));
    if (value === undefined) return err("INVALID_PATH", { name, expected: `must be one ${kindOf(schema)}` });
    values[name] = value;
  }
  return ok(values);
}

function decodePair(pair: string): [string, string] | undefined {
  const cut = pair.indexOf("=");
  const decode = (text: string) => decodeURIComponent(text.replaceAll("+", " "));
  try {
    return cut < 0 ? [decode(pair), ""] : [decode(pair.slice(0, cut)), decode(pair.slice(cut + 1))];
  } catch {
    return undefined; // the one thing decodeURIComponent throws is URIError
  }
}

function parseText(text: string, kind: Kind): unknown {
  if (kind === "string") return text;
  if (kind === "boolean") return text === "true" ? true : text === "false" ? false : undefined;
  if (!(kind === "integer" ? SAFE_INTEGER : DECIMAL).test(text)) return undefined;
  const value = Number(text);
  return Number.isFinite(value) && (kind === "number" || Number.isSafeInteger(value)) ? value : undefined;
}

function itemsOf(schema: TSchema): TSchema | undefined {
  const { type, items } = schema as { type?: unknown; items?: TSchema };
  return type === "array" ? (items ?? {}) : undefined;
}

function kindOf(schema: TSchema): Kind {
  const { type } = schema as { type?: unknown };
  return type === "integer" || type === "number" || type === "boolean" ? type : "string";
}

function shown(text: string): string {
  return text.slice(0, 64);
}
