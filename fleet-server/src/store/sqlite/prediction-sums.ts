import type { InferenceRecord } from "@bellwether/protocol/messages/stream.ts";
import type { Database } from "better-sqlite3";
import { statement } from "./command.ts";
import type { StoredAt } from "./ingest-latest.ts";

/** What the predictions of one version for one asset add up to; of pairs with a predecessor the sums of both. */
interface Sums {
  readonly asset: string;
  readonly model: string;
  readonly version: number;
  readonly digest: string;
  n: number;
  errors: number;
  alerts: number;
  pairs: number;
  sumValue: number;
  sumPredecessor: number;
  sumValueSquared: number;
  sumPredecessorSquared: number;
  sumProduct: number;
  readonly latenciesUs: number[];
}

/**
 * Adds up predictions that are stored together, by asset and version: gates ask for sums over thousands of devices, and
 * read no prediction for it.
 */
export class PredictionSums {
  readonly #all = new Map<string, Sums>();
  /** The sums an asset's predictions went to last: nearly always those of the next. */
  readonly #usual = new Map<string, Sums>();

  add(record: InferenceRecord): void {
    const sums = this.#sumsOf(record);
    const { value, predecessor, latencyUs } = record;
    sums.n += 1;
    if (record.error !== undefined) sums.errors += 1;
    if (record.alert === true) sums.alerts += 1;
    if (latencyUs !== undefined) sums.latenciesUs.push(latencyUs);
    if (predecessor === undefined) return;
    sums.pairs += 1;
    sums.sumPredecessor += predecessor.value;
    sums.sumPredecessorSquared += predecessor.value * predecessor.value;
    if (value === undefined) return;
    sums.sumValue += value;
    sums.sumValueSquared += value * value;
    sums.sumProduct += value * predecessor.value;
  }

  #sumsOf({ asset, model, version, digest }: InferenceRecord): Sums {
    const usual = this.#usual.get(asset);
    if (usual?.model === model && usual.version === version && usual.digest === digest) return usual;
    const key = `${asset}\n${model}\n${version}\n${digest}`;
    let sums = this.#all.get(key);
    if (sums === undefined) {
      const none = { n: 0, errors: 0, alerts: 0, pairs: 0, sumValue: 0, sumPredecessor: 0 };
      const noSquares = { sumValueSquared: 0, sumPredecessorSquared: 0, sumProduct: 0, latenciesUs: [] };
      sums = { asset, model, version, digest, ...none, ...noSquares };
      this.#all.set(key, sums);
    }
    this.#usual.set(asset, sums);
    return sums;
  }

  /** Writes them beside the batch the predictions lie in. */
  write(db: Database, batch: number, { device, hist }: StoredAt, committedAtMs: number): void {
    const insert = statement(
      db,
      `INSERT INTO prediction_sums (device, model, committed_at_ms, batch, asset, version, digest, hist, n, errors, alerts,
         pairs, sum_value, sum_predecessor, sum_value_squared, sum_predecessor_squared, sum_product, latencies_us)
       VALUES (@device, @model, @committedAtMs, @batch, @asset, @version, @digest, @hist, @n, @errors, @alerts,
         @pairs, @sumValue, @sumPredecessor, @sumValueSquared, @sumPredecessorSquared, @sumProduct, @latencies)`,
    );
    for (const { latenciesUs, ...sums } of this.#all.values()) {
      const latencies = latenciesUs.length === 0 ? null : Buffer.from(Float64Array.from(latenciesUs).buffer);
      insert.run({ ...sums, batch, device, hist, committedAtMs, latencies });
    }
  }
}

/** The value at a share of the way through latencies as they are stored; null without any. */
export function latencyQuantile(stored: readonly Buffer[], share: number): number | null {
  const count = stored.reduce((sum, one) => sum + one.byteLength / 8, 0);
  if (count === 0) return null;
  const all = new Float64Array(count);
  let at = 0;
  for (const one of stored) {
    // A blob lies anywhere in memory; doubles must lie at multiples of eight.
    all.set(new Float64Array(new Uint8Array(one).buffer), at);
    at += one.byteLength / 8;
  }
  return all.sort()[Math.floor(share * (count - 1))] as number;
}
