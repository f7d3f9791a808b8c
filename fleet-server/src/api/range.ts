import { err, ok, type Result } from "@bellwether/protocol/result.ts";

/** One byte range, both ends included. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

/**
 * Reads a Range header against a file of `length` bytes (RFC 9110 section 14.2). Undefined means: answer with the whole,
 * as the RFC asks for a header it does not understand and allows for several ranges.
 */
export function parseRange(header: string | undefined, length: number): Result<ByteRange | undefined> {
  const match = header === undefined ? null : /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim());
  if (!match || (match[1] === "" && match[2] === "")) return ok(undefined);
  const unsatisfiable = err("RANGE_NOT_SATISFIABLE", { length });
  if (match[1] === "") {
    const last = Number(match[2]);
    if (last === 0 || length === 0) return unsatisfiable;
    return ok({ from: Math.max(0, length - last), to: length - 1 });
  }
  const from = Number(match[1]);
  const to = match[2] === "" ? length - 1 : Math.min(Number(match[2]), length - 1);
  if (from >= length) return unsatisfiable;
  return to < from ? ok(undefined) : ok({ from, to });
}

/** Whether an If-None-Match header names this entity tag (weak comparison, RFC 9110 section 13.1.2). */
export function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(",").some((one) => {
    const tag = one.trim();
    return tag === "*" || tag === etag || tag === `W/${etag}`;
  });
}
