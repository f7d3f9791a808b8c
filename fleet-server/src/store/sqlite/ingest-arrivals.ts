import type { Database } from "better-sqlite3";
import type { MessageGroup, MessageSource } from "../ingest.ts";
import { statement } from "./command.ts";
import { IngestGroup } from "./ingest-group.ts";
import { pack, unpack } from "./packed.ts";

/** Messages of a group that may wait: fewer are not worth a second writing. */
const WAITING_MESSAGES_MIN = 64;
/**
 * Bytes that wait together: what is written once for all of them is most of what short messages cost, and the runs of a hundred
 * devices become long enough to be packed.
 */
const WAITING_BYTES_MAX = 4_194_304;
/** The longest that what is committed is not seen yet, where group follows group. */
const WAITING_MS_MAX = 200;

/**
 * Groups of many short messages, durable as they came: what they do to the rows of their streams stays in memory until
 * several can be written as one. A process that ends before finds them in their table and does it then. It lives as long
 * as its connection; what is in memory is always what the table holds, or it is made anew from there.
 */
export class Arrivals {
  readonly #db: Database;
  #open: IngestGroup;
  #memory: Buffer | undefined;
  #usedBytes = 0;
  #firstAtMs = 0;
  /** The newest row of the table, as far as this connection knows; ids are never given twice, so that an undone row is noticed. */
  #lastId: number | null = null;
  #nextId = 1;

  constructor(db: Database) {
    this.#db = db;
    this.#open = new IngestGroup(db);
  }

  /** What the messages of this moment are added to. */
  get open(): IngestGroup {
    return this.#open;
  }

  /** Whether anything waits in memory. */
  get areWaiting(): boolean {
    return this.#lastId !== null;
  }

  /** Whether nothing waits, and no memory is kept for it. */
  get isAtRest(): boolean {
    return !this.areWaiting && this.#memory === undefined;
  }

  /** Whether the table holds what is in memory: a transaction that was undone took its rows, or brought them back. */
  get agree(): boolean {
    const newest = statement(this.#db, "SELECT max(id) FROM arrivals").pluck().get() as number | null;
    if (newest !== null) this.#nextId = Math.max(this.#nextId, newest + 1);
    return newest === this.#lastId;
  }

  /** Forgets what is in memory; the table has it. */
  forget(): void {
    this.#open = new IngestGroup(this.#db);
    this.#usedBytes = 0;
    this.#lastId = null;
  }

  /**
   * Lays the bytes of a group where they stay until they are written; undefined for one that is written at once, with
   * whatever waits.
   */
  layDown({ ends, bytes, receivedAtMs }: MessageGroup): Buffer | undefined {
    if (ends.length < WAITING_MESSAGES_MIN || bytes.length > WAITING_BYTES_MAX - this.#usedBytes) return undefined;
    const atMs = receivedAtMs[0] as number;
    if (this.#lastId === null) this.#firstAtMs = atMs;
    // A clock that was set back makes nothing wait longer.
    if (Math.abs(atMs - this.#firstAtMs) > WAITING_MS_MAX) return undefined;
    this.#memory ??= Buffer.allocUnsafeSlow(WAITING_BYTES_MAX);
    this.#memory.set(bytes, this.#usedBytes);
    return this.#memory.subarray(this.#usedBytes, this.#usedBytes + bytes.length);
  }

  /** Makes a group that waits durable. */
  keep({ sources, sourceOf, ends, receivedAtMs }: MessageGroup, bytes: Buffer): void {
    const id = this.#nextId++;
    const packed = pack(bytes);
    statement(this.#db, "INSERT INTO arrivals VALUES (?, ?, ?, ?, ?, ?, ?)").run(
      id,
      JSON.stringify(sources),
      bytesOf(sourceOf),
      bytesOf(ends),
      bytesOf(receivedAtMs),
      packed.bytes,
      packed.unpackedBytes,
    );
    this.#open.detach();
    this.#lastId = id;
    this.#usedBytes += bytes.length;
  }

  /** Writes what waits into its place, the group of this moment included. */
  settle(): void {
    try {
      this.#open.flush();
      if (this.#lastId !== null) statement(this.#db, "DELETE FROM arrivals").run();
    } finally {
      this.forget();
    }
  }

  /** Gives the memory back that waiting took. */
  rest(): void {
    if (!this.areWaiting) this.#memory = undefined;
  }

  /** The groups of the table, oldest first, which are taken out of it. */
  takeStored(): MessageGroup[] {
    const rows = statement(this.#db, "SELECT * FROM arrivals ORDER BY id").all() as StoredGroup[];
    statement(this.#db, "DELETE FROM arrivals").run();
    return rows.map((row) => ({
      sources: JSON.parse(row.sources) as MessageSource[],
      sourceOf: new Uint32Array(copyOf(row.source_of)),
      ends: new Uint32Array(copyOf(row.ends)),
      receivedAtMs: new Float64Array(copyOf(row.received_at_ms)),
      bytes: new Uint8Array(copyOf(unpack({ bytes: row.bytes, unpackedBytes: row.unpacked_bytes }))),
      tape: { words: new Float64Array(0), texts: [] },
      tapeAt: new Int32Array(row.ends.length / Uint32Array.BYTES_PER_ELEMENT).fill(-1),
    }));
  }
}

interface StoredGroup {
  readonly sources: string;
  readonly source_of: Buffer;
  readonly ends: Buffer;
  readonly received_at_ms: Buffer;
  readonly bytes: Buffer;
  readonly unpacked_bytes: number | null;
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array | Float64Array): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
}

/** The bytes in memory of their own, from whose begin numbers of any width can be read. */
function copyOf({ buffer, byteOffset, byteLength }: Buffer): ArrayBuffer {
  return (buffer as ArrayBuffer).slice(byteOffset, byteOffset + byteLength);
}

const arrivals = new WeakMap<Database, Arrivals>();

/** What waits on a connection. */
export function arrivalsOf(db: Database): Arrivals {
  const own = arrivals.get(db) ?? new Arrivals(db);
  arrivals.set(db, own);
  return own;
}
