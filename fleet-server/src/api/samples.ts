import { Name, TimeMs } from "@bellwether/protocol/ids.ts";
import { STREAMS } from "@bellwether/protocol/messages/stream.ts";
import { ok } from "@bellwether/protocol/result.ts";
import { integer, oneOf } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import type { IngestStore, StoredPrediction } from "../store/ingest.ts";
import type { Store } from "../store/store.ts";
import { siteScope } from "./caller.ts";
import { deadLetterRoutes } from "./dead-letters.ts";
import { cursors, PAGE_DEFAULT, page, pageOf, pageQuery } from "./page.ts";
import { parquetOf } from "./parquet.io.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;
const Time = integer({ ...TimeMs, description: "Milliseconds since 1970 UTC." });
const about = { device: Type.Optional(Name), asset: Type.Optional(Name) };

const PredictionView = Type.Object({
  id: integer(),
  device: Name,
  epoch: integer(),
  seq: integer(),
  asset: Name,
  observedAtMs: Time,
  correctedAtMs: integer({ description: "After what is known of the device's clock." }),
  committedAtMs: Time,
  hist: Type.Boolean(),
  model: Name,
  version: integer(),
  digest: Type.String(),
  value: Type.Optional(Type.Number()),
  error: Type.Optional(Type.String()),
});
const EventView = Type.Object({
  id: integer(),
  device: Name,
  epoch: integer(),
  seq: integer(),
  correctedAtMs: integer({ description: "After what is known of the device's clock." }),
  committedAtMs: Time,
  hist: Type.Boolean(),
  atMs: Time,
  kind: Type.String(),
  severity: Type.String(),
  code: Type.String(),
  text: Type.String(),
});
const GapView = Type.Object(
  {
    device: Name,
    stream: Type.String(),
    epoch: integer(),
    fromSeq: integer(),
    toSeq: integer(),
    reason: Type.String(),
    atMs: Time,
  },
  closed,
);
const byPlace = cursors(
  Type.Object({ device: Name, epoch: integer({ minimum: 0 }), seq: integer({ minimum: 0 }) }, closed),
);
const Seq = integer({ minimum: 0 });
const byGap = cursors(
  Type.Object({ atMs: Seq, device: Name, epoch: Seq, stream: oneOf(STREAMS), fromSeq: Seq }, closed),
);
const byId = cursors(Type.Object({ afterId: integer({ minimum: 0 }) }, closed));

export interface SampleRoutesDeps {
  readonly store: Pick<Store, "ingest">;
}

/** What was committed: samples, predictions, events, and what could not be. */
export function sampleRoutes({ store }: SampleRoutesDeps): Route[] {
  return [samplesRoute(store), predictionsRoute(store), eventsRoute(store), ...lossRoutes(store)];
}

function optional<T extends Record<string, unknown>>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

type RowsQuery = Omit<Parameters<IngestStore["rows"]>[0], "batches">;

/** Rows a few batches at a time: an export of any length holds little memory. */
async function* allRows(store: Pick<Store, "ingest">, query: RowsQuery) {
  let after = query.after;
  do {
    const { rows, next } = await store.ingest.rows({ ...query, ...(after ? { after } : {}), batches: 50 });
    yield rows;
    after = next;
  } while (after);
}

async function* ndjson(store: Pick<Store, "ingest">, query: RowsQuery) {
  for await (const rows of allRows(store, query)) {
    yield rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  }
}

/** One line per value: channels differ from asset to asset, and a spreadsheet reads this shape best. */
async function* csv(store: Pick<Store, "ingest">, query: RowsQuery) {
  yield "device,asset,time,channel,value,quality,epoch,seq\n";
  for await (const rows of allRows(store, query)) {
    yield rows
      .flatMap((row) =>
        Object.entries(row.values).map(
          ([channel, value]) =>
            `${row.device},${row.asset},${new Date(row.observedAtMs).toISOString()},${channel},${value ?? ""},` +
            `${row.quality?.[channel] ?? "good"},${row.epoch},${row.seq}\n`,
        ),
      )
      .join("");
  }
}

/** Where a row stands: device, epoch, seq. */
const PLACE = /^([A-Za-z0-9][A-Za-z0-9._-]{0,63})\/(\d{1,15})\/(\d{1,15})$/;

function samplesRoute(store: Pick<Store, "ingest">): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/samples",
    operation: "exportSamples",
    summary: "Committed samples, exactly as the devices measured them, in the order of device, epoch and seq.",
    role: "viewer",
    query: {
      device: Type.Optional(Name),
      asset: Type.Optional(Type.Array(Name, { maxItems: 1_000, description: "Of these assets; may be repeated." })),
      channel: Type.Optional(Type.Array(Name, { maxItems: 1_000, description: "These channels; may be repeated." })),
      fromMs: Type.Optional(Time),
      toMs: Type.Optional(Time),
      format: Type.Optional(oneOf(["ndjson", "csv", "parquet"])),
      after: Type.Optional(
        Type.String({
          pattern: PLACE.source,
          description: 'Goes on after a row that was read before: "device/epoch/seq" of it.',
        }),
      ),
    },
    answer: "stream",
    handler: async ({ query: { format, after, asset: assets, channel: channels, ...query }, caller }) => {
      const [, device, epoch, seq] = PLACE.exec(after ?? "") ?? [];
      const place = device === undefined ? {} : { after: [device, Number(epoch), Number(seq)] as const };
      const wanted = { ...optional({ ...query, assets, channels, sites: siteScope(caller) }), ...place };
      if (format === "csv")
        return ok({ contentType: "text/csv; charset=utf-8", body: csv(store, wanted), fileName: "samples.csv" });
      if (format === "parquet") {
        const body = parquetOf(allRows(store, wanted));
        return ok({ contentType: "application/vnd.apache.parquet", body, fileName: "samples.parquet" });
      }
      return ok({ contentType: "application/x-ndjson", body: ndjson(store, wanted) });
    },
  });
}

function predictionsRoute(store: Pick<Store, "ingest">): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/predictions",
    operation: "listPredictions",
    summary: "Committed predictions, by device, epoch and seq as they were made, or with order=commit as they arrived.",
    role: "viewer",
    query: {
      ...pageQuery,
      ...about,
      model: Type.Optional(Name),
      digest: Type.Optional(Type.String({ maxLength: 71 })),
      order: Type.Optional(oneOf(["seq", "commit"])),
    },
    answer: pageOf(PredictionView),
    errors: ["INVALID_CURSOR"],
    handler: async ({ query: { cursor, limit = PAGE_DEFAULT, order = "seq", ...query }, caller }) => {
      const view = ({ record, ...rest }: StoredPrediction) => ({ ...record, ...rest });
      const wanted = { ...optional({ ...query, sites: siteScope(caller) }), order, limit: limit + 1 };
      if (order === "commit") {
        const from = byId.decode(cursor);
        if (!from.ok) return from;
        const rows = await store.ingest.predictions({ ...wanted, ...from.value });
        const whole = page(rows, limit, byId, ({ id }: StoredPrediction) => ({ afterId: id }));
        return ok({ ...whole, items: whole.items.map(view) });
      }
      const from = byPlace.decode(cursor);
      if (!from.ok) return from;
      const after = from.value && ([from.value.device, from.value.epoch, from.value.seq] as const);
      const rows = await store.ingest.predictions({ ...wanted, ...(after ? { after } : {}) });
      const whole = page(rows, limit, byPlace, ({ device, epoch, seq }: StoredPrediction) => ({ device, epoch, seq }));
      return ok({ ...whole, items: whole.items.map(view) });
    },
  });
}

function eventsRoute(store: Pick<Store, "ingest">): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/events",
    operation: "listEvents",
    summary: "Alerts, device and security events in the order of their commit.",
    role: "viewer",
    query: { ...pageQuery, ...about },
    answer: pageOf(EventView),
    errors: ["INVALID_CURSOR"],
    handler: async ({ query: { cursor, limit = PAGE_DEFAULT, device, asset }, caller }) => {
      const from = byId.decode(cursor);
      if (!from.ok) return from;
      const wanted = optional({ device, asset, ...from.value, sites: siteScope(caller) });
      const rows = await store.ingest.events({ ...wanted, limit: limit + 1 });
      const whole = page(rows, limit, byId, ({ id }) => ({ afterId: id }));
      return ok({ ...whole, items: whole.items.map(({ record, ...rest }) => ({ ...record, ...rest })) });
    },
  });
}

function lossRoutes(store: Pick<Store, "ingest">): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/v1/gaps",
      operation: "listGaps",
      summary: "Counted ranges of records that devices had to drop or lost, newest first.",
      role: "viewer",
      query: { ...pageQuery, device: Type.Optional(Name) },
      answer: pageOf(GapView),
      errors: ["INVALID_CURSOR"],
      handler: async ({ query: { cursor, limit = PAGE_DEFAULT, device }, caller }) => {
        const after = byGap.decode(cursor);
        if (!after.ok) return after;
        const wanted = optional({ device, sites: siteScope(caller), after: after.value });
        const rows = await store.ingest.gaps({ ...wanted, limit: limit + 1 });
        return ok(
          page(rows, limit, byGap, ({ atMs, device, epoch, stream, fromSeq }) => ({
            atMs,
            device,
            epoch,
            stream,
            fromSeq,
          })),
        );
      },
    }),
    ...deadLetterRoutes(store),
  ];
}
