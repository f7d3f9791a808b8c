import type { Database, Statement } from "better-sqlite3";

/** How arguments and answer travel between two threads where a clone of them costs too much. */
export interface Wire<A, R, PackedA = unknown, PackedR = unknown> {
  /** `transfer` is handed over, and gone on this side. */
  packArgs(args: A): { readonly packed: PackedA; readonly transfer: ArrayBuffer[] };
  unpackArgs(packed: PackedA): A;
  packAnswer(answer: R): PackedR;
  /** What of an answer is handed over and not copied. */
  handBack?(answer: R): ArrayBuffer[];
  unpackAnswer(args: A, packed: PackedR): R;
}

/** One command against SQLite. A write runs inside one transaction; a read on a read-only connection. */
export interface Command<A, R> {
  readonly mode: "read" | "write";
  run(db: Database, args: A): R;
  readonly wire?: Wire<A, R>;
}

/** The SQLite implementation of a room's command interface. */
export type Commands<I> = {
  readonly [K in keyof I]: I[K] extends (args: infer A) => Promise<infer R> ? Command<A, R> : never;
};

/** A command that only reads. */
export function read<A, R>(run: (db: Database, args: A) => R): Command<A, R> {
  return { mode: "read", run };
}

/** A command that reads a long list of plain JSON: as a text it crosses to another thread in half the time of a clone. */
export function readList<A, R>(run: (db: Database, args: A) => R): Command<A, R> {
  const wire: Wire<A, R, A, string> = {
    packArgs: (args) => ({ packed: args, transfer: [] }),
    unpackArgs: (packed) => packed,
    packAnswer: (answer) => JSON.stringify(answer),
    unpackAnswer: (_, packed) => JSON.parse(packed),
  };
  return { mode: "read", run, wire };
}

/** A command that writes; everything it does is one transaction, rolled back when it throws. */
export function write<A, R>(run: (db: Database, args: A) => R, wire?: Wire<A, R>): Command<A, R> {
  return { mode: "write", run, ...(wire ? { wire } : {}) };
}

const compiled = new WeakMap<Database, Map<string, Statement>>();

/**
 * The statement of a fixed text, compiled once per connection: where a command runs for every message, compiling costs
 * more than running. Its modes (`pluck`) stay with it, so one text has one mode.
 */
export function statement(db: Database, sql: string): Statement {
  const own = compiled.get(db) ?? new Map<string, Statement>();
  compiled.set(db, own);
  const found = own.get(sql) ?? db.prepare(sql);
  own.set(sql, found);
  return found;
}
