import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer, type Validator, validator } from "@bellwether/protocol/schema.ts";
import { type Static, type TSchema, Type } from "typebox";

/** Items of a page when the request does not say. */
export const PAGE_DEFAULT = 100;

/** Query parameters of every list: spread them into a route's `query`. */
export const pageQuery = {
  limit: Type.Optional(integer({ minimum: 1, maximum: 1000, description: "Items per page, 100 by default." })),
  cursor: Type.Optional(Type.String({ maxLength: 512, description: 'The "next" of the page before.' })),
};

/** Schema of a page: `items`, and `next` where there are more. */
export function pageOf<S extends TSchema>(item: S) {
  return Type.Object(
    { items: Type.Array(item), next: Type.Optional(Type.String({ description: "Cursor of the next page." })) },
    { additionalProperties: false },
  );
}

/** Opaque cursors of one list: where the next page starts, as base64url JSON checked on the way back. */
export interface Cursors<T> {
  encode(position: T): string;
  decode(cursor: string | undefined): Result<T | undefined>;
}

/** Cursors whose position has this schema. */
export function cursors<S extends TSchema>(position: S): Cursors<Static<S>> {
  const check: Validator<Static<S>> = validator("The cursor", position);
  return {
    encode: (value) => Buffer.from(JSON.stringify(value)).toString("base64url"),
    decode(cursor) {
      if (cursor === undefined) return ok(undefined);
      const parsed = check.parse(Buffer.from(cursor, "base64url"));
      return parsed.ok ? parsed : err("INVALID_CURSOR");
    },
  };
}

/**
 * Reads on until `count` rows are found that the caller may see, or there are no more: what it may not see neither
 * shortens a page nor stands in its cursor. `read` gives the next rows after one, from the start without.
 */
export async function seenRows<T>(
  count: number,
  read: (last: T | undefined, limit: number) => Promise<readonly T[]>,
  sees: (row: T) => boolean | Promise<boolean>,
): Promise<T[]> {
  const seen: T[] = [];
  for (let last: T | undefined; ; ) {
    const rows = await read(last, count);
    for (const row of rows) if (await sees(row)) seen.push(row);
    last = rows.at(-1);
    if (seen.length >= count || rows.length < count) return seen.slice(0, count);
  }
}

/**
 * Makes a page of rows read with `limit + 1`: the row too many only says that there is a next page.
 * `positionOf` gives the position after which the next page starts.
 */
export function page<T, P>(
  rows: readonly T[],
  limit: number,
  list: Cursors<P>,
  positionOf: (last: T) => P,
): { items: T[]; next?: string } {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return rows.length > limit && last !== undefined ? { items, next: list.encode(positionOf(last)) } : { items };
}
