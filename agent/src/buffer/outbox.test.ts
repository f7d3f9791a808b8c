import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { STREAMS, type StreamBatch, type TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import fc from "fast-check";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { holds } from "../../../test/kit/eventually.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { ackOf, drain, outboxOptions, read, realClock, ServerMemory, testClock } from "../../../test/kit/outbox.ts";
import { memoryFolder } from "../../../test/sim/disk.ts";
import { openOutbox } from "./outbox.io.ts";
import type { Outbox, OutboxChunk, OutboxOptions } from "./outbox.ts";

const digest = `sha256:${"ab".repeat(32)}`;
// A row a minute: figures of a minute would take no less room (downsample.test.ts has those that do).
const row = (index: number, asset = "pump-1"): TelemetryRow => ({
  asset,
  observedAtMs: 60_000 * index,
  values: { vib: index * 0.5, free: Math.sin(index) },
});
const rows = (from: number, count: number) => Array.from({ length: count }, (_, index) => row(from + index));
const event = (text: string) =>
  ({ atMs: 1, kind: "device", severity: "info", code: "TEST", text }) as const satisfies object;
const inference = (index: number) => ({
  asset: "pump-1",
  observedAtMs: index,
  model: "rul",
  version: 1,
  digest,
  value: index,
});

// Rows that do not compress, so that they fill a disk.
const heavy = (index: number): TelemetryRow => ({
  asset: "pump-1",
  observedAtMs: 60_000 * index,
  values: Object.fromEntries(Array.from({ length: 60 }, (_, at) => [`c${at}`, Math.sin(index * 61 + at) * 1e6])),
});
const heavyRows = (from: number, count: number) => Array.from({ length: count }, (_, index) => heavy(from + index));

function openAt(file: string, change: Partial<OutboxOptions> = {}, ...more: [((name: string) => Database.Database)?]) {
  const outbox = unwrap(openOutbox(file, outboxOptions(change), ...more));
  onTestFinished(() => void outbox.close());
  return outbox;
}
const newFile = () => join(temporaryFolder(), "outbox.sqlite");
const telemetryOf = (outbox: Outbox) =>
  drain(outbox).flatMap((batch) => (batch.stream === "telemetry" ? (batch.records as TelemetryRow[]) : []));

describe("messages", () => {
  /** Rows committed four times a second and sent, as a link with nothing else to do sends them. */
  function sent(
    seconds: number,
    joinMs: number,
  ): { readonly batches: readonly StreamBatch[]; readonly held: number[] } {
    const clock = testClock();
    const held: number[] = [];
    const after = (delayMs: number) => {
      held.push(delayMs);
      return () => undefined;
    };
    const outbox = openAt(newFile(), { clock, joinMs, commitMs: 250, time: { after } });
    outbox.setOnline(true);
    outbox.open();
    const batches: StreamBatch[] = [];
    for (let index = 0; index < seconds * 4; index++) {
      outbox.append({ rows: rows(index * 5, 5), inference: [inference(index)] });
      unwrap(outbox.commit());
      batches.push(...outbox.nextChunks(1e6).map(read));
      clock.advance(250);
    }
    return { batches, held };
  }

  test("a little telemetry waits for more, counted from the message before; predictions never wait", () => {
    const { batches, held } = sent(6, 2_000);
    const telemetry = batches.filter(({ stream }) => stream === "telemetry");
    expect(telemetry.map(({ records }) => records.length)).toEqual([5, 40, 40]);
    expect(telemetry.flatMap(({ records }) => records)).toEqual(rows(0, 85));
    expect(telemetry.map(({ fromSeq }) => fromSeq)).toEqual([1, 6, 46]);
    expect(batches.filter(({ stream }) => stream === "inference")).toHaveLength(24);
    // Should nothing come any more, what is left is offered all the same.
    expect(held).toContain(1_750);
    expect(sent(1, 0).batches.filter(({ stream }) => stream === "telemetry")).toHaveLength(4);
  });

  test("what waited long, or is much, is not held back, and short chunks go in one", () => {
    const outbox = openAt(newFile(), { joinMs: 60_000 });
    outbox.open();
    for (let index = 0; index < 20; index++) {
      outbox.append({ rows: rows(index, 1) });
      unwrap(outbox.commit());
    }
    expect(outbox.nextChunks(1e6).map(read)).toMatchObject([{ fromSeq: 1, records: rows(0, 20) }]);
    outbox.append({ rows: heavyRows(0, 40) });
    unwrap(outbox.commit());
    expect(outbox.nextChunks(1e6).map(read)).toMatchObject([{ fromSeq: 21, records: heavyRows(0, 40) }]);
  });

  test("what was taken while nobody listened is not mixed with what came after, and gaps stay gaps", () => {
    const outbox = openAt(newFile());
    for (const online of [false, false, true, true]) {
      outbox.setOnline(online);
      outbox.append({ rows: rows(0, 3) });
      unwrap(outbox.commit());
    }
    // Live records leave first; the order of seq is the server's to keep.
    const batches = outbox
      .nextChunks(1e6)
      .map(read)
      .sort((a, b) => a.fromSeq - b.fromSeq);
    expect(batches.map(({ hist }) => hist)).toEqual(expect.arrayContaining([true, false]));
    expect(batches.flatMap(({ records, hist }) => records.map(() => hist))).toEqual([
      ...Array(6).fill(true),
      ...Array(6).fill(false),
    ]);
  });
});

describe("the age limit", () => {
  const limited = (file: string, clock: OutboxOptions["clock"]) => openAt(file, { maxAgeMs: 100_000, clock });
  const commitOne = (outbox: Outbox, index: number) => {
    outbox.append({ rows: rows(index, 1) });
    unwrap(outbox.commit());
  };

  test("what was held for too long gives way to a counted gap, nothing younger does", () => {
    const clock = testClock();
    const outbox = limited(newFile(), clock);
    for (let index = 0; index < 60; index++) {
      commitOne(outbox, index);
      clock.advance(5_000);
    }
    const [gap, ...kept] = drain(outbox);
    const { evictedRecords } = outbox.stats();
    // The last commit found those of 100 s before and older: marks stand less than five seconds apart.
    expect(evictedRecords).toBe(40);
    expect(gap).toMatchObject({ fromSeq: 1, records: [], gap: { count: evictedRecords, reason: "expired" } });
    expect(kept.flatMap(({ records }) => records)).toEqual(rows(40, 20));
  });

  test("only time that the device was on counts, whatever its wall clock says, and over restarts", () => {
    const file = newFile();
    let reading = { bootId: "boot-1", monoMs: 5_000, wallMs: 1_790_000_000_000, clockSynced: true };
    const restart = () => limited(file, () => reading);
    let outbox = restart();
    const at = (change: Partial<typeof reading>, index: number) => {
      unwrap(outbox.close());
      reading = { ...reading, ...change };
      outbox = restart();
      commitOne(outbox, index);
      return outbox.stats().evictedRecords;
    };
    expect(at({}, 0)).toBe(0);
    expect(at({ wallMs: reading.wallMs + 400 * 86_400_000 }, 1)).toBe(0);
    expect(at({ bootId: "boot-2", monoMs: 90_000_000 }, 2)).toBe(0);
    expect(at({ wallMs: 0, monoMs: 90_080_000 }, 3)).toBe(0);
    // The three of before are a hundred seconds old now; the fourth is not.
    expect(at({ monoMs: 90_110_000 }, 4)).toBe(3);
    expect(drain(outbox)[0]).toMatchObject({ gap: { count: 3, reason: "expired" } });
  });

  test("what is on its way stays until the server has spoken; what it has leaves without a gap", () => {
    const clock = testClock();
    const outbox = limited(newFile(), clock);
    outbox.open();
    for (let index = 0; index < 3; index++) commitOne(outbox, index);
    expect(outbox.nextChunks(1)).toHaveLength(1);
    outbox.acked(ackOf(outbox.epoch, { telemetry: 1 }));
    expect(outbox.nextChunks(1)).toHaveLength(1);
    clock.advance(200_000);
    commitOne(outbox, 3);
    expect(outbox.stats().evictedRecords).toBe(1);
    outbox.open();
    commitOne(outbox, 4);
    expect(outbox.stats().evictedRecords).toBe(2);
    expect(drain(outbox)).toMatchObject([
      { fromSeq: 2, gap: { count: 1, reason: "expired" } },
      { fromSeq: 3, gap: { count: 1, reason: "expired" } },
      { fromSeq: 4, records: rows(3, 1) },
      { fromSeq: 5, records: rows(4, 1) },
    ]);
  });

  test("ages go with their records into a new epoch", () => {
    const clock = testClock();
    const outbox = limited(newFile(), clock);
    for (let index = 0; index < 10; index++) commitOne(outbox, index);
    clock.advance(60_000);
    for (let index = 10; index < 20; index++) commitOne(outbox, index);
    outbox.acked(ackOf(outbox.epoch, { telemetry: 4 }));
    outbox.newEpoch();
    clock.advance(60_000);
    commitOne(outbox, 20);
    expect(drain(outbox)[0]).toMatchObject({ fromSeq: 1, gap: { count: 6, reason: "expired" } });
    expect(outbox.stats().evictedRecords).toBe(6);
  });
});

describe("backfill", () => {
  /** An outbox that was offline for 20 heavy rows, each a chunk of its own, and is online now. */
  function back(change: Partial<OutboxOptions> = {}) {
    const outbox = openAt(newFile(), change);
    for (let index = 0; index < 20; index++) {
      outbox.append({ rows: heavyRows(index, 1) });
      unwrap(outbox.commit());
    }
    outbox.open();
    outbox.setOnline(true);
    return outbox;
  }
  const live = (outbox: Outbox, index: number) => {
    outbox.append({ rows: heavyRows(index, 1) });
    unwrap(outbox.commit());
  };
  const seqs = (chunks: readonly OutboxChunk[]) =>
    chunks.flatMap(({ fromSeq, toSeq }) => Array.from({ length: toSeq - fromSeq + 1 }, (_, index) => fromSeq + index));
  const everything = (outbox: Outbox): number[] => {
    const chunks = outbox.nextChunks(1e9);
    return chunks.length === 0 ? [] : [...seqs(chunks), ...everything(outbox)];
  };

  test("a live record does not wait for those of before, and those lose nothing by it", () => {
    const outbox = back();
    expect(seqs(outbox.nextChunks(1))).toEqual([1]);
    live(outbox, 20);
    live(outbox, 21);
    expect(seqs(outbox.nextChunks(3_000))).toEqual([21, 22, 2]);
    const { epoch } = outbox;
    outbox.acked({ v: 1, streams: { telemetry: { epoch, upTo: 2, also: [[21, 22]] } } });
    live(outbox, 22);
    expect(everything(outbox)).toEqual([23, ...Array.from({ length: 18 }, (_, index) => index + 3)]);
    outbox.acked(ackOf(epoch, { telemetry: 23 }));
    live(outbox, 23);
    expect(everything(outbox)).toEqual([24]);
    expect(outbox.stats().evictedRecords).toBe(0);
  });

  test("keeps to its rate, and says when it may go on; live records are not held back", () => {
    const clock = testClock();
    const sendable = vi.fn();
    const due: (() => void)[] = [];
    const after = (_delayMs: number, run: () => void) => {
      due.push(run);
      return () => void due.splice(0);
    };
    const outbox = back({ clock, sendable, backfillBytesPerSecond: 1_000, time: { after } });
    const gone: number[] = [];
    for (let second = 0; second < 30; second++) {
      const chunks = outbox.nextChunks(1e9);
      gone.push(...seqs(chunks));
      const { toSeq = 0 } = chunks.at(-1) ?? {};
      outbox.acked(ackOf(outbox.epoch, { telemetry: Math.max(toSeq, gone.length) }));
      clock.advance(1_000);
    }
    // A heavy row takes 500 to 600 bytes: a second's burst, then a thousand bytes a second.
    expect(gone).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
    const other = back({ clock: testClock(), sendable, backfillBytesPerSecond: 1_000, time: { after } });
    const first = everything(other).length;
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(4);
    live(other, 20);
    expect(seqs(other.nextChunks(1e9))).toEqual([21]);
    sendable.mockClear();
    due.at(-1)?.();
    expect(sendable).toHaveBeenCalledOnce();
  });

  test("over the budget, what the server has beyond its prefix goes before what it lacks", () => {
    const outbox = back({ maxBytes: 1_048_576, backfillBytesPerSecond: 1_000 });
    const { epoch } = outbox;
    for (let next = 21; next < 2_021; next += 20) {
      outbox.append({ rows: heavyRows(next, 20) });
      unwrap(outbox.commit());
      for (const { toSeq } of outbox.nextChunks(1e9).filter(({ fromSeq }) => fromSeq > 20)) {
        outbox.acked({ v: 1, streams: { telemetry: { epoch, upTo: 0, also: [[21, toSeq]] } } });
      }
    }
    expect(outbox.stats().bytes).toBeLessThan(1_048_576 * 0.75);
    expect(outbox.stats().evictedRecords).toBe(0);
  });
});

describe("durability", () => {
  test("SQLite syncs every commit, and only one process may open the file", () => {
    const file = newFile();
    const pragmas: unknown[] = [];
    let db: Database.Database | undefined;
    const outbox = openAt(file, {}, (name) => {
      db = new Database(name);
      return db;
    });
    for (const name of ["synchronous", "journal_mode"]) pragmas.push(db?.pragma(name, { simple: true }));
    expect(pragmas).toEqual([2, "wal"]);
    expect(openOutbox(file, outboxOptions())).toMatchObject({ ok: false, error: { code: "OUTBOX_IN_USE" } });
    outbox.append({ rows: rows(0, 3) });
    unwrap(outbox.close());
    expect(telemetryOf(openAt(file))).toEqual(rows(0, 3));
  });

  test("records and cursor become durable together, and come back in order", () => {
    const file = newFile();
    const first = openAt(file, { resolutionOf: (_, channel) => (channel === "vib" ? 0.5 : undefined) });
    first.append({ rows: rows(0, 2), inference: [inference(1)], cursor: { input: "replay", value: { line: 2 } } });
    first.append({ rows: rows(2, 1), events: [event("hello")], cursor: { input: "replay", value: { line: 3 } } });
    expect(first.cursors()).toEqual({});
    expect(first.stats().pending).toBe(5);
    unwrap(first.close());

    const second = openAt(file);
    expect(second.epoch).toBe(first.epoch);
    expect(second.cursors()).toEqual({ replay: { line: 3 } });
    second.append({ rows: rows(3, 2) });
    unwrap(second.commit());
    expect(telemetryOf(second)).toEqual(rows(0, 5));
    expect(second.positions().streams).toContainEqual({ stream: "telemetry", firstHeld: 1, next: 6 });
  });

  test("a commit comes by itself, at most commitMs later", async () => {
    const sendable = vi.fn();
    const outbox = openAt(newFile(), { commitMs: 20, sendable });
    outbox.append({ rows: rows(0, 1), cursor: { input: "a", value: 1 } });
    expect(sendable).not.toHaveBeenCalled();
    await holds(() => expect(sendable).toHaveBeenCalledOnce());
    expect(outbox.cursors()).toEqual({ a: 1 });
  });

  test("memory is bounded: very many records are committed at once", () => {
    const outbox = openAt(newFile());
    for (let index = 0; index < 40; index++) outbox.append({ rows: rows(index * 1_000, 1_000) });
    expect(outbox.stats().pending).toBeLessThan(30_000);
  });

  test("a record that cannot travel is refused and counted, and takes no seq", () => {
    const noticed = vi.fn();
    const outbox = openAt(newFile(), { noticed });
    const wrong = { ...inference(2), value: Number.NaN };
    outbox.append({ rows: [{ ...row(0), asset: "a/b" }, row(1)], inference: [inference(1), wrong, inference(3)] });
    unwrap(outbox.commit());
    expect(outbox.stats().refusedRecords).toBe(2);
    expect(noticed).toHaveBeenCalledOnce();
    const [predictions, telemetry] = drain(outbox);
    expect(predictions).toMatchObject({ fromSeq: 1, records: [{ value: 1 }, { value: 3 }] });
    expect(telemetry).toMatchObject({ fromSeq: 1, records: [row(1)] });
  });

  test("what is taken while the line is down is marked as backfill, up to the moment it is up", () => {
    const outbox = openAt(newFile());
    outbox.append({ rows: rows(0, 1) });
    outbox.setOnline(true);
    outbox.append({ rows: rows(1, 1) });
    outbox.setOnline(false);
    outbox.append({ rows: rows(2, 1) });
    unwrap(outbox.commit());
    const inOrder = drain(outbox).sort((a, b) => a.fromSeq - b.fromSeq);
    expect(inOrder.map(({ hist }) => hist)).toEqual([true, false, true]);
  });
});

describe("sending and acknowledgement", () => {
  test("each chunk is handed out once per session, and again in the next until it is acknowledged", () => {
    const outbox = openAt(newFile());
    for (let index = 0; index < 3; index++) {
      outbox.append({ rows: rows(index, 1) });
      unwrap(outbox.commit());
    }
    expect(telemetryOf(outbox)).toEqual(rows(0, 3));
    expect(drain(outbox)).toHaveLength(0);
    expect(outbox.stats().unacked).toBe(3);
    outbox.open();
    expect(telemetryOf(outbox)).toEqual(rows(0, 3));
    outbox.open();
    outbox.acked(ackOf(outbox.epoch, { telemetry: 1 }));
    expect(telemetryOf(outbox)).toEqual(rows(1, 2));
    outbox.acked(ackOf(outbox.epoch, { telemetry: 3 }));
    outbox.open();
    expect(drain(outbox)).toHaveLength(0);
    expect(outbox.stats().unacked).toBe(0);
  });

  test("ranges acknowledged beyond the prefix are not sent again", () => {
    const outbox = openAt(newFile());
    for (let index = 0; index < 4; index++) {
      outbox.append({ rows: rows(index, 1) });
      unwrap(outbox.commit());
    }
    outbox.open();
    outbox.acked({ v: 1, streams: { telemetry: { epoch: outbox.epoch, upTo: 1, also: [[3, 3]] } } });
    expect(drain(outbox).map(({ fromSeq }) => fromSeq)).toEqual([2, 4]);
  });

  test("an acknowledgement of another epoch changes nothing", () => {
    const outbox = openAt(newFile());
    outbox.append({ rows: rows(0, 1) });
    unwrap(outbox.commit());
    expect(outbox.acked(ackOf("0000000000000000", { telemetry: 1 }))).toEqual({ newEpoch: false, rewound: false });
    expect(telemetryOf(outbox)).toEqual(rows(0, 1));
  });

  test("streams share the line by weight, and none starves", () => {
    const outbox = openAt(newFile());
    for (let index = 0; index < 20; index++) {
      outbox.append({ rows: rows(index, 1), events: [event(`${index}`)], inference: [inference(index)] });
      unwrap(outbox.commit());
    }
    const streams = drain(outbox, 1).map(({ stream }) => stream);
    expect(streams.slice(0, 14).filter((stream) => stream === "event")).toHaveLength(8);
    expect(streams.slice(0, 14).filter((stream) => stream === "inference")).toHaveLength(4);
    expect(streams.slice(0, 14).filter((stream) => stream === "telemetry")).toHaveLength(2);
    expect(streams).toHaveLength(60);
  });

  test("acknowledged chunks are kept for a restored server and sent again when its word goes backwards", () => {
    const clock = testClock();
    const sendable = vi.fn();
    const outbox = openAt(newFile(), { keepAckedMs: 60_000, clock, sendable });
    for (let index = 0; index < 6; index++) {
      outbox.append({ rows: rows(index, 1) });
      unwrap(outbox.commit());
    }
    drain(outbox);
    outbox.acked(ackOf(outbox.epoch, { telemetry: 6 }));
    unwrap(outbox.commit());
    expect(outbox.open().streams[3]).toEqual({ stream: "telemetry", firstHeld: 1, next: 7 });
    sendable.mockClear();
    expect(outbox.acked(ackOf(outbox.epoch, { telemetry: 2 }))).toEqual({ newEpoch: false, rewound: true });
    expect(sendable).toHaveBeenCalled();
    expect(telemetryOf(outbox)).toEqual(rows(2, 4));

    outbox.acked(ackOf(outbox.epoch, { telemetry: 6 }));
    clock.advance(61_000);
    outbox.append({ rows: rows(6, 1) });
    unwrap(outbox.commit());
    expect(outbox.open().streams[3]).toEqual({ stream: "telemetry", firstHeld: 7, next: 8 });
  });

  test("whatever order acknowledgements, sessions and restarts come in, the server ends with every record once", () => {
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ do: fc.constant("append" as const), count: fc.integer({ min: 1, max: 5 }) }),
      },
      {
        weight: 5,
        arbitrary: fc.record({ do: fc.constant("send" as const), bytes: fc.integer({ min: 1, max: 3_000 }) }),
      },
      { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("ack", "open", "lose", "reopen", "restore", "epoch") }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const file = join(temporaryFolder(), "outbox.sqlite");
        const options = outboxOptions({ keepAckedMs: 1e9 });
        let outbox = unwrap(openOutbox(file, options));
        let server = new ServerMemory();
        let backup = structuredClone(server.streams);
        let made = 0;
        const epochs = [outbox.epoch];
        for (const each of steps) {
          if (each.do === "append" && "count" in each) {
            outbox.append({ rows: rows(made, each.count), events: [event(`e${made}`)] });
            unwrap(outbox.commit());
            made += each.count;
          } else if (each.do === "send" && "bytes" in each) {
            for (const chunk of outbox.nextChunks(each.bytes)) server.take(read(chunk));
          } else if (each.do === "lose") outbox.nextChunks(2_000);
          else if (each.do === "ack") outbox.acked(server.ack(outbox.epoch));
          else if (each.do === "open") outbox.open();
          else if (each.do === "restore") {
            const restored = new ServerMemory();
            for (const [key, stored] of backup) restored.streams.set(key, new Map(stored));
            backup = structuredClone(server.streams);
            server = restored;
          } else if (each.do === "epoch") {
            outbox.open();
            // The server restored to before: what it lost of an old epoch is gone with that epoch's acknowledgements.
            outbox.acked(server.ack(outbox.epoch));
            outbox.newEpoch();
            epochs.push(outbox.epoch);
            backup = structuredClone(server.streams);
          } else if (each.do === "reopen") {
            unwrap(outbox.close());
            outbox = unwrap(openOutbox(file, options));
          }
        }
        for (let round = 0; round < 3; round++) {
          outbox.open();
          outbox.acked(server.ack(outbox.epoch));
          for (const batch of drain(outbox)) server.take(batch);
        }
        unwrap(outbox.close());
        const stored = epochs.map((epoch) =>
          (server.records(epoch, "telemetry") as TelemetryRow[]).map(({ observedAtMs }) => observedAtMs),
        );
        // Within an epoch seq is the order; over all of them every record is there once.
        for (const times of stored) expect(times).toEqual([...times].sort((a, b) => a - b));
        expect(stored.flat().sort((a, b) => a - b)).toEqual(rows(0, made).map(({ observedAtMs }) => observedAtMs));
      }),
      { numRuns: 60 },
    );
  });
});

describe("a new epoch", () => {
  test("numbers what is unacknowledged again from 1, under a new name, across a restart", () => {
    const file = newFile();
    const outbox = openAt(file, { keepAckedMs: 1e9 });
    for (let index = 0; index < 5; index++) {
      outbox.append({ rows: rows(index * 10, 10), events: [event(`${index}`)] });
      unwrap(outbox.commit());
    }
    drain(outbox);
    const before = outbox.epoch;
    const ack = { epoch: before, upTo: 20, also: [[31, 40]] as [number, number][] };
    expect(outbox.acked({ v: 1, streams: { telemetry: ack }, newEpoch: true })).toMatchObject({ newEpoch: true });
    expect(outbox.epoch).not.toBe(before);
    // The same order again is about the epoch that is gone.
    expect(outbox.acked({ v: 1, streams: { telemetry: ack }, newEpoch: true })).toMatchObject({ newEpoch: false });
    unwrap(outbox.close());

    const again = openAt(file);
    const batches = drain(again).filter(({ stream }) => stream === "telemetry");
    expect(batches.map(({ epoch, fromSeq }) => [epoch, fromSeq])).toEqual([[outbox.epoch, 1]]);
    expect(batches.flatMap(({ records }) => records)).toEqual([...rows(20, 10), ...rows(40, 10)]);
    again.append({ rows: rows(50, 1) });
    unwrap(again.commit());
    expect(drain(again)).toMatchObject([{ fromSeq: 21 }]);
  });

  test("is drawn by itself when the server has numbers this file never gave: it is an older copy", () => {
    const outbox = openAt(newFile());
    outbox.append({ rows: rows(0, 2) });
    unwrap(outbox.commit());
    const before = outbox.epoch;
    expect(outbox.acked(ackOf(before, { telemetry: 9 }))).toMatchObject({ newEpoch: true });
    expect(outbox.epoch).not.toBe(before);
    expect(telemetryOf(outbox)).toEqual(rows(0, 2));
  });
});

describe("over the budget", () => {
  const maxBytes = 1024 * 1024;

  test("the lowest class gives way, oldest first, leaving counted gaps and no hole", () => {
    const file = newFile();
    const noticed = vi.fn();
    const outbox = openAt(file, { maxBytes, noticed });
    let made = 0;
    for (let round = 0; round < 60; round++) {
      outbox.append({
        rows: Array.from({ length: 50 }, () => heavy(made++)),
        events: [event(`${round}`)],
        inference: [inference(round)],
      });
      unwrap(outbox.commit());
      const bytes = readdirSync(dirname(file)).reduce((sum, name) => sum + statSync(join(dirname(file), name)).size, 0);
      expect(bytes).toBeLessThanOrEqual(maxBytes * 1.1);
    }
    expect(outbox.stats()).toMatchObject({ phase: "shedding" });
    expect(noticed.mock.calls.map(([said]) => said.code)).toContain("OUTBOX_SHEDDING");

    const server = new ServerMemory();
    const batches = drain(outbox);
    for (const batch of batches) server.take(batch);
    expect(server.prefix(outbox.epoch, "event")).toBe(60);
    expect(server.records(outbox.epoch, "event")).not.toContain("gap");
    expect(server.records(outbox.epoch, "inference")).not.toContain("gap");
    const telemetry = server.records(outbox.epoch, "telemetry");
    const lost = telemetry.filter((record) => record === "gap").length;
    expect(telemetry).toHaveLength(made);
    expect(lost).toBe(outbox.stats().evictedRecords);
    expect(lost).toBeGreaterThan(1_000);
    // The newest survive, and one gap stands for all that is gone.
    expect(telemetry.slice(lost)).toEqual(heavyRows(lost, made - lost));
    expect(batches.filter(({ gap }) => gap !== undefined)).toHaveLength(1);
  });

  test("a higher class stays while anything is left of a lower one, in however many chunks", () => {
    const folder = memoryFolder();
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const outbox = openAt(join(folder, "outbox.sqlite"), { maxBytes: 3 * 1_048_576 });
    outbox.append({ events: [event("stays")] });
    for (let index = 0; outbox.stats().evictedRecords === 0; index++) {
      // Rows of before and after a connection become no figures together, and alone they take less than theirs.
      outbox.setOnline(index % 2 === 0);
      outbox.append({ rows: rows(index, 1), inference: index % 20 === 0 ? [inference(index)] : [] });
      unwrap(outbox.commit());
    }
    // More than are looked at in one step.
    expect(outbox.stats().evictedRecords).toBeGreaterThan(256);
    const gaps = drain(outbox).filter(({ gap }) => gap !== undefined);
    expect([...new Set(gaps.map(({ stream }) => stream))]).toEqual(["telemetry"]);
  });

  test("what the server has goes first, and nothing is lost then", () => {
    const outbox = openAt(newFile(), { maxBytes, keepAckedMs: 1e9 });
    for (let round = 0; round < 60; round++) {
      outbox.append({ rows: heavyRows(round * 50, 50) });
      unwrap(outbox.commit());
      drain(outbox);
      outbox.acked(ackOf(outbox.epoch, { telemetry: (round + 1) * 50 }));
    }
    expect(outbox.stats().evictedRecords).toBe(0);
    expect(outbox.stats().phase).not.toBe("shedding");
    expect(outbox.positions().streams[3]?.firstHeld).toBeGreaterThan(500);
  });

  test("what is on its way never gives way to a gap, and a gap the server knows in part shrinks", () => {
    const outbox = openAt(newFile(), { maxBytes });
    const server = new ServerMemory();
    const fill = (from: number, rounds: number) => {
      for (let round = 0; round < rounds; round++) {
        outbox.append({ rows: heavyRows(from + round * 50, 50) });
        unwrap(outbox.commit());
      }
    };
    fill(0, 4);
    const sent = outbox.nextChunks(1).map(read);
    fill(200, 60);
    // The line broke before the ack of the first chunk arrived; the server has it.
    for (const batch of sent) server.take(batch);
    fill(3_200, 1);
    outbox.open();
    fill(3_250, 30);
    outbox.acked(server.ack(outbox.epoch));
    for (const batch of drain(outbox)) server.take(batch);
    const telemetry = server.records(outbox.epoch, "telemetry");
    expect(telemetry).toHaveLength(4_750);
    expect(telemetry.slice(0, 50)).toEqual(heavyRows(0, 50));
    expect(server.prefix(outbox.epoch, "telemetry")).toBe(4_750);
  });
});

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

test("every stream has its place in the positions", () => {
  const outbox = openAt(newFile());
  expect(outbox.positions()).toEqual({
    epoch: outbox.epoch,
    streams: STREAMS.map((stream) => ({ stream, firstHeld: 1, next: 1 })),
  });
});
