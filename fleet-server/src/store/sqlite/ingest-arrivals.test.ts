import { join } from "node:path";
import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { Stream, StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import Database from "better-sqlite3";
import fc from "fast-check";
import { expect, test } from "vitest";
import { eventually } from "../../../../test/kit/eventually.ts";
import { temporaryFolder } from "../../../../test/kit/folder.ts";
import { endedOf } from "../../../../test/kit/ingest.ts";
import { temporaryStore } from "../../../../test/kit/store.ts";
import { groupOf } from "../../ingest/message-group.ts";
import type { IncomingBatch } from "../ingest.ts";
import { driftMigrations } from "./drift.ts";
import { ingest, ingestMigrations, settleArrivals } from "./ingest.ts";
import { arrivalsOf } from "./ingest-arrivals.ts";

const EPOCH = "00000000000000aa";
const DEVICES = ["gw-1", "gw-2", "gw-3"];
const clock = { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: true };

function message(device: string, stream: Stream, fromSeq: number, records: readonly unknown[]): IncomingBatch {
  const batch = { v: 1, epoch: EPOCH, stream, fromSeq, records, hist: false, clock } as StreamBatch;
  return { device, site: "s", stream, bytes: encodeBatch(batch), receivedAtMs: 5_000 };
}

const row = (device: string, n: number, value = n / 8) => ({
  asset: `${device}-pump-${n % 2}`,
  observedAtMs: n * 1_000,
  values: { vib: value },
});
const telemetry = (device: string, seq: number) => message(device, "telemetry", seq, [row(device, seq)]);
const event = { atMs: 1, kind: "device", severity: "info", code: "X", text: "x" };

function commit(db: Database.Database, batches: readonly IncomingBatch[]) {
  const group = groupOf(batches);
  return db.transaction(() => endedOf(group.sourceOf, ingest.commit.run(db, { group, withRecords: false })))();
}

/** All that a store says of what it was sent. */
function told(db: Database.Database) {
  db.transaction(() => settleArrivals(db))();
  const all = (sql: string) => db.prepare(sql).all();
  return {
    rows: ingest.rows.run(db, { batches: 10_000 }).rows,
    latest: ingest.latest.run(db, {}),
    positions: all("SELECT * FROM stream_positions ORDER BY device, stream"),
    gaps: all("SELECT * FROM gaps ORDER BY device, stream, from_seq"),
    events: all("SELECT device, seq, body FROM events ORDER BY device, seq"),
    letters: all("SELECT device, stream, code, bytes FROM dead_letters ORDER BY id"),
    arrivals: all("SELECT id FROM arrivals"),
  };
}

const migrate = (db: Database.Database) => {
  for (const sql of [...ingestMigrations, ...driftMigrations]) db.exec(sql);
};

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("many" as const), count: fc.integer({ min: 60, max: 140 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("long" as const), count: fc.integer({ min: 60, max: 90 }) }) },
  ...(["few", "again", "hole", "event", "noise", "contradiction", "crash", "undone", "asked"] as const).map((kind) => ({
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant(kind), count: fc.integer({ min: 60, max: 90 }) }),
  })),
);

test("what waits is stored as if each message had been written at once, whatever comes between, is undone or ends the process", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 2, maxLength: 12 }), (steps) => {
      const file = join(temporaryFolder(), "waiting.sqlite");
      const open = () => {
        const opened = new Database(file);
        // The process ends here, never the machine: nothing has to reach the disk.
        opened.pragma("synchronous = OFF");
        return opened;
      };
      let db = open();
      const model = new Database(":memory:");
      migrate(db);
      migrate(model);
      const next = new Map(DEVICES.map((device) => [device, 1]));
      const seqOf = (device: string) => next.get(device) as number;
      const many = (count: number, among = DEVICES) =>
        Array.from({ length: count }, (_, n) => {
          const device = among[n % among.length] as string;
          const seq = seqOf(device);
          next.set(device, seq + 1);
          return telemetry(device, seq);
        });
      for (const [index, { kind, count }] of steps.entries()) {
        const before = new Map(next);
        // More bytes of one device than may lie in one row.
        const batches = kind === "long" ? many(5 * count, ["gw-1"]) : many(kind === "few" ? 3 : count);
        const [device, last] = ["gw-2", seqOf("gw-2") - 1] as const;
        if (kind === "again") batches.push(telemetry(device, last));
        if (kind === "hole") batches.push(telemetry(device, last + 5));
        if (kind === "event") batches.push(message(device, "event", index + 1, [event]));
        if (kind === "noise") batches.push({ ...telemetry(device, last), bytes: Buffer.from(`noise ${index}`) });
        if (kind === "contradiction") batches.push(message(device, "telemetry", last, [row(device, last, -1)]));
        if (kind === "undone") {
          const undone = db.transaction(() => {
            commit(db, batches);
            if (count % 2 === 0) settleArrivals(db);
            throw new Error("undone");
          });
          expect(undone).toThrow("undone");
          for (const [name, seq] of before) next.set(name, seq);
          continue;
        }
        const expected = batches.map((one) => commit(model, [one])[0]?.outcome);
        expect(commit(db, batches).map(({ outcome }) => outcome)).toEqual(expected);
        if (kind === "hole") next.set(device, last + 6);
        if (kind === "crash") {
          db.close();
          db = open();
        }
        if (kind === "asked") db.transaction(() => settleArrivals(db))();
      }
      expect(told(db)).toEqual({ ...told(model), arrivals: [] });
      db.close();
    }),
    { numRuns: 25 },
  );
});

test("groups of many messages wait, durable, until there is enough to write or something else comes", () => {
  const db = new Database(":memory:");
  migrate(db);
  const group = (from: number) => Array.from({ length: 100 }, (_, n) => telemetry("gw-1", from + n));
  const stored = () => db.prepare("SELECT count(*) FROM telemetry_batches").pluck().get();
  const waiting = () => db.prepare("SELECT count(*) FROM arrivals").pluck().get();
  commit(db, group(1));
  commit(db, group(101));
  expect([stored(), waiting(), arrivalsOf(db).areWaiting]).toEqual([0, 2, true]);
  commit(db, [telemetry("gw-1", 201)]);
  // All of them follow each other: one row, of the bytes of two hundred and one messages.
  expect([stored(), waiting(), arrivalsOf(db).areWaiting]).toEqual([1, 0, false]);
  const { unpacked_bytes: unpacked, length } = db
    .prepare("SELECT unpacked_bytes, length(bytes) AS length FROM telemetry_batches")
    .get() as Record<string, number>;
  expect(unpacked).toBeGreaterThan(201 * 150);
  expect(length).toBeLessThan((unpacked as number) / 4);
  expect(ingest.rows.run(db, { batches: 10 }).rows.map(({ seq }) => seq)).toEqual(
    Array.from({ length: 201 }, (_, n) => n + 1),
  );
});

test("a group whose transaction was undone is noticed, and taken when it comes again", () => {
  const db = new Database(":memory:");
  migrate(db);
  const group = (from: number) => Array.from({ length: 100 }, (_, n) => telemetry("gw-1", from + n));
  commit(db, group(1));
  const undone = db.transaction(() => {
    commit(db, group(101));
    throw new Error("undone");
  });
  expect(undone).toThrow("undone");
  expect(new Set(commit(db, group(101)).map(({ outcome }) => outcome))).toEqual(new Set(["committed"]));
  db.transaction(() => settleArrivals(db))();
  expect(ingest.rows.run(db, { batches: 10 }).rows.map(({ seq }) => seq)).toEqual(
    Array.from({ length: 200 }, (_, n) => n + 1),
  );
});

test("rows that grew to their limit while their messages waited are there once after the process ended", () => {
  const file = join(temporaryFolder(), "waiting.sqlite");
  const db = new Database(file);
  db.pragma("synchronous = OFF");
  migrate(db);
  // Some 18 KB each: the fourth makes more of one device than may lie in one row, the fifth waits at the end.
  for (const from of [1, 101, 201, 301, 401]) {
    commit(
      db,
      Array.from({ length: 100 }, (_, n) => telemetry("gw-1", from + n)),
    );
  }
  db.close();
  const { rows, letters, gaps } = told(new Database(file));
  expect(rows.map(({ seq }) => seq)).toEqual(Array.from({ length: 500 }, (_, n) => n + 1));
  expect([letters, gaps]).toEqual([[], []]);
});

test("what waits on a store's thread is seen by whoever writes next, and soon by whoever reads", async () => {
  const store = await temporaryStore();
  const group = (from: number) => groupOf(Array.from({ length: 100 }, (_, n) => telemetry("gw-1", from + n)));
  const committing = [1, 101].map((from) => store.ingest.commit({ group: group(from), withRecords: false }));
  const opened = store.ingest.openSession({
    device: "gw-1",
    epoch: EPOCH,
    streams: [{ stream: "telemetry", firstHeld: 1, next: 201 }],
    nowMs: 6_000,
  });
  await Promise.all(committing);
  expect((await opened).acks.telemetry).toEqual({ epoch: EPOCH, upTo: 200, also: [] });
  await store.ingest.commit({ group: group(201), withRecords: false });
  const rows = async () => (await store.ingest.rows({ batches: 1_000 })).rows.length;
  await eventually("the rows", async () => (await rows()) === 300);
});
