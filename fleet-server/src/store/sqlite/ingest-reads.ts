import { decodeBatch } from "@bellwether/protocol/batch.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import type { DeadLetter, IngestStore, StoredGap, StoredRow } from "../ingest.ts";
import { type Commands, read } from "./command.ts";

type Reads = Pick<IngestStore, "rows" | "last" | "predictions" | "events" | "gaps" | "deadLetters" | "counts">;

/** SQL that is true where the row's site is one of a JSON list, or where there is no list. */
const IN_SITES = "(@sites IS NULL OR site IN (SELECT value FROM json_each(@sites)))";

interface BatchRow {
  readonly device: string;
  readonly epoch_no: number;
  readonly from_seq: number;
  readonly hist: number;
  readonly committed_at_ms: number;
  readonly bytes: Buffer;
}

function rowsOfBatch(batch: BatchRow): StoredRow[] {
  return unwrap(decodeBatch("telemetry", batch.bytes)).records.map((row, index) => ({
    ...row,
    device: batch.device,
    epoch: batch.epoch_no,
    seq: batch.from_seq + index,
    committedAtMs: batch.committed_at_ms,
    hist: batch.hist === 1,
  }));
}

/** What is read from the committed streams. */
export const ingestReads = {
  rows: read((db, { device, asset, sites, fromMs, toMs, after, batches }) => {
    const found = db
      .prepare(
        `SELECT device, epoch_no, from_seq, hist, committed_at_ms, bytes FROM telemetry_batches
         WHERE (device, epoch_no, from_seq) > (@afterDevice, @afterEpoch, @afterSeq)
           AND device = coalesce(@device, device) AND last_at_ms >= @fromMs AND first_at_ms < @toMs AND ${IN_SITES}
           AND (@asset IS NULL OR EXISTS (SELECT 1 FROM json_each(assets) WHERE value = @asset))
         ORDER BY device, epoch_no, from_seq LIMIT @batches`,
      )
      .all({
        device: device ?? null,
        asset: asset ?? null,
        sites: sites ? JSON.stringify(sites) : null,
        fromMs: fromMs ?? 0,
        toMs: toMs ?? Number.MAX_SAFE_INTEGER,
        afterDevice: after?.[0] ?? "",
        afterEpoch: after?.[1] ?? 0,
        afterSeq: after?.[2] ?? 0,
        batches,
      }) as BatchRow[];
    const rows = found
      .flatMap(rowsOfBatch)
      .filter(
        (row) =>
          (asset === undefined || row.asset === asset) &&
          row.observedAtMs >= (fromMs ?? 0) &&
          row.observedAtMs < (toMs ?? Number.POSITIVE_INFINITY),
      );
    const last = found.at(-1);
    return last && found.length === batches
      ? { rows, next: [last.device, last.epoch_no, last.from_seq] as const }
      : { rows };
  }),

  last: read((db) => {
    const newest = db
      .prepare(
        `SELECT site, device, epoch_no, max(from_seq) AS from_seq, hist, committed_at_ms, bytes FROM telemetry_batches b
         WHERE epoch_no = (SELECT max(epoch_no) FROM telemetry_batches WHERE device = b.device)
         GROUP BY device, assets`,
      )
      .all() as (BatchRow & { site: string })[];
    const rows = new Map<string, { site: string; device: string; hist: boolean; row: StoredRow }>();
    for (const batch of newest.sort((a, b) => a.from_seq - b.from_seq)) {
      for (const row of rowsOfBatch(batch)) {
        rows.set(`${batch.site}/${row.asset}`, { site: batch.site, device: batch.device, hist: row.hist, row });
      }
    }
    return [...rows.values()];
  }),

  predictions: read((db, { device, asset, model, digest, sites, afterId, limit }) =>
    (
      db
        .prepare(
          `SELECT id, device, epoch_no, seq, corrected_at_ms, committed_at_ms, hist, body FROM predictions
           WHERE id > @afterId AND device = coalesce(@device, device) AND asset = coalesce(@asset, asset)
             AND model = coalesce(@model, model) AND digest = coalesce(@digest, digest) AND ${IN_SITES}
           ORDER BY id LIMIT @limit`,
        )
        .all({
          device: device ?? null,
          asset: asset ?? null,
          model: model ?? null,
          digest: digest ?? null,
          sites: sites ? JSON.stringify(sites) : null,
          afterId: afterId ?? 0,
          limit,
        }) as {
        id: number;
        device: string;
        epoch_no: number;
        seq: number;
        corrected_at_ms: number;
        committed_at_ms: number;
        hist: number;
        body: string;
      }[]
    ).map((row) => ({
      id: row.id,
      device: row.device,
      epoch: row.epoch_no,
      seq: row.seq,
      correctedAtMs: row.corrected_at_ms,
      committedAtMs: row.committed_at_ms,
      hist: row.hist === 1,
      record: JSON.parse(row.body),
    })),
  ),

  events: read((db, { device, sites, afterId, limit }) =>
    (
      db
        .prepare(
          `SELECT id, device, committed_at_ms, hist, body FROM events
           WHERE id > @afterId AND device = coalesce(@device, device) AND ${IN_SITES} ORDER BY id LIMIT @limit`,
        )
        .all({
          device: device ?? null,
          sites: sites ? JSON.stringify(sites) : null,
          afterId: afterId ?? 0,
          limit,
        }) as { id: number; device: string; committed_at_ms: number; hist: number; body: string }[]
    ).map((row) => ({
      id: row.id,
      device: row.device,
      committedAtMs: row.committed_at_ms,
      hist: row.hist === 1,
      record: JSON.parse(row.body),
    })),
  ),

  gaps: read(
    (db, { device, sites, limit }) =>
      db
        .prepare(
          `SELECT g.device, g.stream, g.epoch_no AS epoch, g.from_seq AS fromSeq, g.to_seq AS toSeq, g.reason, g.at_ms AS atMs
           FROM gaps g JOIN devices d ON d.device = g.device
           WHERE g.device = coalesce(@device, g.device) AND ${IN_SITES} ORDER BY g.at_ms DESC LIMIT @limit`,
        )
        .all({ device: device ?? null, sites: sites ? JSON.stringify(sites) : null, limit }) as StoredGap[],
  ),

  deadLetters: read(
    (db, { device, sites, afterId, limit }) =>
      db
        .prepare(
          `SELECT id, device, stream, code, message, byte_count AS byteCount, at_ms AS atMs FROM dead_letters
           WHERE id > @afterId AND device = coalesce(@device, device) AND ${IN_SITES} ORDER BY id LIMIT @limit`,
        )
        .all({
          device: device ?? null,
          sites: sites ? JSON.stringify(sites) : null,
          afterId: afterId ?? 0,
          limit,
        }) as DeadLetter[],
  ),

  counts: read(
    (db) =>
      db
        .prepare(
          `SELECT (SELECT count(*) FROM dead_letters) AS deadLetters,
                  (SELECT coalesce(sum(to_seq - from_seq + 1), 0) FROM gaps) AS gapRecords`,
        )
        .get() as { deadLetters: number; gapRecords: number },
  ),
} as const satisfies Commands<Reads>;
