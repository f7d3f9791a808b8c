import { expect, test } from "vitest";
import { standing, twoSidedP } from "./statistics.ts";

test.each([
  // Tables of Student's t: the point that leaves 5 % (or 0.1 %) outside.
  [12.7062, 1, 0.05],
  [2.2281, 10, 0.05],
  [4.5869, 10, 0.001],
  [1.96, 1e6, 0.05],
  [-2.2281, 10, 0.05],
  [0, 5, 1],
])("t = %f with %i degrees of freedom leaves %f outside", (t, freedom, p) => {
  expect(twoSidedP(t, freedom)).toBeCloseTo(p, 4);
});

test("a statistic beyond all bounds leaves nothing, and none leaves everything", () => {
  expect(twoSidedP(Number.POSITIVE_INFINITY, 3)).toBe(0);
  expect(twoSidedP(Number.NaN, 3)).toBe(1);
  expect(twoSidedP(60, 10)).toBeLessThan(1e-12);
});

test("the worked example of Benjamini and Hochberg (1995): four of fifteen at 0.05", () => {
  const p = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528, 0.759, 1,
  ];
  const order = p.map((_, i) => (i * 7) % 15);
  const found = standing(
    order.map((i) => p[i]!),
    0.05,
  );
  expect(order.filter((_, i) => found[i]).toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3]);
  expect(standing([Number.NaN, 0.5], 0.05)).toEqual([false, false]);
  expect(standing([], 0.05)).toEqual([]);
});
