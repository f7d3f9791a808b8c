import { expect, test } from "vitest";
import { performanceOf } from "./performance.ts";

const HOUR = 3_600_000;
const past = {
  asset: "a",
  timesMs: Float64Array.from({ length: 10 }, (_, i) => i * HOUR),
  failuresMs: Float64Array.of(6 * HOUR),
};
const says = (value: (row: number) => number, asset = "a") =>
  Array.from({ length: 10 }, (_, row) => ({ asset, atMs: row * HOUR, version: 1, value: value(row) }));

test("remaining life: predictions of the life that failed are judged, those after it wait", () => {
  // Truth, capped at 4 rows: 4 4 4 3 2 1 0, then nobody knows.
  const found = performanceOf(
    says(() => 3),
    [past],
    { kind: "rul", cap: 4 },
  );
  expect(found).toMatchObject({ n: 7, unmatured: 3, assets: 1, precision: null, recall: null });
  expect(found.rmse).toBeCloseTo(Math.sqrt((1 + 1 + 1 + 0 + 1 + 4 + 9) / 7), 12);
  expect(found.mae).toBeCloseTo((1 + 1 + 1 + 0 + 1 + 2 + 3) / 7, 12);
  expect(found.bias).toBeCloseTo((21 - 18) / 7, 12);
  expect(
    performanceOf(
      says((row) => Math.min(4, 6 - row)),
      [past],
      { kind: "rul", cap: 4 },
    ),
  ).toMatchObject({ rmse: 0, bias: 0 });
});

test("failure within a horizon: precision, recall, and the last rows wait until the horizon has passed", () => {
  const found = performanceOf(
    says((row) => (row >= 5 ? 0.9 : 0.1)),
    [past],
    { kind: "binary", horizonRows: 3 },
  );
  // Rows 4, 5, 6 were within three rows of the failure; of rows 7 to 9 only 7 is outside the next horizon.
  expect(found).toMatchObject({ n: 7, unmatured: 3, recall: 2 / 3, precision: 1 });
  expect(found.n + found.unmatured).toBe(10);
});

test("nothing known, or another asset's: nothing judged, and no figure is made up", () => {
  const none = { n: 0, unmatured: 10, assets: 0, rmse: null, mae: null, bias: null, rmseOfMean: null };
  expect(
    performanceOf(
      says(() => 1, "b"),
      [past],
      { kind: "rul", cap: 4 },
    ),
  ).toMatchObject(none);
  expect(
    performanceOf(
      says(() => 1),
      [{ ...past, failuresMs: new Float64Array() }],
      { kind: "rul", cap: 4 },
    ),
  ).toMatchObject(none);
});
