import { readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { seededRandom } from "@bellwether/protocol/random.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { describe, expect, test, vi } from "vitest";
import { ackOf, drain, read, ServerMemory, testClock } from "../../../test/kit/outbox.ts";
import { event, heavy, heavyRows, inference, newFile, openAt, rows } from "../../../test/kit/outbox-records.ts";
import type { Outbox, OutboxChunk, OutboxOptions } from "./outbox.ts";

test("figures of rows with many channels stay within the budget, the log they are written to included", () => {
  const random = seededRandom(460);
  const file = newFile();
  const maxBytes = 1_048_576;
  const outbox = openAt(file, { maxBytes });
  let most = 0;
  for (let commit = 0; commit < 150; commit++) {
    const batch = Array.from({ length: 60 + random.below(10) }, (_, row) => ({
      asset: `pump-${row % 2}`,
      observedAtMs: 1_000 * commit + 10 * row,
      values: Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`c${i}`, random.below(1_000_000) / 100])),
    }));
    outbox.append({ rows: batch });
    unwrap(outbox.commit());
    const name = basename(file);
    const files = readdirSync(dirname(file)).filter((one) => one.startsWith(name));
    most = Math.max(
      most,
      files.reduce((sum, one) => sum + statSync(join(dirname(file), one)).size, 0),
    );
  }
  expect(most).toBeLessThanOrEqual(maxBytes);
  expect(drain(outbox).some(({ gap }) => gap?.reason === "downsampled")).toBe(true);
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
    const outbox = openAt(newFile(), { maxBytes: 3 * 1_048_576 });
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
