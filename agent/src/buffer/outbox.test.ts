import { STREAMS, type StreamBatch, type TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { holds } from "../../../test/kit/eventually.ts";
import { ackOf, drain, outboxOptions, read, ServerMemory, testClock } from "../../../test/kit/outbox.ts";
import {
  event,
  heavyRows,
  inference,
  newFile,
  openAt,
  row,
  rows,
  telemetryOf,
} from "../../../test/kit/outbox-records.ts";
import { openOutbox } from "./outbox.io.ts";

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

  test("what a server had when it went from here, and lacks since it was restored, leaves a gap", () => {
    const clock = testClock();
    const outbox = openAt(newFile(), { keepAckedMs: 0, maxAgeMs: 60_000, clock });
    for (let index = 0; index < 6; index++) {
      outbox.append({ rows: rows(index, 1) });
      unwrap(outbox.commit());
    }
    drain(outbox);
    const { epoch } = outbox;
    const said = (upTo: number, also: [number, number][]) =>
      outbox.acked({ v: 1, streams: { telemetry: { epoch, upTo, also } } });
    const sent = () =>
      drain(outbox).map(({ fromSeq, gap, records }) => [fromSeq, gap?.count ?? records.length, gap?.reason]);
    said(2, [[4, 4]]);
    outbox.open();
    clock.advance(61_000);
    outbox.append({ rows: rows(6, 1) });
    unwrap(outbox.commit());
    said(2, [[4, 4]]);
    expect(sent()).toEqual([
      [3, 1, "expired"],
      [5, 2, "expired"],
      [7, 1, undefined],
    ]);
    expect(outbox.open().streams[3]).toMatchObject({ firstHeld: 3, next: 8 });
    said(1, []);
    expect(sent()).toEqual([
      [2, 1, "evicted"],
      [3, 1, "expired"],
      [4, 1, "evicted"],
      [5, 2, "expired"],
      [7, 1, undefined],
    ]);
    said(7, []);
    expect(outbox.stats().unacked).toBe(0);
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
        const file = newFile();
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

test("every stream has its place in the positions", () => {
  const outbox = openAt(newFile());
  expect(outbox.positions()).toEqual({
    epoch: outbox.epoch,
    streams: STREAMS.map((stream) => ({ stream, firstHeld: 1, next: 1 })),
  });
});
