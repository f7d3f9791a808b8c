import type { Database } from "better-sqlite3";
import { BLOCK_SLOTS, decodeBlock, emptyColumns, encodeBlock, figuresAt, setRow } from "../../series/block.ts";
import { ENTRY, figuresOfEntry } from "../../series/entries.ts";
import { type Figures, HOUR_MS, MINUTE_MS, merge } from "../../series/figures.ts";
import type { SeriesStore } from "../series.ts";
import { statement } from "./command.ts";
import { minutesBetween } from "./series-minutes.ts";

/** Figures of one channel in one minute. */
interface Minute {
  readonly minute: number;
  readonly figures: Figures;
}

/** Groups that one call looks at for a day to pack. */
const GROUPS_LOOKED_AT = 500;

/** Packs one day of one group that ended before a time: some milliseconds of the writer. */
export function packMinutes(
  db: Database,
  { beforeMs, fromGroup }: Parameters<SeriesStore["pack"]>[0],
): Awaited<ReturnType<SeriesStore["pack"]>> {
  const before = Math.floor(beforeMs / MINUTE_MS / BLOCK_SLOTS) * BLOCK_SLOTS;
  const first = statement(
    db,
    'SELECT group_id AS "group", minute FROM rollup_minutes WHERE group_id >= ? ORDER BY group_id, minute LIMIT 1',
  );
  let group = fromGroup;
  for (let looked = 0; looked < GROUPS_LOOKED_AT; looked++) {
    const found = first.get(group) as { group: number; minute: number } | undefined;
    if (!found) return {};
    group = found.group;
    if (found.minute < before) {
      packDay(db, group, Math.floor(found.minute / BLOCK_SLOTS));
      break;
    }
    group += 1;
  }
  return { next: group };
}

function packDay(db: Database, group: number, day: number): void {
  const [from, to] = [day * BLOCK_SLOTS, (day + 1) * BLOCK_SLOTS - 1];
  const series = new Map<number, Minute[]>();
  for (const { minute, entries } of minutesBetween(db, group, from, to)) {
    for (let at = 0; at < entries.length; at += ENTRY) {
      const own = series.get(entries[at] as number) ?? [];
      series.set(entries[at] as number, own);
      own.push({ minute, figures: figuresOfEntry(entries, at) });
    }
  }
  for (const [id, minutes] of series) {
    for (const bucketMs of [MINUTE_MS, HOUR_MS]) {
      // A day's minutes are one block, and its hours lie in one.
      const block = Math.floor((from * MINUTE_MS) / (bucketMs * BLOCK_SLOTS));
      addToBlock(db, { series: id, bucketMs, block }, minutes);
    }
  }
  statement(db, "DELETE FROM rollup_minutes WHERE group_id = ? AND minute BETWEEN ? AND ?").run(group, from, to);
}

function addToBlock(
  db: Database,
  at: { readonly series: number; readonly bucketMs: number; readonly block: number },
  minutes: readonly Minute[],
): void {
  const startMs = at.block * BLOCK_SLOTS * at.bucketMs;
  const buckets = new Map<number, Figures>();
  const stored = statement(
    db,
    "SELECT bytes FROM rollup_blocks WHERE series = @series AND bucket_ms = @bucketMs AND block = @block",
  ).get(at) as { bytes: Buffer } | undefined;
  if (stored) {
    const columns = decodeBlock(stored.bytes);
    for (let row = 0; row < columns.length; row++) {
      const slot = columns.slot[row] as number;
      buckets.set(slot, figuresAt(columns, row, startMs + slot * at.bucketMs));
    }
  }
  for (const { minute, figures } of minutes) {
    const slot = Math.floor((minute * MINUTE_MS - startMs) / at.bucketMs);
    const bucket = buckets.get(slot);
    if (bucket) merge(bucket, figures);
    else buckets.set(slot, { ...figures });
  }
  const columns = emptyColumns(buckets.size);
  const ordered = [...buckets].sort(([one], [other]) => one - other);
  for (const [row, [slot, figures]] of ordered.entries()) {
    setRow(columns, row, slot, startMs + slot * at.bucketMs, figures);
  }
  statement(db, "INSERT OR REPLACE INTO rollup_blocks VALUES (@series, @bucketMs, @block, @bytes)").run({
    ...at,
    bytes: encodeBlock(columns),
  });
}
