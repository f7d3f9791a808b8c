import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import type { Store } from "../store/store.ts";
import { type Caller, siteScope } from "./caller.ts";
import { cursors, PAGE_DEFAULT, page, pageOf, pageQuery } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;

const DeadLetterView = Type.Object(
  {
    id: integer(),
    device: Name,
    stream: Type.String({ description: "What it was sent as: a stream, or state, birth, reported." }),
    code: Type.String(),
    message: Type.String(),
    byteCount: integer(),
    atMs: integer({ minimum: 0, description: "Milliseconds since 1970 UTC." }),
  },
  closed,
);
const DeadLetterDetail = Type.Object(
  {
    ...DeadLetterView.properties,
    bytesBase64: Type.Union([Type.String(), Type.Null()], {
      description:
        "The message as it came; null where a device has so many dead letters that this one's bytes gave way.",
    }),
  },
  closed,
);
const Replayed = Type.Object(
  {
    id: integer(),
    records: integer({ minimum: 0, description: "Records that are stored now and were not." }),
  },
  closed,
);
const letterId = { letter: integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }) };
const byId = cursors(Type.Object({ afterId: integer({ minimum: 0 }) }, closed));

/** Messages that could not be understood: to see, and to take again. */
export function deadLetterRoutes(store: Pick<Store, "ingest">): Route[] {
  const find = (id: number, caller: Caller) => {
    const sites = siteScope(caller);
    return store.ingest.deadLetter({ id, ...(sites ? { sites } : {}) });
  };
  const missing = (id: number) => err("NOT_FOUND", { what: "dead letter", name: `${id}` });
  return [
    defineRoute({
      method: "GET",
      path: "/v1/dead-letters",
      operation: "listDeadLetters",
      summary: "Messages that could not be understood: acknowledged, kept, and counted.",
      role: "viewer",
      query: { ...pageQuery, device: Type.Optional(Name) },
      answer: pageOf(DeadLetterView),
      errors: ["INVALID_CURSOR"],
      handler: async ({ query: { cursor, limit = PAGE_DEFAULT, device }, caller }) => {
        const from = byId.decode(cursor);
        if (!from.ok) return from;
        const sites = siteScope(caller);
        const wanted = { ...(device === undefined ? {} : { device }), ...from.value, ...(sites ? { sites } : {}) };
        const rows = await store.ingest.deadLetters({ ...wanted, limit: limit + 1 });
        return ok(page(rows, limit, byId, ({ id }) => ({ afterId: id })));
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/dead-letters/:letter",
      operation: "showDeadLetter",
      summary: "One of them, with its bytes.",
      role: "viewer",
      params: letterId,
      answer: DeadLetterDetail,
      errors: ["NOT_FOUND"],
      handler: async ({ params, caller }) => {
        const found = await find(params.letter, caller);
        if (!found) return missing(params.letter);
        const { bytes, ...letter } = found;
        return ok({ ...letter, bytesBase64: bytes === null ? null : Buffer.from(bytes).toString("base64") });
      },
    }),
    defineRoute({
      method: "POST",
      path: "/v1/dead-letters/:letter/replay",
      operation: "replayDeadLetter",
      summary: "Takes one of them again, as its device sent it: under its own seqs, once, marked as backfill.",
      role: "operator",
      params: letterId,
      answer: Replayed,
      errors: ["NOT_FOUND", "DEAD_LETTER_NOT_REPLAYABLE"],
      handler: async ({ params: { letter: id }, caller, request: { nowMs } }) => {
        if (!(await find(id, caller))) return missing(id);
        const replayed = await store.ingest.replayDeadLetter({ id, nowMs });
        return replayed.ok ? ok({ id, records: replayed.value.records }) : replayed;
      },
    }),
  ];
}
