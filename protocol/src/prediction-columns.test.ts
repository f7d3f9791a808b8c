import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeBatch, encodeBatch } from "./batch.ts";
import type { InferenceRecord, StreamBatch } from "./messages/stream.ts";
import { columnsOfPredictions, predictionsOfColumns } from "./prediction-columns.ts";
import { unwrap } from "./result.ts";

const clock = { bootId: "boot-1", monoMs: 12.5, wallMs: 1_790_000_000_000, clockSynced: true };
const envelope = { v: 1, epoch: "0123456789abcdef", fromSeq: 41, hist: false, clock } as const;
const digestOf = (letter: string) => `sha256:${letter.repeat(64)}`;

// JSON has no negative zero, and predictions never had one on the wire.
const double = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0);
const count = fc.nat(100);
const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const record: fc.Arbitrary<InferenceRecord> = fc
  .record({
    asset: fc.constantFrom("pump-1", "pump-2", "hasOwnProperty"),
    observedAtMs: fc.oneof(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 8.64e15 })),
    model: fc.constantFrom("rul", "toString"),
    version: fc.integer({ min: 1, max: 3 }),
    digest: fc.constantFrom(digestOf("a"), digestOf("b")),
    value: optional(double),
    outputs: optional(
      fc.oneof(
        fc.dictionary(fc.constantFrom("rul", "valueOf", "spread"), double),
        fc.dictionary(fc.constantFrom("class", "rul"), fc.oneof(double, fc.constant("worn"), fc.constant(true))),
        fc.constant({ probabilities: [0.25, 0.75] }),
      ),
    ),
    error: optional(fc.constant("INFERENCE_FAILED")),
    latencyUs: optional(fc.nat(1e6)),
    alert: optional(fc.boolean()),
    explanation: optional(fc.array(fc.record({ feature: fc.constant("vib.rms"), delta: double }), { maxLength: 3 })),
    quality: optional(fc.record({ expected: count, received: count, late: count, missing: count })),
    predecessor: optional(fc.record({ digest: fc.constant(digestOf("c")), value: double })),
    ofALaterVersion: optional(fc.constantFrom<unknown>(null, 1, "x", { nested: [1] })),
  })
  .map((members) => JSON.parse(JSON.stringify(members)) as InferenceRecord);
const batchOf = (records: readonly InferenceRecord[]): StreamBatch<"inference"> => ({
  ...envelope,
  stream: "inference",
  records,
});

const plain = (row: number, value: number): InferenceRecord => ({
  asset: "pump-1",
  observedAtMs: 1_000 + 500 * row,
  model: "rul",
  version: 2,
  digest: digestOf("a"),
  value,
  outputs: { rul: value, spread: 3 },
  latencyUs: 40,
  alert: row === 1,
  quality: { expected: 1, received: 1, late: 0, missing: 0 },
});

describe("predictions in columns", () => {
  test("come back exactly, in their order, whatever members they have", () => {
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 40 }), (records) => {
        expect(unwrap(decodeBatch("inference", encodeBatch(batchOf(records))))).toStrictEqual(batchOf(records));
      }),
      { numRuns: 1_000 },
    );
  });

  test("name once what all have, and the value once", () => {
    const explained = { ...plain(2, 7), explanation: [{ feature: "vib.rms", delta: 0.5 }] };
    expect(columnsOfPredictions([plain(0, 9), plain(1, 8.5), explained])).toEqual({
      groups: [
        {
          asset: "pump-1",
          model: "rul",
          version: 2,
          digest: digestOf("a"),
          t0: 1_000,
          dt: [500, 500],
          value: [9, 8.5, 7],
          latencyUs: [40, 40, 40],
          alert: [1],
          outputs: { spread: [3, 3, 3] },
          primary: "rul",
          quality: { expected: 1, received: 1, late: 0, missing: 0 },
          moreAt: [2],
          more: [{ explanation: explained.explanation }],
        },
      ],
    });
  });

  test.each([
    ["a column that is too short", { value: [1] }, "/groups/0/value"],
    ["an output that is too long", { outputs: { spread: [1, 2, 3, 4] } }, "/groups/0/outputs/spread"],
    ["counts for fewer rows", { quality: { expected: [1], received: 1, late: 0, missing: 0 } }, "/groups/0/expected"],
    ["an alert of no row", { alert: [3] }, "/groups/0/alert"],
    ["a time beyond the calendar", { dt: [1, 8.7e15] }, "/groups/0/dt"],
    ["a primary output that has a column", { primary: "spread" }, "/groups/0/primary"],
    ["a primary output without a value", { value: undefined }, "/groups/0/primary"],
    ["more members than rows that have them", { moreAt: [] }, "/groups/0/more"],
    ["more members of no row", { moreAt: [3] }, "/groups/0/moreAt"],
    ["rows that do not ascend", { moreAt: [1, 1], more: [{}, {}] }, "/groups/0/moreAt"],
    ["a member twice", { more: [{ value: 2 }] }, "/groups/0/more/0"],
    ["an asset of its own", { more: [{ asset: "pump-2" }] }, "/groups/0/more/0"],
  ])("%s is a fault with its path", (_, change, path) => {
    const { groups } = columnsOfPredictions([plain(0, 9), plain(1, 8), { ...plain(2, 7), explanation: [] }]);
    expect(Array.isArray(predictionsOfColumns({ groups }))).toBe(true);
    expect(predictionsOfColumns({ groups: [{ ...groups[0]!, ...change }] as typeof groups })).toMatchObject({ path });
  });
});
