import { BATCH_RECORDS_MAX } from "@bellwether/protocol/batch.ts";
import type { Database } from "better-sqlite3";
import type { IngestStore, StoredPrediction } from "../ingest.ts";
import { statement } from "./command.ts";
import { type Condition, equal, inSites, where } from "./conditions.ts";
import { BATCH_COLUMNS, type BatchRow, batchesAfter, recordsOfBatch } from "./ingest-batches.ts";

/** Ids of predictions that lie together are apart by one, those of rows by this: no row holds as many. */
const IDS_OF_BATCH = 16_384;
if (IDS_OF_BATCH <= BATCH_RECORDS_MAX) throw new Error("predictions of one row would have the ids of another's");

type Wanted = Parameters<IngestStore["predictions"]>[0];

interface PredictionBatchRow extends BatchRow {
  readonly id: number;
}

const COLUMNS = `b.id, ${BATCH_COLUMNS.split(", ")
  .map((name) => `b.${name}`)
  .join(", ")}`;

/** Predictions by seq or by commit: rows are read one after the other, until there are as many as wanted. */
export function storedPredictions(db: Database, wanted: Wanted): StoredPrediction[] {
  const { order = "commit", after, asset, model, digest, afterId = 0, limit } = wanted;
  const { sql, bound } = order === "commit" ? byCommit(wanted) : bySeq(wanted);
  const [ofDevice, ofEpoch, upTo] = (order === "seq" && after) || ["", 0, 0];
  const found: StoredPrediction[] = [];
  let lastId = 0;
  for (const batch of statement(db, sql).iterate(bound) as IterableIterator<PredictionBatchRow>) {
    // Where a row's predictions are of several models or versions, it is found once for each.
    if (batch.id === lastId) continue;
    lastId = batch.id;
    for (const stored of recordsOfBatch("inference", batch)) {
      const id = batch.id * IDS_OF_BATCH + stored.seq - batch.from_seq;
      const { record } = stored;
      if (order === "commit" && id <= afterId) continue;
      if (stored.seq <= upTo && stored.epoch === ofEpoch && stored.device === ofDevice) continue;
      if (asset !== undefined && record.asset !== asset) continue;
      if (model !== undefined && record.model !== model) continue;
      if (digest !== undefined && record.digest !== digest) continue;
      found.push({ id, ...stored });
      if (found.length === limit) return found;
    }
  }
  return found;
}

/** Rows in the order of their commit; those of an asset or a model through the index over their sums. */
function byCommit({ device, asset, model, sites, afterId = 0 }: Wanted) {
  const bySums = asset !== undefined || model !== undefined;
  const fromBatch = Math.floor(afterId / IDS_OF_BATCH);
  const { sql, bound } = where([
    [`${bySums ? "s.batch" : "b.id"} >= @fromBatch`, { fromBatch }],
    of("b.device", "device", device),
    of("s.asset", "asset", asset),
    of("s.model", "model", model),
    inSites(sites, "b.site"),
  ]);
  const from = bySums ? "prediction_sums s JOIN prediction_batches b ON b.id = s.batch" : "prediction_batches b";
  return { sql: `SELECT ${COLUMNS} FROM ${from} ${sql} ORDER BY ${bySums ? "s.batch" : "b.id"}`, bound };
}

function bySeq({ after, device, asset, sites }: Wanted) {
  const { sql, bound } = where([
    batchesAfter("inference", after),
    equal("device", device),
    asset === undefined ? undefined : ["EXISTS (SELECT 1 FROM json_each(assets) WHERE value = @asset)", { asset }],
    inSites(sites),
  ]);
  return { sql: `SELECT ${COLUMNS} FROM prediction_batches b ${sql} ORDER BY device, epoch_no, from_seq`, bound };
}

function of(column: string, name: string, value: string | undefined): Condition {
  return value === undefined ? undefined : [`${column} = @${name}`, { [name]: value }];
}
