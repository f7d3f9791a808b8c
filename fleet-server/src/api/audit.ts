import { CHAIN_START } from "@bellwether/protocol/audit.ts";
import { TimeMs } from "@bellwether/protocol/ids.ts";
import { ok } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import type { GovernanceStore } from "../store/governance.ts";
import { cursors, PAGE_DEFAULT, page, pageOf, pageQuery } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;

const EntryView = Type.Object(
  {
    seq: integer(),
    atMs: integer({ description: "Milliseconds since 1970 UTC." }),
    requestId: Type.String(),
    caller: Type.String({ description: '"token:<id>:<name>", "device:<device>" or "nobody" for a public route.' }),
    operation: Type.String(),
    target: Type.String({ description: "Method and path." }),
    bodyDigest: Type.String({ description: "SHA-256 of the body; empty where there was none." }),
    http: integer(),
    code: Type.String({
      description: '"OK", an error code, or "OUTCOME_UNKNOWN" where the server died over the call.',
    }),
    previous: Type.String(),
    digest: Type.String({ description: "SHA-256 over all other members, the previous entry's digest among them." }),
  },
  closed,
);

const list = cursors(Type.Object({ afterSeq: integer({ minimum: 0 }) }, closed));

/** The audit log: every mutating call, oldest first, each entry chained to the one before it. */
export function auditRoutes({ store }: { readonly store: { readonly governance: GovernanceStore } }): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/v1/audit",
      operation: "listAuditEntries",
      summary: "Every mutating call, oldest first: who, what, when, how it ended, and the digest of its body.",
      role: "admin",
      wholeFleet: true,
      query: {
        ...pageQuery,
        afterSeq: Type.Optional(
          integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: "Only entries after this one." }),
        ),
        operation: Type.Optional(Type.String({ maxLength: 100 })),
        caller: Type.Optional(Type.String({ maxLength: 200 })),
        sinceMs: Type.Optional(TimeMs),
        untilMs: Type.Optional(TimeMs),
      },
      answer: pageOf(EntryView),
      handler: async ({ query }) => {
        const from = list.decode(query.cursor);
        if (!from.ok) return from;
        const { limit = PAGE_DEFAULT, cursor: _, afterSeq = 0, ...filter } = query;
        const start = from.value?.afterSeq ?? afterSeq;
        const rows = await store.governance.listEntries({ ...filter, afterSeq: start, limit: limit + 1 });
        return ok(page(rows, limit, list, ({ seq }) => ({ afterSeq: seq })));
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/audit/head",
      operation: "showAuditHead",
      summary: "The newest entry's number and digest: keep it elsewhere to notice a log that was cut off.",
      role: "admin",
      wholeFleet: true,
      answer: Type.Object({ seq: integer(), digest: Type.String() }, closed),
      handler: async () => {
        const last = await store.governance.lastEntry({});
        return ok(last ? { seq: last.seq, digest: last.digest } : { seq: 0, digest: CHAIN_START });
      },
    }),
  ];
}
