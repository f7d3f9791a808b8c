import { describe, expect, it } from "vitest";
import { compareRows, errorsAtEqualLife, errorsOf, type Row } from "./checker.ts";

const row = (index: number, value: number | null = index): Row => ({
  asset: "pump-1",
  observedAtMs: index * 1000,
  values: { a: value, b: -index },
});
const made = [0, 1, 2, 3].map((index) => row(index));

describe("the demo's checker", () => {
  it("finds nothing wrong with what is equal, in any order", () => {
    expect(compareRows(made, [...made].reverse())).toEqual({
      produced: 8,
      committed: 8,
      lost: 0,
      duplicated: 0,
      examples: [],
    });
  });

  it.each([
    ["a row is missing", made.slice(1), { committed: 6, lost: 2, duplicated: 0 }],
    ["a row came twice", [...made, row(2)], { committed: 8, lost: 0, duplicated: 2 }],
    [
      "a value differs in its last bit",
      [...made.slice(0, 3), row(3, 3 + Number.EPSILON * 2)],
      { committed: 7, lost: 1, duplicated: 0 },
    ],
    [
      "a failed read became a value",
      made,
      { committed: 7, lost: 1, duplicated: 0 },
      [...made.slice(0, 3), row(3, null)],
    ],
    ["a row was never made", [...made, row(9)], { committed: 8, lost: 0, duplicated: 2 }],
  ])("sees that %s", (_, exported, counts, expected: Row[] = made) => {
    const count = compareRows(expected, exported);
    expect(count).toMatchObject(counts);
    expect(count.examples.length).toBeGreaterThan(0);
  });

  it("counts errors against truth and against the mean", () => {
    const pairs = [
      { value: 3, truth: 0 },
      { value: 10, truth: 14 },
    ];
    expect(errorsOf(pairs, 7)).toEqual({ rmse: Math.sqrt(12.5), rmseMean: 7 });
  });

  it("compares models that served one after the other at equal life, asset by asset", () => {
    const of = (asset: string, truth: number, error: number) => ({ asset, truth, value: truth + error });
    // In the middle of a life both are worse; the later one is half as wrong everywhere, and saw only the middle.
    const earlier = [of("a", 10, 2), of("a", 20, -2), of("a", 60, 20), of("b", 60, 40)];
    expect(errorsAtEqualLife(earlier, [of("a", 70, 10), of("a", 55, -10)])).toEqual({ before: 20, after: 10, rows: 2 });
    expect(errorsAtEqualLife(earlier, [of("a", 1, 1), of("b", 74, -20)])).toEqual({
      before: Math.sqrt((4 + 1600) / 2),
      after: Math.sqrt((1 + 400) / 2),
      rows: 2,
    });
    expect(errorsAtEqualLife(earlier, [of("b", 5, 99), of("a", 50, 3)])).toEqual({ before: 20, after: 3, rows: 1 });
  });
});
