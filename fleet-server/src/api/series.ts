import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer, oneOf, pairOf } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import { HOUR_MS, MINUTE_MS } from "../series/figures.ts";
import type { SeriesKey } from "../series/minute-table.ts";
import { stepFor } from "../series/steps.ts";
import type { SeriesStore } from "../store/series.ts";
import type { Store } from "../store/store.ts";
import { siteScope } from "./caller.ts";
import { cursors, PAGE_DEFAULT, page, pageOf, pageQuery } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;
const Time = integer({ minimum: 0, maximum: 8_640_000_000_000_000, description: "Milliseconds since 1970 UTC." });
const Names = Type.Optional(Type.Array(Name, { maxItems: 100 }));

const SeriesPlace = { site: Name, asset: Name, channel: Name };
const byChannel = cursors(Type.Object(SeriesPlace, closed));
const byTime = cursors(Type.Object({ fromMs: Time, after: Type.Optional(Type.Object(SeriesPlace, closed)) }, closed));

const ValueView = Type.Object(
  {
    ...SeriesPlace,
    value: Type.Union([Type.Number(), Type.Null()], { description: "Null where the last reading failed." }),
    quality: oneOf(["good", "uncertain", "bad"]),
    correctedAtMs: integer({ description: "When it was measured, after what is known of the device's clock." }),
    ageMs: integer({ description: "How long ago that is." }),
    hist: Type.Boolean({ description: "It came as backfill." }),
  },
  closed,
);
const Figures = Type.Array(Type.Number());
const RollupView = Type.Object(
  {
    ...SeriesPlace,
    fromMs: Time,
    toMs: Time,
    stepMs: integer(),
    atMs: Type.Array(Time, { description: "Beginning of each step that has samples." }),
    count: Figures,
    min: Figures,
    mean: Figures,
    max: Figures,
    last: Figures,
    backfilled: Type.Array(integer(), { description: "Places in these lists of steps with backfilled samples." }),
    gaps: Type.Array(pairOf(Time), {
      description: "Spans between samples, from and up to, without any sample.",
    }),
  },
  closed,
);

/** Steps of all channels on one page: about a megabyte of JSON. */
const STEPS_MAX = 20_000;
/** Buckets read for one page: some ten milliseconds of a thread. */
const BUCKETS_MAX = 1_100_000;
const POINTS_DEFAULT = 500;

export interface SeriesRoutesDeps {
  readonly store: Pick<Store, "series">;
}

/** Channels over time: the newest value of each, and figures per step. */
export function seriesRoutes({ store }: SeriesRoutesDeps): Route[] {
  return [valuesRoute(store.series), rollupsRoute(store.series)];
}

function queryOf(
  asset: readonly string[] | undefined,
  channel: readonly string[] | undefined,
  sites?: readonly string[],
) {
  return {
    ...(asset ? { assets: asset } : {}),
    ...(channel ? { channels: channel } : {}),
    ...(sites ? { sites } : {}),
  };
}

function keyOf({ site, asset, channel }: SeriesKey): SeriesKey {
  return { site, asset, channel };
}

function placeOf(key: SeriesKey | undefined): readonly [string, string, string] | undefined {
  return key && [key.site, key.asset, key.channel];
}

function valuesRoute(series: SeriesStore): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/values",
    operation: "listValues",
    summary: "The newest committed value of every channel, with its age.",
    role: "viewer",
    query: { ...pageQuery, asset: Names, channel: Names },
    answer: pageOf(ValueView),
    errors: ["INVALID_CURSOR"],
    handler: async ({ query: { cursor, limit = PAGE_DEFAULT, asset, channel }, caller, request }) => {
      const from = byChannel.decode(cursor);
      if (!from.ok) return from;
      const after = placeOf(from.value);
      const wanted = { ...queryOf(asset, channel, siteScope(caller)), ...(after ? { after } : {}) };
      const rows = await series.current({ ...wanted, limit: limit + 1 });
      const whole = page(rows, limit, byChannel, keyOf);
      const items = whole.items.map((row) => ({ ...row, ageMs: Math.max(0, request.nowMs - row.correctedAtMs) }));
      return ok({ ...whole, items });
    },
  });
}

function rollupsRoute(series: SeriesStore): Route {
  return defineRoute({
    method: "GET",
    path: "/v1/rollups",
    operation: "listRollups",
    summary:
      "Count, least, mean, most and last of channels in even steps of their corrected time, exactly those of the committed samples, late and backfilled ones included. " +
      "Pages go through the channels, and where there are more steps than a page holds, then on in time.",
    role: "viewer",
    query: {
      ...pageQuery,
      asset: Names,
      channel: Names,
      fromMs: Type.Optional(Time),
      toMs: Type.Optional(Time),
      stepMs: Type.Optional(
        integer({
          minimum: MINUTE_MS,
          maximum: 366 * 24 * HOUR_MS,
          multipleOf: MINUTE_MS,
          description: "Whole minutes; whole hours are read from the figures per hour, which are kept longer.",
        }),
      ),
      points: Type.Optional(
        integer({
          minimum: 1,
          maximum: STEPS_MAX,
          description: `Or as many steps at most, ${POINTS_DEFAULT} by default.`,
        }),
      ),
    },
    answer: pageOf(RollupView),
    errors: ["INVALID_CURSOR", "INVALID_QUERY"],
    handler: async ({ query, caller, request }) => {
      const { cursor, limit = PAGE_DEFAULT, asset, channel, points = POINTS_DEFAULT } = query;
      const from = byTime.decode(cursor);
      if (!from.ok) return from;
      const { toMs = request.nowMs } = query;
      const { fromMs = Math.max(0, toMs - 24 * HOUR_MS) } = query;
      if (fromMs >= toMs) return err("INVALID_QUERY", { name: "fromMs", expected: "must be before toMs" });
      const stepMs = query.stepMs ?? stepFor(toMs - fromMs, points);
      const pageFromMs = from.value?.fromMs ?? Math.floor(fromMs / stepMs) * stepMs;
      if (pageFromMs % stepMs !== 0) return err("INVALID_CURSOR");
      const pageToMs = Math.min(pageFromMs + STEPS_MAX * stepMs, Math.ceil(toMs / stepMs) * stepMs);
      const after = placeOf(from.value?.after);
      const most = Math.max(1, Math.min(limit, channelsPerPage(pageToMs - pageFromMs, stepMs)));
      const wanted = { ...queryOf(asset, channel, siteScope(caller)), ...(after ? { after } : {}) };
      const found = await series.points({ ...wanted, fromMs: pageFromMs, toMs: pageToMs, stepMs, limit: most });
      const items = found.items.map(({ points, ...key }) => ({
        ...key,
        fromMs: pageFromMs,
        toMs: pageToMs,
        stepMs,
        ...points,
      }));
      const last = items.at(-1);
      if (found.more && last) {
        return ok({ items, next: byTime.encode({ fromMs: pageFromMs, after: keyOf(last) }) });
      }
      return ok(pageToMs < toMs ? { items, next: byTime.encode({ fromMs: pageToMs }) } : { items });
    },
  });
}

/** Channels a page has room for, by the steps it writes and the buckets it reads for each. */
function channelsPerPage(spanMs: number, stepMs: number): number {
  const bucketMs = stepMs % HOUR_MS === 0 ? HOUR_MS : MINUTE_MS;
  return Math.floor(Math.min(STEPS_MAX / (spanMs / stepMs), BUCKETS_MAX / (spanMs / bucketMs)));
}
