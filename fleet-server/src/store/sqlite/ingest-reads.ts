import type { EventRecord, InferenceRecord, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { DeadLetter, IngestStore, Latest, LatestOfAsset, StoredGap, StoredRow } from "../ingest.ts";
import { type Commands, read, statement } from "./command.ts";
import { type Bound, type Condition, equal, inSites, where } from "./conditions.ts";
import { BATCH_COLUMNS, type BatchRow, batchesAfter, recordsOfBatch } from "./ingest-batches.ts";
import { storedPredictions } from "./prediction-reads.ts";

type Reads = Omit<IngestStore, "commit" | "openSession" | "keepDeadLetter" | "replayDeadLetter">;

function afterId(id: number | undefined): Condition {
  return ["id > @afterId", { afterId: id ?? 0 }];
}

function rowsOfBatch(batch: BatchRow): StoredRow[] {
  return recordsOfBatch("telemetry", batch).map(({ record, ...stored }) => ({ ...record, ...stored }));
}

/** A row with some of its channels only; nothing where it has none of them. */
function withChannels(row: StoredRow, channels: readonly string[]): StoredRow[] {
  const { values, quality, ...rest } = row;
  const named = <T>(of: Readonly<Record<string, T>>) =>
    Object.fromEntries(Object.entries(of).filter(([channel]) => channels.includes(channel)));
  const kept = named(values);
  if (Object.keys(kept).length === 0) return [];
  const marks = quality && named(quality);
  return [{ ...rest, values: kept, ...(marks && Object.keys(marks).length > 0 ? { quality: marks } : {}) }];
}

interface RecordRow {
  readonly id: number;
  readonly device: string;
  readonly epoch_no: number;
  readonly seq: number;
  readonly corrected_at_ms: number;
  readonly committed_at_ms: number;
  readonly hist: number;
  readonly body: string;
}

function recordOf<T>(row: RecordRow) {
  return {
    id: row.id,
    device: row.device,
    epoch: row.epoch_no,
    seq: row.seq,
    correctedAtMs: row.corrected_at_ms,
    committedAtMs: row.committed_at_ms,
    hist: row.hist === 1,
    record: JSON.parse(row.body) as T,
  };
}

const RECORD_COLUMNS = "id, device, epoch_no, seq, corrected_at_ms, committed_at_ms, hist, body";

/** What is read from the committed streams. */
export const ingestReads = {
  rows: read((db, { device, assets, channels, sites, fromMs, toMs, after: place, batches }) => {
    const { sql, bound } = where([
      batchesAfter("telemetry", place),
      equal("device", device),
      fromMs === undefined ? undefined : ["last_at_ms >= @fromMs", { fromMs }],
      toMs === undefined ? undefined : ["first_at_ms < @toMs", { toMs }],
      inSites(sites),
      assets && [
        "EXISTS (SELECT 1 FROM json_each(assets) WHERE value IN (SELECT value FROM json_each(@wanted)))",
        { wanted: JSON.stringify(assets) },
      ],
    ]);
    const found = statement(
      db,
      `SELECT ${BATCH_COLUMNS} FROM telemetry_batches ${sql}
       ORDER BY device, epoch_no, from_seq LIMIT @batches`,
    ).all({ ...bound, batches }) as BatchRow[];
    const [ofDevice, ofEpoch, upTo] = place ?? ["", 0, 0];
    const rows = found
      .flatMap(rowsOfBatch)
      .filter(
        (row) =>
          (row.seq > upTo || row.epoch !== ofEpoch || row.device !== ofDevice) &&
          (assets === undefined || assets.includes(row.asset)) &&
          row.observedAtMs >= (fromMs ?? 0) &&
          row.observedAtMs < (toMs ?? Number.POSITIVE_INFINITY),
      )
      .flatMap((row) => (channels === undefined ? [row] : withChannels(row, channels)));
    const last = found.at(-1);
    return last && found.length === batches
      ? { rows, next: [last.device, last.epoch_no, last.to_seq] as const }
      : { rows };
  }),

  latest: read((db, { sites, assets }) => {
    const { sql, bound } = where([
      inSites(sites),
      assets && [
        "(site, asset) IN (SELECT value ->> 'site', value ->> 'asset' FROM json_each(@assets))",
        { assets: JSON.stringify(assets) },
      ],
    ]);
    const rows = statement(
      db,
      `SELECT site, asset, kind, device, offset_ms, hist, body FROM latest ${sql} ORDER BY site, asset, kind`,
    ).all(bound) as LatestRow[];
    return Map.groupBy(rows, ({ site, asset }) => `${site}/${asset}`)
      .values()
      .map(latestOf)
      .toArray();
  }),

  alarms: read((db, { sites }) => {
    const { sql, bound } = where([inSites(sites), ["standing = 1", {}]]);
    const rows = statement(
      db,
      `SELECT site, asset, device, offset_ms, hist, body FROM alarms ${sql} ORDER BY site, asset, alarm`,
    ).all(bound) as (LatestRow & { asset: string })[];
    return rows.map((row) => ({ site: row.site, asset: row.asset, ...latest<EventRecord>(row) }));
  }),

  predictions: read(storedPredictions),

  events: read((db, { device, asset, sites, afterId: id, limit }) => {
    const { sql, bound } = where([afterId(id), equal("device", device), equal("asset", asset), inSites(sites)]);
    return (
      statement(db, `SELECT ${RECORD_COLUMNS} FROM events ${sql} ORDER BY id LIMIT @limit`).all({
        ...bound,
        limit,
      }) as RecordRow[]
    ).map((row) => recordOf<EventRecord>(row));
  }),

  gaps: read((db, { device, sites, after, limit }) => {
    const { sql, bound } = where([
      after && [
        "(g.at_ms, g.device, g.epoch_no, g.stream, g.from_seq) < (@atMs, @of, @epoch, @stream, @fromSeq)",
        { atMs: after.atMs, of: after.device, epoch: after.epoch, stream: after.stream, fromSeq: after.fromSeq },
      ],
      device === undefined ? undefined : ["g.device = @device", { device } satisfies Bound],
      inSites(sites, "d.site"),
    ]);
    return statement(
      db,
      `SELECT g.device, g.stream, g.epoch_no AS epoch, g.from_seq AS fromSeq, g.to_seq AS toSeq, g.reason, g.at_ms AS atMs
       FROM gaps g LEFT JOIN devices d ON d.device = g.device ${sql}
       ORDER BY g.at_ms DESC, g.device DESC, g.epoch_no DESC, g.stream DESC, g.from_seq DESC LIMIT @limit`,
    ).all({ ...bound, limit }) as StoredGap[];
  }),

  deadLetters: read((db, { device, sites, afterId: id, limit }) => {
    const { sql, bound } = where([afterId(id), equal("device", device), inSites(sites)]);
    return statement(
      db,
      `SELECT id, device, stream, code, message, byte_count AS byteCount, at_ms AS atMs FROM dead_letters
       ${sql} ORDER BY id LIMIT @limit`,
    ).all({ ...bound, limit }) as DeadLetter[];
  }),

  deadLetter: read((db, { id, sites }) => {
    const { sql, bound } = where([["id = @id", { id }], inSites(sites)]);
    return statement(
      db,
      `SELECT id, device, stream, code, message, byte_count AS byteCount, at_ms AS atMs, bytes FROM dead_letters ${sql}`,
    ).get(bound) as (DeadLetter & { bytes: Uint8Array | null }) | undefined;
  }),

  counts: read(
    (db) =>
      // total(), not sum(): a device may claim gaps whose sum no 64-bit integer holds.
      statement(
        db,
        `SELECT (SELECT count(*) FROM dead_letters) AS deadLetters,
                (SELECT total(to_seq - from_seq + 1) FROM gaps) AS gapRecords`,
      ).get() as { deadLetters: number; gapRecords: number },
  ),
} as const satisfies Commands<Reads>;

interface LatestRow {
  readonly site: string;
  readonly asset: string;
  readonly kind: string;
  readonly device: string;
  readonly offset_ms: number;
  readonly hist: number;
  readonly body: string;
}

function latest<T>({ device, offset_ms, hist, body }: LatestRow): Latest<T> {
  return { device, hist: hist === 1, offsetMs: offset_ms, record: JSON.parse(body) as T };
}

function latestOf(rows: readonly LatestRow[]): LatestOfAsset {
  const { site, asset } = rows[0] as LatestRow;
  const row = rows.find(({ kind }) => kind === "row");
  return {
    site,
    asset,
    ...(row ? { row: latest<TelemetryRow>(row) } : {}),
    predictions: rows.filter(({ kind }) => kind !== "row").map((one) => latest<InferenceRecord>(one)),
  };
}
