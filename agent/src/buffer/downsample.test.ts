import { rmSync } from "node:fs";
import { join } from "node:path";
import type { StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { ackOf, drain, outboxOptions } from "../../../test/kit/outbox.ts";
import { memoryFolder } from "../../../test/sim/disk.ts";
import { downsample } from "./downsample.ts";
import { openOutbox } from "./outbox.io.ts";
import type { Outbox, OutboxChunk, OutboxOptions } from "./outbox.ts";

const MINUTE_MS = 60_000;
const START_MS = 1_790_000_040_000;

describe("downsample", () => {
  const value = fc.oneof(fc.double({ noNaN: true, min: -1e6, max: 1e6 }), fc.constant(null));
  const row: fc.Arbitrary<TelemetryRow> = fc.record({
    asset: fc.constantFrom("a", "b"),
    observedAtMs: fc.integer({ min: 0, max: 5 * MINUTE_MS }),
    values: fc.dictionary(fc.constantFrom("vib", "temp"), value, { noNullPrototype: true }),
  });

  test("counts every value that was read once, in its asset, channel and minute, between its bounds", () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 60 }), (rows) => {
        const told = downsample(rows);
        const seen = new Set(told.map(({ asset, observedAtMs }) => `${asset} ${Math.floor(observedAtMs / MINUTE_MS)}`));
        expect(seen.size).toBe(told.length);
        for (const { asset, observedAtMs, figures } of told) {
          const own = rows.filter(
            (one) =>
              one.asset === asset && Math.floor(one.observedAtMs / MINUTE_MS) === Math.floor(observedAtMs / MINUTE_MS),
          );
          expect(observedAtMs).toBe(Math.max(...own.map((one) => one.observedAtMs)));
          for (const channel of ["vib", "temp"]) {
            const values = own.map((one) => one.values[channel]).filter((one) => typeof one === "number");
            if (values.length === 0) expect(figures).not.toHaveProperty(channel);
            else {
              const mean = values.reduce((sum, one) => sum + one, 0) / values.length;
              const { mean: said, ...exact } = figures[channel]!;
              expect(exact).toEqual({
                count: values.length,
                min: Math.min(...values),
                max: Math.max(...values),
                last: values.at(-1),
              });
              expect(Math.abs(said - mean)).toBeLessThanOrEqual(1e-8 * Math.abs(mean) + 1e-300);
            }
          }
        }
        const assets = new Set(
          rows.map(({ asset, observedAtMs }) => `${asset} ${Math.floor(observedAtMs / MINUTE_MS)}`),
        );
        expect(seen).toEqual(assets);
      }),
    );
  });

  test("a mean lies within its bounds, though it is rounded or its sum is beyond every double", () => {
    for (const one of [641.821_345_678_9, -1 / 3, Number.MAX_VALUE, -Number.MAX_VALUE]) {
      const rows = Array.from({ length: 3 }, (_, at) => ({ asset: "a", observedAtMs: at, values: { x: one } }));
      expect(downsample(rows)).toEqual([
        { asset: "a", observedAtMs: 2, figures: { x: { count: 3, min: one, mean: one, max: one, last: one } } },
      ]);
    }
  });
});

describe("an outbox over its budget", () => {
  const row = (index: number): TelemetryRow => ({
    asset: "pump-1",
    observedAtMs: START_MS + index * 1_000,
    values: Object.fromEntries(Array.from({ length: 24 }, (_, at) => [`c${at}`, Math.sin(index * 61 + at) * 1e6])),
  });
  const rows = (from: number, count: number) => Array.from({ length: count }, (_, index) => row(from + index));
  const digest = `sha256:${"ab".repeat(32)}`;
  const file = () => {
    const folder = memoryFolder();
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    return join(folder, "outbox.sqlite");
  };

  function openAt(path: string, change: Partial<OutboxOptions> = {}): Outbox {
    const outbox = unwrap(openOutbox(path, outboxOptions({ maxBytes: 1_048_576, ...change })));
    onTestFinished(() => void outbox.close());
    return outbox;
  }

  /** Takes rows, a commit for each ten of them. */
  function take(outbox: Outbox, from: number, count: number): void {
    for (let index = from; index < from + count; index += 10) {
      outbox.append({ rows: rows(index, 10) });
      unwrap(outbox.commit());
    }
  }

  const telemetry = (batches: readonly StreamBatch[]) =>
    batches.filter((batch): batch is StreamBatch<"telemetry"> => batch.stream === "telemetry");
  const counted = (batches: readonly StreamBatch<"telemetry">[], reason: string) =>
    batches.reduce((sum, { gap }) => sum + (gap?.reason === reason ? gap.count : 0), 0);
  const inOrder = (batches: readonly StreamBatch<"telemetry">[]) => batches.toSorted((a, b) => a.fromSeq - b.fromSeq);

  /** Every row is there, or in the figures of its minute, which say what those of its rows come to. */
  function checkAll(found: readonly StreamBatch<"telemetry">[], taken: number): void {
    let next = 1;
    for (const { fromSeq, records, gap, downsampled } of inOrder(found)) {
      expect(fromSeq).toBe(next);
      if (gap) expect(downsampled).toEqual(downsample(rows(next - 1, gap.count)));
      else expect(records).toEqual(rows(next - 1, records.length));
      next += gap?.count ?? records.length;
    }
    expect(next - 1).toBe(taken);
  }

  test("old telemetry becomes figures of its minutes before anything is dropped, and the newest stays as it was", () => {
    const outbox = openAt(file());
    // Of the least importance: were anything dropped, it would be these.
    const samples = Array.from({ length: 20 }, (_, index) => ({
      asset: "pump-1",
      observedAtMs: index,
      model: "rul",
      features: { x: index },
    }));
    outbox.append({
      samples,
      inference: [{ asset: "pump-1", observedAtMs: 1, model: "rul", version: 1, digest, value: 7 }],
    });
    take(outbox, 0, 6_000);
    expect(outbox.stats()).toMatchObject({ evictedRecords: 0, phase: "pressured" });
    const all = drain(outbox);
    expect(all.filter(({ stream }) => stream === "samples").flatMap(({ records }) => records)).toEqual(samples);
    const found = telemetry(all);
    checkAll(found, 6_000);
    expect(counted(found, "downsampled")).toBeGreaterThan(1_000);
    expect(inOrder(found).at(-1)?.gap).toBeUndefined();
  });

  test("figures are dropped when they alone fill what the newest rows leave, oldest first and counted once", () => {
    const outbox = openAt(file());
    take(outbox, 0, 10);
    const [first] = outbox.nextChunks(1e6) as [OutboxChunk];
    outbox.open();
    take(outbox, 10, 59_990);
    const { evictedRecords } = outbox.stats();
    const found = inOrder(telemetry(drain(outbox)));
    const kept = found.flatMap(({ records }) => records);
    expect(evictedRecords).toBeGreaterThan(0);
    expect(counted(found, "evicted")).toBe(evictedRecords);
    expect(counted(found, "downsampled") + evictedRecords + kept.length).toBe(60_000);
    expect(found[0]).toMatchObject({ fromSeq: 1, gap: { reason: "evicted" } });
    expect(kept).toEqual(rows(60_000 - kept.length, kept.length));
    // A quarter of the budget is theirs.
    const rowBytes = first.bytes.length / 10;
    expect(kept.length * rowBytes).toBeGreaterThan(0.2 * 0.75 * 1_048_576);
  });

  test("rows that come too seldom for figures to be worth it give way as they are", () => {
    const outbox = openAt(file());
    for (let index = 0; index < 6_000; index += 10) {
      const seldom = rows(index, 10).map((one, at) => ({ ...one, observedAtMs: START_MS + (index + at) * MINUTE_MS }));
      outbox.append({ rows: seldom });
      unwrap(outbox.commit());
    }
    const found = telemetry(drain(outbox));
    expect(counted(found, "downsampled")).toBe(0);
    expect(counted(found, "evicted")).toBe(outbox.stats().evictedRecords);
  });

  test("figures are sent again as they were after a restart, and under the new numbers after a new epoch", () => {
    const path = file();
    const first = openAt(path);
    take(first, 0, 6_000);
    first.open();
    const before = telemetry(drain(first));
    unwrap(first.close());
    const second = openAt(path);
    second.open();
    expect(inOrder(telemetry(drain(second)))).toEqual(inOrder(before));
    // The server has the first figures, and forgets the epoch.
    const [oldest] = inOrder(before);
    const done = (oldest?.gap?.count ?? 0) as number;
    second.acked(ackOf(second.epoch, { telemetry: done }));
    second.newEpoch();
    second.open();
    const again = inOrder(telemetry(drain(second)));
    expect(again[0]).toMatchObject({ epoch: second.epoch, fromSeq: 1 });
    const figures = (batches: readonly StreamBatch<"telemetry">[]) =>
      batches.flatMap(({ gap, downsampled }) => (gap ? [{ gap, downsampled }] : []));
    expect(figures(again)).toEqual(figures(inOrder(before)).slice(1));
    expect(figures(again).length).toBeGreaterThan(1);
  });

  test("where the server has some of the rows after all, only a gap is left of the figures", () => {
    const path = file();
    const outbox = openAt(path);
    take(outbox, 0, 6_000);
    const { epoch } = outbox;
    outbox.open();
    // A server that stored some rows and could not say so before the line was cut.
    outbox.acked(ackOf(epoch, { telemetry: 15 }));
    const [oldest, next] = inOrder(telemetry(drain(outbox)));
    expect(oldest).toMatchObject({ fromSeq: 16, gap: { reason: "evicted" } });
    expect(oldest).not.toHaveProperty("downsampled");
    expect(next).toMatchObject({ gap: { reason: "downsampled" }, downsampled: expect.any(Array) });
  });

  test("what is on its way stays as it is", () => {
    const outbox = openAt(file());
    outbox.setOnline(true);
    take(outbox, 0, 400);
    const last = Math.max(...outbox.nextChunks(50_000).map(({ toSeq }) => toSeq));
    take(outbox, 400, 5_600);
    outbox.open();
    const found = inOrder(telemetry(drain(outbox)));
    expect(last).toBeGreaterThan(100);
    expect(found.flatMap(({ records }) => records).slice(0, last)).toEqual(rows(0, last));
    expect(counted(found, "downsampled")).toBeGreaterThan(0);
  });
});
