import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeBatch, encodeBatch, inflateBatch } from "./batch.ts";
import type { BucketFigures, DownsampledRow, StreamBatch } from "./messages/stream.ts";
import { unwrap } from "./result.ts";

const clock = { bootId: "boot-1", monoMs: 12.5, wallMs: 1_790_000_000_000, clockSynced: true };
const COUNT = 5_000;

function gapWith(downsampled: readonly DownsampledRow[], reason = "downsampled"): StreamBatch<"telemetry"> {
  const gap = { count: COUNT, reason: reason as "downsampled" };
  return {
    ...{ v: 1, epoch: "0123456789abcdef", fromSeq: 41, hist: true, clock },
    ...{ stream: "telemetry", records: [], gap, downsampled },
  };
}

const double = fc.double({ noNaN: true, noDefaultInfinity: true });
const figures: fc.Arbitrary<BucketFigures> = fc
  .record({ count: fc.integer({ min: 1, max: COUNT }), values: fc.tuple(double, double, double), pick: fc.nat(2) })
  .map(({ count, values, pick }) => {
    const [min, mean, max] = values.toSorted((a, b) => a - b) as [number, number, number];
    return { count, min, mean, max, last: [min, mean, max][pick] as number };
  });
const row: fc.Arbitrary<DownsampledRow> = fc.record(
  {
    asset: fc.constantFrom("pump-1", "pump-2", "toString"),
    observedAtMs: fc.integer({ min: 0, max: 8.64e15 }),
    figures: fc.dictionary(fc.constantFrom("vib", "temp", "constructor", "free"), figures, { noNullPrototype: true }),
  },
  { noNullPrototype: true },
);

describe("downsampled telemetry", () => {
  test("figures come back exactly, whatever the assets, channels and resolutions", () => {
    fc.assert(
      fc.property(
        fc.array(row, { minLength: 1, maxLength: 30 }),
        fc.option(fc.constantFrom(0.5, 1, 0.01)),
        (rows, step) => {
          const batch = gapWith(rows);
          const bytes = encodeBatch(batch, () => step ?? undefined);
          expect(isDeepStrictEqual(unwrap(decodeBatch("telemetry", bytes)), batch)).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });

  const sound = { count: 3, min: 1, mean: 2, max: 4, last: 4 };
  const of = (one: Partial<BucketFigures>, more = {}): DownsampledRow => ({
    ...{ asset: "pump-1", observedAtMs: 1, figures: { vib: { ...sound, ...one }, ...more } },
  });
  test.each([
    ["a count of nothing", gapWith([of({ count: 0 })])],
    ["half a value", gapWith([of({ count: 1.5 })])],
    ["more values than records", gapWith([of({ count: COUNT + 1 })])],
    ["a mean below the least", gapWith([of({ mean: 0.5 })])],
    ["a mean above the greatest", gapWith([of({ mean: 5 })])],
    ["a last value above the greatest", gapWith([of({ last: 5 })])],
    ["figures of records that were evicted", gapWith([of({})], "evicted")],
    [
      "figures beside records",
      { ...gapWith([of({})]), gap: undefined, records: [{ asset: "a", observedAtMs: 1, values: {} }] },
    ],
  ])("%s is refused", (_, batch) => {
    const bytes = encodeBatch(batch as StreamBatch);
    expect(decodeBatch("telemetry", bytes)).toMatchObject({ ok: false, error: { code: "BATCH_INCONSISTENT" } });
  });

  test.each<[string, (columns: Record<string, { groups: Record<string, unknown>[] }>) => void]>([
    ["a figure of fewer rows", ({ max }) => Object.assign(max!, { groups: [] })],
    ["a figure of another asset", ({ min }) => Object.assign(min!.groups[0]!, { asset: "pump-2" })],
    ["a figure of another time", ({ min }) => Object.assign(min!.groups[0]!, { t0: 2 })],
    [
      "a figure of another channel",
      ({ last }) => Object.assign((last!.groups[0]!["channels"] as object[])[0]!, { channel: "x" }),
    ],
    ["a figure of no channel", ({ last }) => Object.assign(last!.groups[0]!, { channels: [] })],
    [
      "a figure that is null",
      ({ last }) => Object.assign((last!.groups[0]!["channels"] as object[])[0]!, { values: [null] }),
    ],
    ["a figure that is left out", (columns) => delete columns["mean"]],
  ])("%s is refused", (_, change) => {
    const json = JSON.parse(unwrap(inflateBatch("telemetry", encodeBatch(gapWith([of({})])))).toString("utf8"));
    change(json.downsampled);
    const answer = decodeBatch("telemetry", Buffer.from(JSON.stringify(json)));
    expect(answer).toMatchObject({
      ok: false,
      error: { code: expect.stringMatching(/^(BATCH_INCONSISTENT|INVALID_SHAPE)$/) },
    });
  });
});
