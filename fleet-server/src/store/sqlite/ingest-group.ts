import { BATCH_RECORDS_MAX } from "@bellwether/protocol/batch.ts";
import type { InferenceRecord, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Database } from "better-sqlite3";
import { NOTHING, type Position, type Range } from "../../ingest/ranges.ts";
import { statement } from "./command.ts";
import { MESSAGE_TABLES, type MessageStream } from "./ingest-batches.ts";
import { isNewer, keepLatest, type NewestRecord, type StoredAt } from "./ingest-latest.ts";
import { PredictionSums } from "./prediction-sums.ts";

/** Bytes of messages that lie together in one row of the table: reading one of them reads them all. */
const RUN_BYTES_MAX = 65_536;

interface KnownPosition {
  readonly device: string;
  readonly epochNo: number;
  readonly stream: string;
  position: Position;
  changed: boolean;
}

/** Messages of one device and stream that follow each other. */
interface Run {
  readonly stream: MessageStream;
  readonly at: StoredAt;
  readonly from: number;
  to: number;
  readonly assets: Set<string>;
  readonly sums: PredictionSums;
  firstAtMs: number;
  lastAtMs: number;
  committedAtMs: number;
  readonly parts: Uint8Array[];
  /** Rows and bytes of each part. */
  readonly cuts: [rows: number, bytes: number][];
  bytes: number;
}

/**
 * What a group of messages does to rows that many of them touch: read once, changed in memory, written once at the end of the
 * group. It lives for one group, inside its transaction; `flush` before anything else reads these tables.
 */
export class IngestGroup {
  readonly #db: Database;
  readonly #epochs = new Map<string, number>();
  readonly #positions = new Map<string, KnownPosition>();
  readonly #runs = new Map<string, Run>();
  readonly #newest = new Map<string, NewestRecord>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** The number of a device's epoch: the order in which the server first saw them. */
  epochNumber(device: string, epoch: string): number {
    const key = `${device}/${epoch}`;
    const known = this.#epochs.get(key);
    if (known !== undefined) return known;
    const found = epochNumber(this.#db, device, epoch);
    this.#epochs.set(key, found);
    return found;
  }

  position(device: string, epochNo: number, stream: string): Position {
    return this.#known(device, epochNo, stream).position;
  }

  keepPosition(device: string, epochNo: number, stream: string, position: Position): void {
    const known = this.#known(device, epochNo, stream);
    known.position = position;
    known.changed = true;
  }

  #known(device: string, epochNo: number, stream: string): KnownPosition {
    const key = `${device}/${epochNo}/${stream}`;
    let known = this.#positions.get(key);
    if (known === undefined) {
      const position = readPosition(this.#db, device, epochNo, stream);
      known = { device, epochNo, stream, position, changed: false };
      this.#positions.set(key, known);
    }
    return known;
  }

  /** Keeps a message as it came; one that follows the last of its device and stream lies beside it. */
  addMessage(
    stream: MessageStream,
    at: StoredAt,
    [from, to]: Range,
    records: readonly (TelemetryRow | InferenceRecord)[],
    bytes: Uint8Array,
    committedAtMs: number,
  ): void {
    const key = runKey(at.device, at.epochNo, stream);
    let run = this.#runs.get(key);
    if (run !== undefined && !follows(run, at, from, to, bytes.byteLength)) {
      this.#writeRun(run);
      run = undefined;
    }
    if (run === undefined) {
      const nothing = { firstAtMs: Number.POSITIVE_INFINITY, lastAtMs: 0, parts: [], cuts: [], bytes: 0 };
      run = { stream, at, from, to, assets: new Set(), sums: new PredictionSums(), committedAtMs, ...nothing };
      this.#runs.set(key, run);
    }
    for (const record of records) {
      const { asset, observedAtMs } = record;
      run.assets.add(asset);
      if (observedAtMs < run.firstAtMs) run.firstAtMs = observedAtMs;
      if (observedAtMs > run.lastAtMs) run.lastAtMs = observedAtMs;
      if (stream === "inference") run.sums.add(record as InferenceRecord);
    }
    run.to = to;
    run.committedAtMs = committedAtMs;
    run.parts.push(bytes);
    run.cuts.push([records.length, bytes.byteLength]);
    run.bytes += bytes.byteLength;
  }

  /** Writes what of a device's stream is still in memory: what is stored of it is about to be read. */
  settle(device: string, epochNo: number, stream: string): void {
    const key = runKey(device, epochNo, stream);
    const run = this.#runs.get(key);
    if (run === undefined) return;
    this.#writeRun(run);
    this.#runs.delete(key);
  }

  /** Keeps a record where it is the newest of its kind that an asset has. */
  keepNewest(at: StoredAt, kind: string, seq: number, record: TelemetryRow | InferenceRecord): void {
    const key = `${at.site}/${record.asset}/${kind}`;
    const before = this.#newest.get(key);
    const one = { at, kind, seq, record };
    if (before !== undefined && before.at.device !== at.device) keepLatest(this.#db, before);
    else if (before !== undefined && !isNewer(one, before)) return;
    this.#newest.set(key, one);
  }

  /** Writes what is still in memory. */
  flush(): void {
    for (const run of this.#runs.values()) this.#writeRun(run);
    this.#runs.clear();
    for (const known of this.#positions.values()) {
      if (known.changed) writePosition(this.#db, known);
      known.changed = false;
    }
    for (const one of this.#newest.values()) keepLatest(this.#db, one);
    this.#newest.clear();
  }

  #writeRun(run: Run): void {
    const { stream, at, parts, cuts, committedAtMs } = run;
    const { lastInsertRowid } = statement(
      this.#db,
      `INSERT INTO ${MESSAGE_TABLES[stream]} (device, epoch_no, from_seq, to_seq, site, assets, first_at_ms, last_at_ms,
         offset_ms, hist, committed_at_ms, bytes, cuts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      at.device,
      at.epochNo,
      run.from,
      run.to,
      at.site,
      JSON.stringify([...run.assets]),
      run.firstAtMs,
      run.lastAtMs,
      at.offsetMs,
      at.hist,
      committedAtMs,
      parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts),
      parts.length === 1 ? null : JSON.stringify(cuts),
    );
    run.sums.write(this.#db, Number(lastInsertRowid), at, committedAtMs);
  }
}

function runKey(device: string, epochNo: number, stream: string): string {
  return `${device}/${epochNo}/${stream}`;
}

function follows(run: Run, at: StoredAt, from: number, to: number, bytes: number): boolean {
  return (
    from === run.to + 1 &&
    at.hist === run.at.hist &&
    at.offsetMs === run.at.offsetMs &&
    at.site === run.at.site &&
    to - run.from < BATCH_RECORDS_MAX &&
    run.bytes + bytes <= RUN_BYTES_MAX
  );
}

/** The number of a device's epoch, given at first sight. */
export function epochNumber(db: Database, device: string, epoch: string): number {
  const find = statement(db, "SELECT epoch_no FROM epochs WHERE device = ? AND epoch = ?").pluck();
  const found = find.get(device, epoch) as number | undefined;
  if (found !== undefined) return found;
  statement(db, "INSERT INTO epochs SELECT ?, ?, coalesce(max(epoch_no), 0) + 1 FROM epochs WHERE device = ?").run(
    device,
    epoch,
    device,
  );
  return find.get(device, epoch) as number;
}

/** Where a stream stands as it is stored. */
export function readPosition(db: Database, device: string, epochNo: number, stream: string): Position {
  const row = statement(
    db,
    "SELECT up_to, also FROM stream_positions WHERE device = ? AND epoch_no = ? AND stream = ?",
  ).get(device, epochNo, stream) as { up_to: number; also: string } | undefined;
  return row ? { upTo: row.up_to, also: JSON.parse(row.also) } : NOTHING;
}

/** Stores where a stream stands. */
export function writePosition(
  db: Database,
  at: { readonly device: string; readonly epochNo: number; readonly stream: string; readonly position: Position },
): void {
  statement(
    db,
    `INSERT INTO stream_positions VALUES (?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET up_to = excluded.up_to, also = excluded.also`,
  ).run(at.device, at.epochNo, at.stream, at.position.upTo, JSON.stringify(at.position.also));
}
