import { existsSync, renameSync, rmSync } from "node:fs";
import { type ClockReading, STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type Database from "better-sqlite3";
import { gapBody } from "./gap.ts";
import type { JsonValue } from "./outbox.ts";
import {
  CorruptOutbox,
  type FileOptions,
  isWhole,
  kindOf,
  OUTBOX_FORMAT,
  OutboxFile,
  type StoredBody,
} from "./outbox-file.io.ts";

/** How an error of SQLite is met. */
export type DiskTrouble = "corrupt" | "full" | "inUse" | "failed";

/** What kind of trouble an error is, or undefined when it is no error of the disk but of the program. */
export function troubleOf(cause: unknown): DiskTrouble | undefined {
  if (cause instanceof CorruptOutbox) return "corrupt";
  const code = (cause as { code?: unknown }).code;
  if (typeof code !== "string") return undefined;
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) return "corrupt";
  if (/^(SQLITE_FULL|ENOSPC|EDQUOT)/.test(code)) return "full";
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return "inUse";
  return /^(SQLITE_(IOERR|CANTOPEN|READONLY|NOMEM|PERM|AUTH|NOLFS)|EIO|EROFS|EACCES|ENOENT|EPERM)/.test(code)
    ? "failed"
    : undefined;
}

export interface OpenedFile {
  readonly file: OutboxFile;
  /** Set when the file before this one was corrupt. */
  readonly recovered?: { readonly reason: string; readonly records: number };
}

/** Where the outbox is, and how it is opened. */
export interface FilePlace extends FileOptions {
  readonly path: string;
  readonly clock: () => ClockReading;
}

/**
 * Opens the outbox file, makes it, or begins a new one when it is corrupt, taking in what can be read of the old one:
 * cursors, and chunks the server had not acknowledged. Throws what SQLite throws for want of a working disk.
 */
export function openFile(place: FilePlace): Result<OpenedFile> {
  const { path } = place;
  const aside = `${path}.corrupt`;
  if (existsSync(aside)) return resumeRecovery(place, aside);
  let file: OutboxFile | undefined;
  try {
    file = openAt(place);
    if (file.format !== OUTBOX_FORMAT) {
      const actual = file.format;
      file.close();
      return err("OUTBOX_FORMAT", { file: path, actual, expected: OUTBOX_FORMAT });
    }
    requireSense(file);
    return ok({ file });
  } catch (cause) {
    file?.close();
    if (troubleOf(cause) === "inUse") return err("OUTBOX_IN_USE", { file: path });
    if (troubleOf(cause) !== "corrupt") throw cause;
    setAside(path, aside);
    return ok(recover(place, aside, (cause as Error).message));
  }
}

/** Sets a file aside that turned out corrupt while in use (it is closed), and begins a new one from its remains. */
export function recoverFile(place: FilePlace, reason: string): OpenedFile {
  const aside = `${place.path}.corrupt`;
  setAside(place.path, aside);
  return recover(place, aside, reason);
}

// The power failed between setting the old file aside and deleting it: the new one either took everything in, or nothing.
function resumeRecovery(place: FilePlace, aside: string): Result<OpenedFile> {
  const { path } = place;
  let file: OutboxFile | undefined;
  try {
    file = openAt(place);
    if (file.salvaged) {
      remove(aside);
      return ok({ file });
    }
    file.close();
  } catch (cause) {
    file?.close();
    if (troubleOf(cause) === "inUse") return err("OUTBOX_IN_USE", { file: path });
    if (troubleOf(cause) !== "corrupt") throw cause;
  }
  remove(path);
  return ok(recover(place, aside, "recovery was interrupted"));
}

function requireSense(file: OutboxFile): void {
  try {
    file.cursors();
    for (const stream of STREAMS) {
      const { next, ackedTo, marks } = file.position(stream);
      if (!(next >= 1 && ackedTo >= 0 && ackedTo < next && Array.isArray(marks))) {
        throw new CorruptOutbox(`positions of ${stream}`);
      }
    }
  } catch (cause) {
    if (cause instanceof SyntaxError) throw new CorruptOutbox(cause.message);
    throw cause;
  }
  if (!/^[0-9a-f]{16}$/.test(file.epoch)) throw new CorruptOutbox("epoch");
}

function setAside(path: string, aside: string): void {
  remove(aside);
  renameSync(path, aside);
  // SQLite finds a log by its file's name; the log of the old file must not be played into the new one.
  if (existsSync(`${path}-wal`)) renameSync(`${path}-wal`, `${aside}-wal`);
  rmSync(`${path}-shm`, { force: true });
}

function remove(path: string): void {
  for (const part of ["", "-wal", "-shm", "-journal"]) rmSync(`${path}${part}`, { force: true });
}

function openAt(place: FilePlace): OutboxFile {
  return OutboxFile.open(place.path, place);
}

function recover(place: FilePlace, aside: string, reason: string): OpenedFile {
  const file = openAt(place);
  let records = 0;
  let old: Database.Database | undefined;
  try {
    old = place.openDatabase(aside);
    const source = old;
    file.transaction(() => {
      for (const [input, json] of readCursors(source)) file.saveCursor(input, json);
      for (const stream of STREAMS) records += salvageStream(source, file, stream, place.clock());
      file.markSalvaged();
    });
  } catch (cause) {
    // Nothing of the old file could be taken in: the new one stands without it.
    if (troubleOf(cause) === undefined) throw cause;
    records = 0;
    file.transaction(() => file.markSalvaged());
  } finally {
    old?.close();
  }
  remove(aside);
  return { file, recovered: { reason, records } };
}

function* readCursors(source: Database.Database): Generator<[string, JsonValue]> {
  for (const row of readable<{ input: string; json: string }>(source, "SELECT input, json FROM input_cursor")) {
    try {
      yield [row.input, JSON.parse(row.json) as JsonValue];
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause;
    }
  }
}

function salvageStream(source: Database.Database, file: OutboxFile, stream: Stream, clock: ClockReading): number {
  const [position] = readable<{ acked_to: number }>(source, "SELECT acked_to FROM position WHERE stream = ?", stream);
  const chunks = readable<{ count: number; body: number; gap: number }>(
    source,
    `SELECT to_seq - from_seq + 1 AS count, body, gap FROM chunk_${stream} WHERE to_seq > ? ORDER BY from_seq`,
    position?.acked_to ?? 0,
  );
  let next = 1;
  let records = 0;
  for (const { count, body, gap } of chunks) {
    // All of the row: a file of the first format has no checksum.
    const [stored] = readable<StoredBody>(source, `SELECT * FROM body_${stream} WHERE id = ?`, body);
    const found = stored !== undefined && isWhole(stored) ? stored : undefined;
    if (!(count >= 1)) continue;
    const range = { fromSeq: next, toSeq: next + count - 1 };
    next += count;
    const kind = kindOf(gap);
    if (found === undefined) file.insert(stream, range, gapBody("unreadable", true, clock), "gap");
    else file.insert(stream, range, found.bytes, kind, kind === "records");
    if (found !== undefined && kind === "records") records += count;
  }
  file.savePosition(stream, { next, ackedTo: 0, evicted: 0, marks: [] });
  return records;
}

/** The rows of a query until the first that cannot be read. */
function* readable<Row>(source: Database.Database, sql: string, ...values: (string | number)[]): Generator<Row> {
  try {
    for (const row of source.prepare<(string | number)[], Row>(sql).iterate(...values)) yield row;
  } catch (cause) {
    // SQLITE_ERROR: the table itself is gone.
    const gone = (cause as { code?: unknown }).code === "SQLITE_ERROR";
    if (!gone && troubleOf(cause) === undefined) throw cause;
  }
}
