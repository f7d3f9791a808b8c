import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";
import type Database from "better-sqlite3";
import { type Ages, readAges } from "./age.ts";
import type { Candidate, SeqRange } from "./eviction.ts";
import type { Mark } from "./mark.ts";
import type { JsonValue } from "./outbox.ts";

/** Version of the tables below. */
export const OUTBOX_FORMAT = 2;

/** The file's pages can be read, and what they say makes no sense. */
export class CorruptOutbox extends Error {}

/** The bytes of a chunk as they lie in the file, with their CRC-32. */
export interface StoredBody {
  readonly bytes: Buffer;
  readonly crc?: number | null;
}

/** Opens SQLite on a file; tests put limits on what it opens. */
export type OpenDatabase = (file: string) => Database.Database;

/** How a file is opened: `walBytes` bounds the write-ahead log, `drawEpoch` names what is numbered in it. */
export interface FileOptions {
  readonly walBytes: number;
  readonly openDatabase: OpenDatabase;
  readonly drawEpoch: () => string;
}

/**
 * records: their batch. gap: its body is a GapBody, and it is encoded when it is sent. downsampled: a gap as well, whose body
 * is the batch that tells of it, with the figures that are left.
 */
export const CHUNK_KINDS = ["records", "gap", "downsampled"] as const;
export type ChunkKind = (typeof CHUNK_KINDS)[number];

/** A held chunk, without its bytes. */
export interface HeldChunk extends SeqRange {
  readonly size: number;
  readonly kind: ChunkKind;
  /** Numbered or named anew since it was encoded: encoded again before it is sent. */
  readonly stale: boolean;
}

/** What the file remembers of one stream. */
export interface StreamPosition {
  readonly next: number;
  readonly ackedTo: number;
  /** Records that gave way since the file was made. */
  readonly evicted: number;
  readonly marks: readonly Mark[];
}

interface StreamStatements {
  readonly insertBody: Database.Statement<[Uint8Array, number]>;
  readonly insertChunk: Database.Statement<[number, number, number | bigint, number, number, number]>;
  readonly from: Database.Statement<[number, number], ChunkRow>;
  readonly body: Database.Statement<[number], StoredBody>;
  readonly gapBefore: Database.Statement<[number], SeqRangeRow>;
  readonly within: Database.Statement<[number, number, number, number], CandidateRow>;
  readonly unsent: Database.Statement<[number, number], CandidateRow>;
  readonly records: Database.Statement<[number, number], CandidateRow>;
  readonly recordBytes: Database.Statement<[], { bytes: number | null }>;
  readonly firstHeld: Database.Statement<[], { fromSeq: number | null }>;
  readonly holes: Database.Statement<[{ after: number; next: number }], SeqRangeRow>;
  readonly deleteBodies: Database.Statement<[number, number]>;
  readonly deleteChunks: Database.Statement<[number, number]>;
  readonly replaceBody: Database.Statement<[Uint8Array, number, number]>;
  readonly replaceChunk: Database.Statement<[number, number]>;
  readonly renumber: Database.Statement<[number, number, number]>;
}
interface SeqRangeRow {
  fromSeq: number;
  toSeq: number;
}
interface ChunkRow extends SeqRangeRow {
  size: number;
  gap: number;
  stale: number;
}
interface CandidateRow extends SeqRangeRow {
  size: number;
}

// Bodies stand apart from what is known of them, so that a new epoch renumbers small rows only; and each stream has its
// own tables, so that what gives way together lies together and frees whole pages.
const SCHEMA = `
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS input_cursor (input TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS position (
  stream TEXT PRIMARY KEY, next INTEGER NOT NULL, acked_to INTEGER NOT NULL, evicted INTEGER NOT NULL,
  marks TEXT NOT NULL
) STRICT, WITHOUT ROWID;
${STREAMS.map(
  (stream) => `
CREATE TABLE IF NOT EXISTS body_${stream} (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL, crc INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS chunk_${stream} (
  from_seq INTEGER PRIMARY KEY, to_seq INTEGER NOT NULL, body INTEGER NOT NULL, size INTEGER NOT NULL,
  gap INTEGER NOT NULL, stale INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS gap_${stream} ON chunk_${stream} (to_seq) WHERE gap = 1;`,
).join("")}
`;

/** The outbox's SQLite file. Every method may throw an error of SQLite; the outbox decides what that means. */
export class OutboxFile {
  readonly #db: Database.Database;
  readonly #drawEpoch: () => string;
  readonly #pageBytes: number;
  readonly #streams: Readonly<Record<Stream, StreamStatements>>;
  readonly #savePosition: Database.Statement<[string, number, number, number, string]>;
  readonly #saveCursor: Database.Statement<[string, string]>;
  readonly #saveMeta: Database.Statement<[string, string]>;
  readonly #meta: Database.Statement<[string], { value: string }>;
  readonly #pages: Database.Statement<[], unknown>;
  readonly #freePages: Database.Statement<[], unknown>;

  private constructor(db: Database.Database, drawEpoch: () => string) {
    this.#db = db;
    this.#drawEpoch = drawEpoch;
    this.#pageBytes = pragma(db, "page_size");
    this.#streams = Object.fromEntries(STREAMS.map((stream) => [stream, statementsOf(db, stream)])) as Record<
      Stream,
      StreamStatements
    >;
    this.#savePosition = db.prepare("INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?, ?)");
    this.#saveCursor = db.prepare("INSERT OR REPLACE INTO input_cursor VALUES (?, ?)");
    this.#saveMeta = db.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)");
    this.#meta = db.prepare("SELECT value FROM meta WHERE key = ?");
    // Asked several times a commit: compiling them anew takes longer than the rest of it.
    this.#pages = db.prepare("PRAGMA page_count").pluck();
    this.#freePages = db.prepare("PRAGMA freelist_count").pluck();
  }

  /** Opens the file, or makes it with a fresh epoch. */
  static open(file: string, { walBytes, openDatabase, drawEpoch }: FileOptions): OutboxFile {
    const db = openDatabase(file);
    try {
      // One process per outbox: the second one is told, instead of sending the same seq twice.
      db.pragma("locking_mode = EXCLUSIVE");
      db.pragma("journal_mode = WAL");
      // WAL's default is NORMAL, which loses what was reported durable when the power fails.
      db.pragma("synchronous = FULL");
      db.pragma(`wal_autocheckpoint = ${Math.max(16, Math.floor(walBytes / 2 / pragma(db, "page_size")))}`);
      db.pragma(`journal_size_limit = ${walBytes}`);
      db.transaction(() => {
        db.exec(SCHEMA);
        const insert = db.prepare("INSERT OR IGNORE INTO meta VALUES (?, ?)");
        insert.run("format", String(OUTBOX_FORMAT));
        insert.run("epoch", drawEpoch());
        insert.run("commits", "0");
        addChecksums(db);
      })();
      return new OutboxFile(db, drawEpoch);
    } catch (cause) {
      db.close();
      throw cause;
    }
  }

  close(): void {
    this.#db.close();
  }

  /** Runs `work` in one durable transaction: all of it or nothing. */
  transaction<T>(work: () => T): T {
    return this.#db.transaction(work).immediate();
  }

  /** Empties the write-ahead log into the file, so that its room can be used again. */
  checkpoint(): void {
    this.#db.pragma("wal_checkpoint(RESTART)");
  }

  get format(): number {
    return Number(this.#meta.get("format")?.value);
  }

  get epoch(): string {
    return this.#meta.get("epoch")?.value as string;
  }

  /** Draws and stores a new epoch. */
  drawEpoch(): string {
    const epoch = this.#drawEpoch();
    this.#saveMeta.run("epoch", epoch);
    return epoch;
  }

  /** How many commits of records this file has seen: tells whether a commit that failed took effect after all. */
  get commits(): number {
    return Number(this.#meta.get("commits")?.value);
  }

  set commits(count: number) {
    this.#saveMeta.run("commits", String(count));
  }

  /** Whether what could be saved of a corrupt predecessor has been taken in. */
  get salvaged(): boolean {
    return this.#meta.get("salvaged") !== undefined;
  }

  markSalvaged(): void {
    this.#saveMeta.run("salvaged", "1");
  }

  /** How old what is held is; undefined in a new file. */
  get ages(): Ages | undefined {
    return readAges(this.#meta.get("ages")?.value);
  }

  set ages(ages: Ages) {
    this.#saveMeta.run("ages", JSON.stringify(ages));
  }

  cursors(): Record<string, JsonValue> {
    const rows = this.#db.prepare<[], { input: string; json: string }>("SELECT input, json FROM input_cursor").all();
    return Object.fromEntries(rows.map(({ input, json }) => [input, JSON.parse(json) as JsonValue]));
  }

  saveCursor(input: string, value: JsonValue): void {
    this.#saveCursor.run(input, JSON.stringify(value));
  }

  position(stream: Stream): StreamPosition {
    const row = this.#db
      .prepare<[string], { next: number; acked_to: number; evicted: number; marks: string }>(
        "SELECT next, acked_to, evicted, marks FROM position WHERE stream = ?",
      )
      .get(stream);
    if (row === undefined) return { next: 1, ackedTo: 0, evicted: 0, marks: [] };
    return {
      next: row.next,
      ackedTo: row.acked_to,
      evicted: row.evicted,
      marks: JSON.parse(row.marks) as Mark[],
    };
  }

  savePosition(stream: Stream, { next, ackedTo, evicted, marks }: StreamPosition): void {
    this.#savePosition.run(stream, next, ackedTo, evicted, JSON.stringify(marks));
  }

  insert(stream: Stream, range: SeqRange, bytes: Uint8Array, kind: ChunkKind, stale = false): void {
    const sql = this.#streams[stream];
    const { lastInsertRowid } = sql.insertBody.run(bytes, crc32(bytes));
    const place = CHUNK_KINDS.indexOf(kind);
    sql.insertChunk.run(range.fromSeq, range.toSeq, lastInsertRowid, bytes.length, place, stale ? 1 : 0);
  }

  /** Chunks that reach beyond `afterSeq`, oldest first; the first of them may begin before it. */
  heldAfter(stream: Stream, afterSeq: number, limit: number): HeldChunk[] {
    const rows = this.#streams[stream].from.all(afterSeq + 1, limit + 1);
    return rows
      .filter(({ toSeq }) => toSeq > afterSeq)
      .slice(0, limit)
      .map(({ gap, stale, ...row }) => ({ ...row, kind: kindOf(gap), stale: stale === 1 }));
  }

  body(stream: Stream, fromSeq: number): Uint8Array {
    const row = this.#streams[stream].body.get(fromSeq);
    if (row === undefined) throw new Error(`no body of ${stream} ${fromSeq}`);
    if (!isWhole(row)) throw new CorruptOutbox(`${stream} ${fromSeq} is not what was written`);
    return row.bytes;
  }

  /** Puts newly encoded bytes in the place of a chunk's old ones. */
  reencoded(stream: Stream, fromSeq: number, bytes: Uint8Array): void {
    this.#streams[stream].replaceBody.run(bytes, crc32(bytes), fromSeq);
    this.#streams[stream].replaceChunk.run(bytes.length, fromSeq);
  }

  /** The gap that ends just before a seq, if there is one. */
  gapEndingAt(stream: Stream, toSeq: number): SeqRange | undefined {
    return this.#streams[stream].gapBefore.get(toSeq);
  }

  /** Deletes the chunks that begin within a range. */
  remove(stream: Stream, { fromSeq, toSeq }: SeqRange): void {
    this.#streams[stream].deleteBodies.run(fromSeq, toSeq);
    this.#streams[stream].deleteChunks.run(fromSeq, toSeq);
  }

  /** The oldest chunks that lie wholly within a range that is acknowledged. */
  ackedCandidates(stream: Stream, { fromSeq, toSeq }: SeqRange, limit: number): Candidate[] {
    return this.#streams[stream].within.all(fromSeq, toSeq, toSeq, limit).map((row) => candidateOf(row, true));
  }

  /** The oldest chunks beyond a seq that hold records. */
  recordsAfter(stream: Stream, afterSeq: number, limit: number): Candidate[] {
    return this.#streams[stream].records.all(afterSeq, limit).map((row) => candidateOf(row, false));
  }

  /** Bytes of all chunks that hold records. */
  recordBytes(stream: Stream): number {
    return this.#streams[stream].recordBytes.get()?.bytes ?? 0;
  }

  /** The oldest chunks beyond a seq that hold records, or figures of them. */
  unsentCandidates(stream: Stream, sentTo: number, limit: number): Candidate[] {
    return this.#streams[stream].unsent.all(sentTo, limit).map((row) => candidateOf(row, false));
  }

  /** What lies after a seq and before the next to be given, and in no chunk. */
  holes(stream: Stream, after: number, next: number): SeqRange[] {
    return this.#streams[stream].holes.all({ after, next });
  }

  firstHeld(stream: Stream): number | undefined {
    return this.#streams[stream].firstHeld.get()?.fromSeq ?? undefined;
  }

  /**
   * Numbers all chunks anew from 1 without holes and marks them stale. New numbers are never above the old ones, so that
   * in ascending order no two meet. Answers the next seq, and what became of `places` (ascending): for each the new
   * number of the last record up to there, 0 where there is none.
   */
  renumber(stream: Stream, places: readonly number[]): { readonly next: number; readonly places: readonly number[] } {
    let next = 1;
    const moved: number[] = [];
    for (let after = 0; ; ) {
      const rows = this.#streams[stream].from.all(after + 1, 1_000).filter(({ fromSeq }) => fromSeq > after);
      if (rows.length === 0) return { next, places: places.map((_, at) => moved[at] ?? next - 1) };
      for (const { fromSeq, toSeq } of rows) {
        const count = toSeq - fromSeq + 1;
        for (let place = places[moved.length]; place !== undefined && place <= toSeq; place = places[moved.length]) {
          moved.push(next + Math.max(-1, place - fromSeq));
        }
        this.#streams[stream].renumber.run(next, next + count - 1, fromSeq);
        next += count;
        after = fromSeq;
      }
    }
  }

  /** Bytes of the file's pages that hold something. */
  usedBytes(): number {
    return ((this.#pages.get() as number) - (this.#freePages.get() as number)) * this.#pageBytes;
  }
}

function pragma(db: Database.Database, name: string): number {
  return Number(db.pragma(name, { simple: true }));
}

/** What a number in the file means; one that nobody wrote holds what is worth trying to read. */
export function kindOf(place: number): ChunkKind {
  return CHUNK_KINDS[place] ?? "records";
}

function candidateOf({ fromSeq, toSeq, size }: CandidateRow, acked: boolean): Candidate {
  return { fromSeq, toSeq, bytes: size, acked };
}

function statementsOf(db: Database.Database, stream: Stream): StreamStatements {
  const [chunk, body] = [`chunk_${stream}`, `body_${stream}`];
  const range = "from_seq AS fromSeq, to_seq AS toSeq";
  return {
    insertBody: db.prepare(`INSERT INTO ${body} (bytes, crc) VALUES (?, ?)`),
    insertChunk: db.prepare(`INSERT INTO ${chunk} VALUES (?, ?, ?, ?, ?, ?)`),
    from: db.prepare(
      `SELECT ${range}, size, gap, stale FROM ${chunk} WHERE from_seq >= coalesce(
         (SELECT from_seq FROM ${chunk} WHERE from_seq <= ? ORDER BY from_seq DESC LIMIT 1), 0)
       ORDER BY from_seq LIMIT ?`,
    ),
    body: db.prepare(`SELECT bytes, crc FROM ${body} WHERE id = (SELECT body FROM ${chunk} WHERE from_seq = ?)`),
    gapBefore: db.prepare(`SELECT ${range} FROM ${chunk} WHERE gap = 1 AND to_seq = ?`),
    within: db.prepare(
      `SELECT ${range}, size FROM ${chunk} WHERE from_seq BETWEEN ? AND ? AND to_seq <= ? ORDER BY from_seq LIMIT ?`,
    ),
    unsent: db.prepare(`SELECT ${range}, size FROM ${chunk} WHERE from_seq > ? AND gap <> 1 ORDER BY from_seq LIMIT ?`),
    records: db.prepare(`SELECT ${range}, size FROM ${chunk} WHERE from_seq > ? AND gap = 0 ORDER BY from_seq LIMIT ?`),
    recordBytes: db.prepare(`SELECT sum(size) AS bytes FROM ${chunk} WHERE gap = 0`),
    firstHeld: db.prepare(`SELECT min(from_seq) AS fromSeq FROM ${chunk}`),
    holes: db.prepare(
      `SELECT before + 1 AS fromSeq, from_seq - 1 AS toSeq FROM (
         SELECT from_seq, max(lag(to_seq, 1, @after) OVER (ORDER BY from_seq), @after) AS before FROM (
           SELECT from_seq, to_seq FROM ${chunk} WHERE from_seq >= coalesce(
             (SELECT max(from_seq) FROM ${chunk} WHERE from_seq <= @after), 0)
           UNION ALL SELECT @next, @next))
       WHERE from_seq > before + 1`,
    ),
    deleteBodies: db.prepare(
      `DELETE FROM ${body} WHERE id IN (SELECT body FROM ${chunk} WHERE from_seq BETWEEN ? AND ?)`,
    ),
    deleteChunks: db.prepare(`DELETE FROM ${chunk} WHERE from_seq BETWEEN ? AND ?`),
    replaceBody: db.prepare(
      `UPDATE ${body} SET bytes = ?, crc = ? WHERE id = (SELECT body FROM ${chunk} WHERE from_seq = ?)`,
    ),
    replaceChunk: db.prepare(`UPDATE ${chunk} SET size = ?, stale = 0 WHERE from_seq = ?`),
    renumber: db.prepare(`UPDATE ${chunk} SET from_seq = ?, to_seq = ?, stale = (gap = 0) WHERE from_seq = ?`),
  };
}

/** Format 1 had no checksums: what it holds goes on without. */
function addChecksums(db: Database.Database): void {
  if (db.prepare("SELECT value FROM meta WHERE key = 'format'").pluck().get() !== "1") return;
  for (const stream of STREAMS) db.exec(`ALTER TABLE body_${stream} ADD COLUMN crc INTEGER`);
  db.prepare("UPDATE meta SET value = ? WHERE key = 'format'").run(String(OUTBOX_FORMAT));
}

/** Whether a body is as it was written: SQLite notices no byte of a value that another stands for. */
export function isWhole({ bytes, crc }: StoredBody): boolean {
  return crc === null || crc === undefined || crc32(bytes) === crc;
}

/** An epoch of this machine's own chance. */
export function randomEpoch(): string {
  return randomBytes(8).toString("hex");
}
