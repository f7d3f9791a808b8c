import { err, ok, type Result } from "@bellwether/protocol/result.ts";

const DEPTH_MAX = 64;

/**
 * Parses a JSON body. Refuses what a schema cannot see: bytes that are not UTF-8, half surrogates, nesting deeper than
 * 64 (a recursive check would run out of stack) and the member name "__proto__".
 */
export function parseJsonBody(bytes: Uint8Array): Result<unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    return err("INVALID_JSON", { what: "The body", reason: (cause as Error).message });
  }
  const wrong = fault(value, 0);
  return wrong === undefined ? ok(value) : err("INVALID_JSON", { what: "The body", reason: wrong });
}

function fault(value: unknown, depth: number): string | undefined {
  if (typeof value === "string") return value.isWellFormed() ? undefined : "a text holds half a surrogate pair";
  if (typeof value !== "object" || value === null) return undefined;
  if (depth >= DEPTH_MAX) return `it nests deeper than ${DEPTH_MAX}`;
  if (Object.hasOwn(value, "__proto__")) return 'the member name "__proto__" is not allowed';
  for (const [name, member] of Object.entries(value)) {
    const wrong = fault(name, 0) ?? fault(member, depth + 1);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}
