import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Database } from "better-sqlite3";
import { BLOCK_SLOTS, BlockReader, decodeBlock, figuresAt } from "../../series/block.ts";
import { entryOf, figuresOfEntry } from "../../series/entries.ts";
import { type Figures, HOUR_MS, MINUTE_MS } from "../../series/figures.ts";
import type { SeriesKey } from "../../series/minute-table.ts";
import { type Points, Steps } from "../../series/steps.ts";
import type { CurrentValue, SeriesQuery, SeriesStore } from "../series.ts";
import { type Commands, read, statement, write } from "./command.ts";
import { type Bound, type Condition, inSites, where } from "./conditions.ts";
import { ROW_KIND } from "./ingest-latest.ts";
import { minutesBetween, newestOf, type SeriesPlace, seriesOfGroup } from "./series-minutes.ts";
import { packMinutes } from "./series-packing.ts";
import { keepPiece, pendingSlice, rollupState } from "./series-rollup.ts";

export { seriesMigrations } from "./series-schema.ts";

type SeriesRow = SeriesKey & SeriesPlace;

export const series = {
  pending: read((db) => pendingSlice(db)),
  keep: write(keepPiece),
  pack: write(packMinutes),

  points: read((db, { fromMs, toMs, stepMs, limit, ...query }) => {
    const keys = keysOf(db, { ...query, limit: limit + 1 });
    const items = keys.slice(0, limit).map(({ id, group, ...key }) => {
      const points = pointsOf(db, { id, group }, fromMs, toMs, stepMs);
      return { ...key, points };
    });
    return { items, more: keys.length > limit };
  }),

  current: read((db, query) => {
    const newest = new NewestFigures(db);
    return keysOf(db, query).flatMap((row) => currentOf(db, row, newest) ?? []);
  }),

  waiting: read(
    (db) =>
      statement(db, "SELECT count(*) FROM telemetry_batches WHERE id > ?").pluck().get(rollupState(db).from) as number,
  ),
} as const satisfies Commands<SeriesStore>;

function keysOf(
  db: Database,
  { sites, assets, channels, after, limit }: SeriesQuery & { after?: readonly [string, string, string]; limit: number },
): SeriesRow[] {
  const among = (column: string, names: readonly string[] | undefined): Condition =>
    names && [`${column} IN (SELECT value FROM json_each(@${column}s))`, { [`${column}s`]: JSON.stringify(names) }];
  const [afterSite, afterAsset, afterChannel] = after ?? [];
  const { sql, bound } = where([
    inSites(sites),
    among("asset", assets),
    among("channel", channels),
    after && [
      "(site, asset, channel) > (@afterSite, @afterAsset, @afterChannel)",
      { afterSite, afterAsset, afterChannel } as Bound,
    ],
  ]);
  return statement(
    db,
    `SELECT id, group_id AS "group", site, asset, channel FROM series_keys ${sql} ORDER BY site, asset, channel LIMIT @limit`,
  ).all({ ...bound, limit }) as SeriesRow[];
}

/** A channel's figures in steps: its packed blocks, then the minutes that are not packed yet. */
function pointsOf(db: Database, { id, group }: SeriesPlace, fromMs: number, toMs: number, stepMs: number): Points {
  const bucketMs = stepMs % HOUR_MS === 0 ? HOUR_MS : MINUTE_MS;
  const blockMs = bucketMs * BLOCK_SLOTS;
  const reader = new BlockReader();
  const steps = new Steps(fromMs, stepMs, Math.ceil((toMs - fromMs) / stepMs));
  const blocks = statement(
    db,
    "SELECT block, bytes FROM rollup_blocks WHERE series = ? AND bucket_ms = ? AND block BETWEEN ? AND ? ORDER BY block",
  ).iterate(id, bucketMs, Math.floor(fromMs / blockMs), Math.ceil(toMs / blockMs) - 1);
  for (const { block, bytes } of blocks as IterableIterator<{ block: number; bytes: Buffer }>) {
    steps.addColumns(reader.read(bytes), block * blockMs, bucketMs);
  }
  let at = 0;
  const to = Math.ceil(toMs / MINUTE_MS) - 1;
  for (const { minute, entries } of minutesBetween(db, group, Math.floor(fromMs / MINUTE_MS), to)) {
    at = entryOf(entries, id, at);
    if (at >= 0) steps.add(minute * MINUTE_MS, figuresOfEntry(entries, at));
  }
  return steps.points();
}

/** The newest row of an asset says it at once; a channel that is not in it is taken from the figures. */
function currentOf(db: Database, row: SeriesRow, figures: NewestFigures): CurrentValue | undefined {
  const { site, asset, channel } = row;
  const key = { site, asset, channel };
  const newest = statement(
    db,
    "SELECT corrected_at_ms AS atMs, hist, body FROM latest WHERE site = ? AND asset = ? AND kind = ?",
  ).get(site, asset, ROW_KIND) as { atMs: number; hist: number; body: string } | undefined;
  if (newest) {
    const { values, quality } = JSON.parse(newest.body) as TelemetryRow;
    const value = values[channel];
    if (value !== undefined) {
      const said = quality?.[channel] ?? (value === null ? "bad" : "good");
      return { ...key, value, quality: said, correctedAtMs: newest.atMs, hist: newest.hist === 1 };
    }
  }
  const last = figures.of(row);
  if (!last) return undefined;
  return { ...key, value: last.last, quality: "good", correctedAtMs: last.lastAtMs, hist: last.hist === last.count };
}

/** The newest figures of channels, those of a group looked up together. */
class NewestFigures {
  readonly #db: Database;
  readonly #groups = new Map<number, Map<number, Figures>>();

  constructor(db: Database) {
    this.#db = db;
  }

  of(row: SeriesRow): Figures | undefined {
    let group = this.#groups.get(row.group);
    if (group === undefined) {
      group = newestOf(this.#db, row.group, seriesOfGroup(this.#db, row, row.group));
      this.#groups.set(row.group, group);
    }
    return group.get(row.id) ?? this.#packed(row.id);
  }

  #packed(series: number): Figures | undefined {
    const found = statement(
      this.#db,
      "SELECT block, bytes FROM rollup_blocks WHERE series = ? AND bucket_ms = ? ORDER BY block DESC LIMIT 1",
    ).get(series, HOUR_MS) as { block: number; bytes: Buffer } | undefined;
    if (!found) return undefined;
    const columns = decodeBlock(found.bytes);
    const slot = columns.slot[columns.length - 1] as number;
    return figuresAt(columns, columns.length - 1, (found.block * BLOCK_SLOTS + slot) * HOUR_MS);
  }
}
