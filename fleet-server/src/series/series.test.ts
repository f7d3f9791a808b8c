import { decodeBatch, encodeBatch, storedColumns } from "@bellwether/protocol/batch.ts";
import type { StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BLOCK_SLOTS, decodeBlock, emptyColumns, encodeBlock, figuresAt, setRow } from "./block.ts";
import { ENTRY, entryOf, figuresOfEntry, mergeEntries, setEntry } from "./entries.ts";
import { addSample, type Figures, figuresOfSample, MINUTE_MS, merge } from "./figures.ts";
import { type MinuteTable, minutesOf, piecesOf, tableOf } from "./minute-table.ts";
import { MinuteRollup } from "./rollup.ts";
import { Steps, stepFor } from "./steps.ts";

function addedUp(values: readonly number[]): Figures {
  const [first = 0, ...rest] = values;
  const figures = figuresOfSample(first, 0, false);
  for (const [index, value] of rest.entries()) addSample(figures, value, index + 1, false);
  return figures;
}

/** The exact sum of doubles, as a fraction of 2^1074. */
function exactSum(values: readonly number[]): bigint {
  const units = (value: number) => {
    let exponent = 1_074;
    let scaled = value;
    while (!Number.isInteger(scaled)) {
      scaled *= 2;
      exponent--;
    }
    return BigInt(scaled) << BigInt(exponent);
  };
  return values.reduce((sum, value) => sum + units(value), 0n);
}

const reading = fc
  .double({ min: -1e9, max: 1e9, noNaN: true })
  .filter((value) => value === 0 || Math.abs(value) > 1e-6);

describe("figures", () => {
  it("add up to the same mean whatever the order and the grouping, and it is the exact one", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(reading, fc.constantFrom(0, -0)), { minLength: 1, maxLength: 60 }),
        fc.nat(60),
        (values, cut) => {
          const inOrder = addedUp(values);
          const grouped = addedUp(values.toReversed().slice(0, cut + 1));
          const rest = values.toReversed().slice(cut + 1);
          if (rest.length > 0) merge(grouped, addedUp(rest));
          expect(grouped.sum + grouped.sumError).toBe(inOrder.sum + inOrder.sumError);
          expect([grouped.count, grouped.min, grouped.max]).toEqual([inOrder.count, inOrder.min, inOrder.max]);
          const difference = exactSum(values) - exactSum([inOrder.sum, inOrder.sumError]);
          const ulp = exactSum([Math.max(Math.abs(inOrder.sum), Number.MIN_VALUE) * Number.EPSILON]);
          expect(difference < 0n ? -difference : difference).toBeLessThanOrEqual(ulp);
        },
      ),
    );
  });

  it("keep the last value by its time, and of two at one time the later committed", () => {
    const figures = figuresOfSample(1, 1_000, false);
    addSample(figures, 2, 500, true);
    expect([figures.last, figures.hist]).toEqual([1, 1]);
    addSample(figures, 3, 1_000, false);
    expect(figures.last).toBe(3);
  });

  it("stay numbers where a sum would pass every double", () => {
    const figures = addedUp([1.7e308, 1.7e308, -1]);
    expect([figures.sum, figures.sumError, figures.max].every(Number.isFinite)).toBe(true);
  });
});

describe("a block", () => {
  it("gives every number back, whatever its column looks like", () => {
    const column = fc.oneof(
      fc.constant((): number => 60),
      fc.constant((row: number) => Math.round(Math.sin(row) * 1_000 + 2_000) / 100),
      fc.constant((row: number) => Math.sin(row) + 1),
      fc.constant((row: number) => row * 1e7),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: BLOCK_SLOTS }),
        fc.array(column, { minLength: 6, maxLength: 6 }),
        (length, make) => {
          const columns = emptyColumns(length);
          const rows = Array.from({ length }, (_, row): Figures => {
            const [count, min, max, sum, last, after] = make.map((of) => of(row)) as [
              number,
              number,
              number,
              number,
              number,
              number,
            ];
            const lastAtMs = row * MINUTE_MS + (Math.abs(Math.round(after)) % MINUTE_MS);
            return { count, hist: 0, min, max, sum, sumError: 0, last, lastAtMs };
          });
          for (const [row, figures] of rows.entries()) setRow(columns, row, row, row * MINUTE_MS, figures);
          const back = decodeBlock(encodeBlock(columns));
          expect(back.length).toBe(length);
          expect(rows.map((_, row) => figuresAt(back, row, row * MINUTE_MS))).toEqual(rows);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("is small for what sensors say", () => {
    const columns = emptyColumns(BLOCK_SLOTS);
    for (let row = 0; row < BLOCK_SLOTS; row++) {
      const value = Math.round(Math.sin(row) * 100);
      const figures = {
        count: 60,
        hist: 0,
        min: value - 1,
        max: value + 1,
        sum: value * 60.1,
        sumError: 0,
        last: value,
        lastAtMs: 59_000,
      };
      setRow(columns, row, row, row * MINUTE_MS, { ...figures, lastAtMs: row * MINUTE_MS + 59_000 });
    }
    expect(encodeBlock(columns).length).toBeLessThan(BLOCK_SLOTS * 21);
  });
});

/** Every minute of every channel of a table. */
function figuresIn(table: MinuteTable) {
  return minutesOf(table).flatMap(({ of: { site, asset, channels }, minute, entries }) =>
    Array.from({ length: entries.length / ENTRY }, (_, index) => ({
      ...{ site, asset, channel: channels[entries[index * ENTRY] as number] as string, minute },
      ...figuresOfEntry(entries, index * ENTRY),
    })),
  );
}

describe("a rollup", () => {
  it("sorts samples into minutes of their corrected time and leaves failed reads out", () => {
    const rollup = new MinuteRollup();
    const row = (correctedAtMs: number, vib: number | null, hist = false) =>
      rollup.add("s", { asset: "pump-1", correctedAtMs, hist, values: { vib, temp: 20 } });
    row(59_999, 1);
    row(60_000, 2);
    row(30_000, 4, true);
    row(61_000, null);
    const told = figuresIn(rollup.minutes()).map(({ channel, minute, count, hist, min, max, last }) => [
      channel,
      minute,
      count,
      hist,
      min,
      max,
      last,
    ]);
    expect(told).toEqual([
      ["vib", 0, 2, 1, 1, 4, 1],
      ["temp", 0, 2, 1, 20, 20, 20],
      ["vib", 1, 1, 0, 2, 2, 2],
      ["temp", 1, 2, 0, 20, 20, 20],
    ]);
  });

  it("is the same of columns as of the rows they travelled as", () => {
    const value = fc.oneof(fc.constant(null), reading, fc.constantFrom(0, -0), fc.integer({ min: -50, max: 50 }));
    const rows = fc.array(
      fc.record({
        asset: fc.constantFrom("pump-1", "pump-2"),
        observedAtMs: fc.nat(8).map((half) => (half * MINUTE_MS) / 2),
        values: fc.dictionary(fc.constantFrom("vib", "temp", "7"), value, { minKeys: 1 }),
      }),
      { minLength: 1, maxLength: 30 },
    );
    const resolutionOf = (_: string, channel: string) => (channel === "temp" ? 0.01 : undefined);
    const clock = { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: true };
    const of = { site: "s", offsetMs: 61_000, hist: true };
    const told = (rollup: MinuteRollup) =>
      new Map(
        figuresIn(rollup.minutes()).map(({ site, asset, channel, minute, ...figures }) => [
          `${site}/${asset}/${channel}/${minute}`,
          figures,
        ]),
      );
    fc.assert(
      fc.property(fc.array(fc.tuple(rows, fc.boolean()), { minLength: 1, maxLength: 3 }), (batches) => {
        const [byColumns, byRows] = [new MinuteRollup(), new MinuteRollup()];
        for (const [records, isScattered] of batches) {
          const batch = {
            v: 1,
            epoch: "00000000000000aa",
            stream: "telemetry",
            fromSeq: 1,
            records,
            hist: true,
            clock,
          };
          const bytes = isScattered ? scattered(batch) : encodeBatch(batch as StreamBatch, resolutionOf);
          byColumns.addColumns(of, storedColumns(bytes));
          for (const { observedAtMs, ...row } of unwrap(decodeBatch("telemetry", bytes)).records) {
            byRows.add("s", { ...row, correctedAtMs: observedAtMs + of.offsetMs, hist: true });
          }
        }
        expect(told(byColumns)).toEqual(told(byRows));
      }),
    );
  });
});

/** A batch with a group for each row, latest times first: the order alone says which of an asset's rows is the later one. */
function scattered({ stream: _, records, ...envelope }: { stream: string; records: readonly TelemetryRow[] }): Buffer {
  const order = records.map((_, index) => records.length - 1 - index);
  const groups = order.map((index) => {
    const { asset, observedAtMs, values } = records[index] as TelemetryRow;
    const channels = Object.entries(values).map(([channel, value]) => ({ channel, values: [value] }));
    return { asset, t0: observedAtMs, dt: [], channels };
  });
  return Buffer.from(JSON.stringify({ ...envelope, order, groups }));
}

describe("entries", () => {
  it("of two arrays merge as their figures do, whatever keys either has and in which order", () => {
    const values = fc.array(reading, { minLength: 1, maxLength: 5 });
    const side = fc.uniqueArray(fc.tuple(fc.nat(6), values), { selector: ([key]) => key, maxLength: 7 });
    const laidOut = (channels: readonly (readonly [number, readonly number[]])[]) => {
      const entries = new Float64Array(channels.length * ENTRY);
      for (const [index, [key, own]] of channels.entries()) setEntry(entries, index * ENTRY, key, addedUp(own));
      return entries;
    };
    fc.assert(
      fc.property(side, side, (before, after) => {
        const merged = mergeEntries(laidOut(before), laidOut(after));
        const keys = new Set([...before, ...after].map(([key]) => key));
        expect(merged.length).toBe(keys.size * ENTRY);
        for (const key of keys) {
          const [there, later] = [before, after].map((one) => one.find(([own]) => own === key)?.[1]);
          const expected = addedUp(there ?? later!);
          if (there && later) merge(expected, addedUp(later));
          expect(figuresOfEntry(merged, entryOf(merged, key))).toEqual(expected);
        }
      }),
    );
  });
});

describe("a table of minutes", () => {
  it("gives them back, in pieces of any size, of which there is at least one", () => {
    const rollup = new MinuteRollup();
    for (let atMs = 0; atMs < 5 * MINUTE_MS; atMs += MINUTE_MS / 2) {
      rollup.add("s", { asset: "pump-1", correctedAtMs: atMs, hist: false, values: { vib: atMs, temp: -0 } });
    }
    const all = minutesOf(rollup.minutes());
    expect(all.map(({ entries }) => entries.length / ENTRY)).toEqual([2, 2, 2, 2, 2]);
    expect(minutesOf(tableOf(all))).toEqual(all);
    // The two channels of a minute stay together.
    for (const [size, pieces] of [
      [1, 5],
      [3, 5],
      [4, 3],
      [10, 1],
      [11, 1],
    ] as const) {
      const found = piecesOf(rollup.minutes(), size);
      expect(found.length).toBe(pieces);
      expect(found.flatMap(minutesOf)).toEqual(all);
    }
    expect(piecesOf(tableOf([])).flatMap(minutesOf)).toEqual([]);
    expect(piecesOf(tableOf([])).length).toBe(1);
  });
});

describe("steps", () => {
  it("say where nothing is, and where backfill is", () => {
    const steps = new Steps(0, 2 * MINUTE_MS, 10);
    const at = (minute: number, value: number, hist = false) =>
      steps.add(minute * MINUTE_MS, figuresOfSample(value, minute * MINUTE_MS + 1, hist));
    at(0, 1);
    at(1, 3);
    at(9, 5, true);
    at(40, 9);
    expect(steps.points()).toEqual({
      atMs: [0, 8 * MINUTE_MS],
      count: [2, 1],
      min: [1, 5],
      mean: [2, 5],
      max: [3, 5],
      last: [3, 5],
      backfilled: [1],
      gaps: [[2 * MINUTE_MS, 8 * MINUTE_MS]],
    });
  });

  it("are as fine as a number of points allows", () => {
    expect([stepFor(3_600_000, 60), stepFor(86_400_000, 500), stepFor(31_536_000_000, 1)]).toEqual([
      60_000, 300_000, 31_536_000_000,
    ]);
  });
});
