import { closeSync, existsSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { STREAMS, type TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import { describe, expect, test, vi } from "vitest";
import { holds } from "../../../test/kit/eventually.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { ackOf, drain, outboxOptions, realClock, ServerMemory } from "../../../test/kit/outbox.ts";
import { event, heavy, heavyRows, newFile, openAt, row, rows, telemetryOf } from "../../../test/kit/outbox-records.ts";
import { openOutbox } from "./outbox.io.ts";

describe("when the disk fails", () => {
  test("a full disk: the agent lives, the oldest make room within the file, and every seq is accounted for", async () => {
    const noticed = vi.fn();
    let db: Database.Database | undefined;
    const outbox = openAt(newFile(), { noticed, clock: realClock, commitMs: 10 }, (name) => {
      db = new Database(name);
      db.pragma("max_page_count = 200");
      return db;
    });
    let made = 0;
    for (let round = 0; round < 100; round++) {
      outbox.append({ rows: Array.from({ length: 50 }, () => heavy(made++)) });
      outbox.commit();
    }
    expect(noticed.mock.calls.map(([said]) => said.code)).toContain("OUTBOX_DISK_FULL");
    db?.pragma("max_page_count = 100000");
    await holds(() => expect(outbox.stats()).toMatchObject({ pending: 0 }), 20_000);
    expect(outbox.stats().problem).toBeUndefined();
    const server = new ServerMemory();
    for (const batch of drain(outbox)) server.take(batch);
    const telemetry = server.records(outbox.epoch, "telemetry");
    expect(telemetry).toHaveLength(made);
    const lost = telemetry.filter((record) => record === "gap").length;
    expect(lost).toBe(outbox.stats().evictedRecords);
    expect(telemetry.filter((record) => record !== "gap")).toEqual(heavyRows(lost, made - lost));
  });

  test("what waited while the disk was bad fits the budget when it is stored, log included; the oldest gave way, counted", async () => {
    let broken = false;
    let real: Database.Database | undefined;
    const file = newFile();
    const maxBytes = 1_048_576;
    const outbox = openAt(file, { maxBytes, commitMs: 10, clock: realClock }, (name) => {
      if (broken) throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR_READ" });
      real = new Database(name);
      return real;
    });
    broken = true;
    vi.spyOn(real as Database.Database, "transaction").mockImplementation(() => {
      throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR_WRITE" });
    });
    let made = 0;
    for (let round = 0; round < 60; round++) {
      outbox.append({ rows: Array.from({ length: 50 }, () => heavy(made++)) });
      outbox.commit();
    }
    broken = false;
    await holds(() => expect(outbox.stats()).toMatchObject({ pending: 0 }), 20_000);
    const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    expect(sizeOf(file) + sizeOf(`${file}-wal`)).toBeLessThanOrEqual(maxBytes);
    const server = new ServerMemory();
    for (const batch of drain(outbox)) server.take(batch);
    const telemetry = server.records(outbox.epoch, "telemetry");
    const lost = telemetry.filter((record) => record === "gap").length;
    expect(telemetry).toHaveLength(made);
    expect(lost).toBeGreaterThan(0);
    expect(lost).toBe(outbox.stats().evictedRecords);
    expect(telemetry.slice(lost)).toEqual(heavyRows(lost, made - lost));
  });

  test("a disk that cannot be read: records wait in memory, bounded, and go on when it works again", async () => {
    const noticed = vi.fn();
    let broken = false;
    let real: Database.Database | undefined;
    const outbox = openAt(newFile(), { noticed, commitMs: 10, clock: realClock }, (name) => {
      if (broken) throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR_READ" });
      real = new Database(name);
      return real;
    });
    outbox.append({ rows: rows(0, 10), cursor: { input: "a", value: 10 } });
    unwrap(outbox.commit());
    broken = true;
    vi.spyOn(real as Database.Database, "transaction").mockImplementation(() => {
      throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR_WRITE" });
    });
    outbox.append({ rows: rows(10, 5), cursor: { input: "a", value: 15 } });
    expect(outbox.commit()).toMatchObject({ ok: false, error: { code: "OUTBOX_DISK_FAILED" } });
    expect(outbox.stats()).toMatchObject({ phase: "shedding", pending: 5, problem: { code: "OUTBOX_DISK_FAILED" } });
    expect(outbox.nextChunks(1e6)).toEqual([]);
    for (let from = 15; from < 200_015; from += 1_000) outbox.append({ rows: rows(from, 1_000) });
    expect(outbox.stats().pending).toBeLessThan(100_000);
    broken = false;
    await holds(() => expect(outbox.stats().problem).toBeUndefined(), 10_000);
    expect(noticed.mock.calls.filter(([said]) => said.code === "OUTBOX_DISK_FAILED")).toHaveLength(1);
    expect(outbox.cursors()).toEqual({ a: 15 });
    const server = new ServerMemory();
    for (const batch of drain(outbox)) server.take(batch);
    const telemetry = server.records(outbox.epoch, "telemetry");
    expect(telemetry).toHaveLength(200_015);
    expect(telemetry.filter((record) => record === "gap")).toHaveLength(outbox.stats().evictedRecords);
    expect(telemetry.slice(0, 10)).toEqual(rows(0, 10));
    expect(telemetry.at(-1)).toEqual(row(200_014));
  });

  test("a commit that reports an error after it took effect is not stored twice", async () => {
    const real: Database.Database[] = [];
    const outbox = openAt(newFile(), { commitMs: 10, clock: realClock }, (name) => {
      const db = new Database(name);
      real.push(db);
      return db;
    });
    const db = real[0] as Database.Database;
    const transaction = db.transaction.bind(db);
    vi.spyOn(db, "transaction").mockImplementation(((work: () => unknown) => {
      const whole = transaction(work);
      const immediate = () => {
        whole.immediate();
        throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR_FSYNC" });
      };
      return Object.assign(immediate, { immediate });
    }) as never);
    outbox.append({ rows: rows(0, 4), events: [event("x")] });
    expect(outbox.commit()).toMatchObject({ ok: false });
    outbox.append({ rows: rows(4, 1) });
    await holds(() => expect(outbox.stats().problem).toBeUndefined(), 10_000);
    expect(real.length).toBeGreaterThan(1);
    const batches = drain(outbox);
    expect(batches.filter(({ stream }) => stream === "event")).toHaveLength(1);
    expect(batches.flatMap(({ stream, records }) => (stream === "telemetry" ? records : []))).toEqual(rows(0, 5));
  });

  test("a corrupt file is replaced under a new epoch; what can be read of it, cursors first, is saved", () => {
    const file = newFile();
    const noticed = vi.fn();
    const first = openAt(file);
    for (let index = 0; index < 40; index++) {
      first.append({ rows: heavyRows(index * 20, 20), cursor: { input: "a", value: index } });
      unwrap(first.commit());
    }
    drain(first);
    first.acked(ackOf(first.epoch, { telemetry: 200 }));
    unwrap(first.close());
    // A run of pages in the middle of the file goes bad.
    const descriptor = openSync(file, "r+");
    writeSync(descriptor, Buffer.alloc(4096 * 4, 0xa5), 0, 4096 * 4, Math.floor(statSync(file).size / 8192) * 4096);
    closeSync(descriptor);

    const second = openAt(file, { noticed });
    const server = new ServerMemory();
    for (const batch of [...drain(second), ...drain(second)]) server.take(batch);
    expect(noticed).toHaveBeenCalledWith(expect.objectContaining({ code: "OUTBOX_CORRUPT" }));
    expect(second.epoch).not.toBe(first.epoch);
    expect(second.cursors()).toEqual({ a: 39 });
    const saved = server.records(second.epoch, "telemetry") as (TelemetryRow | "gap")[];
    expect(saved).toHaveLength(600);
    const lost = saved.filter((record) => record === "gap").length;
    expect(lost).toBeGreaterThan(0);
    expect(lost).toBeLessThan(100);
    for (const [index, record] of saved.entries()) if (record !== "gap") expect(record).toEqual(heavy(200 + index));
    expect(existsSync(`${file}.corrupt`)).toBe(false);
  });

  test("a byte that changed in a row's own bytes, which SQLite cannot see, is never sent: its chunk becomes a gap", () => {
    const file = newFile();
    const noticed = vi.fn();
    const first = openAt(file);
    for (let index = 0; index < 10; index++) {
      first.append({ events: [event(`event ${index}`)] });
      unwrap(first.commit());
    }
    unwrap(first.close());
    const bytes = readFileSync(file);
    const at = bytes.indexOf("event 4");
    const descriptor = openSync(file, "r+");
    writeSync(descriptor, Buffer.from("7"), 0, 1, at + "event ".length);
    closeSync(descriptor);

    const second = openAt(file, { noticed });
    const server = new ServerMemory();
    // The first look finds it: the file is made anew, under an epoch that the link is told of.
    expect(drain(second)).toEqual([]);
    for (const batch of drain(second)) server.take(batch);
    expect(noticed).toHaveBeenCalledWith(expect.objectContaining({ code: "OUTBOX_CORRUPT" }));
    const said = server
      .records(second.epoch, "event")
      .map((one) => (one === "gap" ? one : (one as { text: string }).text));
    expect(said).toEqual(Array.from({ length: 10 }, (_, index) => (index === 4 ? "gap" : `event ${index}`)));
  });

  test("a file of the first format, without checksums, goes on as it is", () => {
    const file = newFile();
    const first = openAt(file);
    first.append({ rows: rows(0, 3) });
    unwrap(first.close());
    const db = new Database(file);
    for (const stream of STREAMS) db.exec(`ALTER TABLE body_${stream} DROP COLUMN crc`);
    db.exec("UPDATE meta SET value = '1' WHERE key = 'format'");
    db.close();
    const second = openAt(file);
    second.append({ rows: rows(3, 2) });
    unwrap(second.commit());
    expect(second.epoch).toBe(first.epoch);
    expect(telemetryOf(second)).toEqual(rows(0, 5));
  });

  test("a file that is no database at all is replaced, and the agent runs", () => {
    const file = newFile();
    const descriptor = openSync(file, "w");
    writeSync(descriptor, Buffer.alloc(20_000, "not a database "));
    closeSync(descriptor);
    const noticed = vi.fn();
    const outbox = openAt(file, { noticed });
    expect(noticed).toHaveBeenCalledWith(expect.objectContaining({ code: "OUTBOX_CORRUPT" }));
    outbox.append({ rows: rows(0, 1) });
    unwrap(outbox.commit());
    expect(telemetryOf(outbox)).toEqual(rows(0, 1));
    expect(existsSync(`${file}.corrupt`)).toBe(false);
  });

  test("a file of a later format is refused, not overwritten", () => {
    const file = newFile();
    unwrap(openAt(file).close());
    const db = new Database(file);
    db.prepare("UPDATE meta SET value = '3' WHERE key = 'format'").run();
    db.close();
    expect(openOutbox(file, outboxOptions())).toMatchObject({ ok: false, error: { code: "OUTBOX_FORMAT" } });
  });

  test("a folder that does not exist is said in a sentence", () => {
    const opened = openOutbox(join(temporaryFolder(), "missing", "outbox.sqlite"), outboxOptions());
    expect(opened).toMatchObject({ ok: false, error: { code: "OUTBOX_DISK_FAILED" } });
  });
});
