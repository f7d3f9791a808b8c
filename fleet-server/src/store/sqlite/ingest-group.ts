import { BATCH_RECORDS_MAX } from "@bellwether/protocol/batch.ts";
import type { AssetView, BatchView } from "@bellwether/protocol/batch-view.ts";
import type { InferenceRecord, Stream } from "@bellwether/protocol/messages/stream.ts";
import type { Database } from "better-sqlite3";
import { NOTHING, type Position } from "../../ingest/ranges.ts";
import { statement } from "./command.ts";
import { MESSAGE_TABLES, type MessageStream } from "./ingest-batches.ts";
import { isNewer, keepLatest, type NewestRecord, predictionKind, ROW_KIND, type StoredAt } from "./ingest-latest.ts";
import { pack } from "./packed.ts";
import { PredictionSums } from "./prediction-sums.ts";

/** Bytes of messages that lie together in one row of the table: reading one of them reads them all. */
const RUN_BYTES_MAX = 65_536;

/** A stream of one epoch of a device, as the group knows it so far. */
export interface OpenStream {
  readonly device: string;
  readonly stream: Stream;
  readonly epoch: string;
  readonly epochNo: number;
  position: Position;
  changed: boolean;
  run: Run | undefined;
}

/** Messages of one stream that follow each other. */
interface Run {
  readonly stream: MessageStream;
  readonly at: StoredAt;
  readonly from: number;
  to: number;
  /** Of each asset (and model) the newest that is in it. */
  readonly assets: Map<string, { view: AssetView; seq: number }>;
  readonly sums: PredictionSums;
  firstAtMs: number;
  lastAtMs: number;
  committedAtMs: number;
  readonly spans: Span[];
  /** Rows and bytes of each message. */
  readonly cuts: [rows: number, bytes: number][];
  bytes: number;
}

/** Bytes that lie beside each other; messages of a device that came together do. */
interface Span {
  readonly bytes: Buffer;
  readonly from: number;
  to: number;
}

/**
 * What groups of messages do to rows that many of them touch: read once, changed in memory, written once by `flush`, before
 * anything else reads these tables.
 */
export class IngestGroup {
  readonly #db: Database;
  /** By the place of the source in the group: the stream it spoke of last, nearly always the one it speaks of next. */
  #usual: OpenStream[] = [];
  readonly #streams = new Map<string, OpenStream>();
  readonly #newest = new Map<string, NewestRecord>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** Whether all of the group that was begun last is in memory only. */
  isPlain = true;

  /** Begins a group of messages, whose sources have places of their own. */
  begin(): void {
    this.#usual = [];
    this.isPlain = true;
  }

  /** Takes from the memory of the group that was begun last what is needed of it later; its bytes stay where they are. */
  detach(): void {
    for (const { run } of this.#usual) {
      for (const own of run?.assets.values() ?? []) own.view = own.view.alone();
    }
  }

  /** The stream that a source's message of this epoch belongs to. `source` is the place of device and stream in the group. */
  stream(source: number, device: string, stream: Stream, epoch: string): OpenStream {
    const usual = this.#usual[source];
    if (usual?.epoch === epoch) return usual;
    const key = `${device}/${stream}/${epoch}`;
    let found = this.#streams.get(key);
    if (found === undefined) {
      const epochNo = epochNumber(this.#db, device, epoch);
      const position = readPosition(this.#db, device, epochNo, stream);
      found = { device, stream, epoch, epochNo, position, changed: false, run: undefined };
      this.#streams.set(key, found);
    }
    this.#usual[source] = found;
    return found;
  }

  keepPosition(stream: OpenStream, position: Position): void {
    stream.position = position;
    stream.changed = true;
  }

  /** Keeps a message as it came, the bytes from `from` to before `to`; one that follows the last of its stream lies beside it. */
  addMessage(open: OpenStream, at: StoredAt, view: BatchView, { bytes, from, to }: Span, committedAtMs: number): void {
    const lastSeq = view.fromSeq + view.count - 1;
    let { run } = open;
    if (run !== undefined && !follows(run, at, view.fromSeq, lastSeq, to - from)) {
      this.settle(open);
      run = undefined;
    }
    run ??= newRun(open.stream as MessageStream, at, view.fromSeq);
    open.run = run;
    for (const asset of view.assets) noteAsset(run, asset, view.fromSeq + asset.lastIndex);
    if (run.stream === "inference") for (const record of view.batch().records) run.sums.add(record as InferenceRecord);
    run.to = lastSeq;
    run.committedAtMs = committedAtMs;
    run.cuts.push([view.count, to - from]);
    run.bytes += to - from;
    const last = run.spans.at(-1);
    if (last?.bytes === bytes && last.to === from) last.to = to;
    else run.spans.push({ bytes, from, to });
  }

  /** Writes what of a stream is still in memory: what is stored of it is about to be read. */
  settle(open: OpenStream): void {
    if (open.run === undefined) return;
    this.isPlain = false;
    this.#writeRun(open.run);
    open.run = undefined;
  }

  /** Keeps a record where it is the newest of its kind that an asset has. */
  #keepNewest(at: StoredAt, view: AssetView, seq: number): void {
    const { asset, model } = view;
    const kind = model === undefined ? ROW_KIND : predictionKind(model);
    const key = `${at.site}/${asset}/${kind}`;
    const before = this.#newest.get(key);
    const one = { at, kind, asset, seq, view };
    if (before !== undefined && before.at.device !== at.device) keepLatest(this.#db, before);
    else if (before !== undefined && !isNewer(one, before)) return;
    this.#newest.set(key, one);
  }

  /** Writes what is still in memory. */
  flush(): void {
    for (const open of this.#streams.values()) {
      this.settle(open);
      if (open.changed) writePosition(this.#db, open);
      open.changed = false;
    }
    for (const one of this.#newest.values()) keepLatest(this.#db, one);
    this.#newest.clear();
  }

  #writeRun(run: Run): void {
    const { stream, at, cuts, committedAtMs } = run;
    const names = new Set<string>();
    for (const { view, seq } of run.assets.values()) {
      names.add(view.asset);
      this.#keepNewest(at, view, seq);
    }
    const { bytes, unpackedBytes } = pack(bytesOf(run));
    const { lastInsertRowid } = statement(
      this.#db,
      `INSERT INTO ${MESSAGE_TABLES[stream]} (device, epoch_no, from_seq, to_seq, site, assets, first_at_ms, last_at_ms,
         offset_ms, hist, committed_at_ms, bytes, unpacked_bytes, cuts)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      at.device,
      at.epochNo,
      run.from,
      run.to,
      at.site,
      JSON.stringify([...names]),
      run.firstAtMs,
      run.lastAtMs,
      at.offsetMs,
      at.hist,
      committedAtMs,
      bytes,
      unpackedBytes,
      cuts.length === 1 ? null : JSON.stringify(cuts),
    );
    run.sums.write(this.#db, Number(lastInsertRowid), at, committedAtMs);
  }
}

function newRun(stream: MessageStream, at: StoredAt, from: number): Run {
  return {
    stream,
    at,
    from,
    to: from,
    assets: new Map(),
    sums: new PredictionSums(),
    firstAtMs: Number.POSITIVE_INFINITY,
    lastAtMs: 0,
    committedAtMs: 0,
    spans: [],
    cuts: [],
    bytes: 0,
  };
}

function noteAsset(run: Run, view: AssetView, seq: number): void {
  if (view.firstAtMs < run.firstAtMs) run.firstAtMs = view.firstAtMs;
  if (view.lastAtMs > run.lastAtMs) run.lastAtMs = view.lastAtMs;
  const key = view.model === undefined ? view.asset : `${view.asset}/${view.model}`;
  const own = run.assets.get(key);
  if (own === undefined) run.assets.set(key, { view, seq });
  else if (seq > own.seq) {
    own.view = view;
    own.seq = seq;
  }
}

/** Where spans are laid beside each other, one run after the other. */
let together: Buffer | undefined;

/** The bytes of a run, until those of the next are asked for. */
function bytesOf({ spans, bytes: length }: Run): Buffer {
  const [first] = spans;
  if (first !== undefined && spans.length === 1) return first.bytes.subarray(first.from, first.to);
  if (together === undefined || together.length < length)
    together = Buffer.allocUnsafeSlow(Math.max(length, RUN_BYTES_MAX));
  let at = 0;
  for (const { bytes, from, to } of spans) at += bytes.copy(together, at, from, to);
  return together.subarray(0, length);
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
