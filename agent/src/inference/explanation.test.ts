import { expect, test } from "vitest";
import { candidates, occluded, strongest, usualOf } from "./explanation.ts";

const names = ["a", "b", "c", "d"];
const reference = {
  features: { a: { median: 0, std: 1 }, b: { median: 10, std: 2 }, c: { median: 5, std: 0 } },
};
const usual = usualOf(reference, names);

test("a profile gives medians in the vector's order; unknown ones are left out", () => {
  expect(usual).toEqual([{ median: 0, std: 1 }, { median: 10, std: 2 }, { median: 5, std: 0 }, undefined]);
  expect(usualOf({ features: {} }, ["a", "toString"])).toEqual([undefined, undefined]);
});

test("the least usual features come first, those at their median or unknown not at all", () => {
  expect(candidates(Float64Array.of(1, 20, 5, 99), usual, 8)).toEqual([1, 0]);
  expect(candidates(Float64Array.of(1, Number.NaN, 6, 99), usual, 8)).toEqual([1, 0, 2]);
  expect(candidates(Float64Array.of(3, 20, 9, 99), usual, 2)).toEqual([1, 2]);
});

test("each occluded vector differs in one feature", () => {
  expect(occluded(Float64Array.of(1, 20, 7, 3), usual, [1, 0])).toEqual([
    Float64Array.of(1, 10, 7, 3),
    Float64Array.of(0, 20, 7, 3),
  ]);
});

test("contributions of a linear model are its weights times the distance from the median", () => {
  const weights = [2, -1, 0, 4];
  const predict = (x: Float64Array) => x.reduce((sum, xi, i) => sum + xi * weights[i]!, 0);
  const vector = Float64Array.of(1, 20, 7, 3);
  const features = candidates(vector, usual, 8);
  const values = occluded(vector, usual, features).map(predict);
  expect(strongest(predict(vector), names, features, values)).toEqual([
    { feature: "b", delta: -10 },
    { feature: "a", delta: 2 },
  ]);
});

test("a failed run contributes nothing", () => {
  expect(strongest(1, names, [0, 1], [undefined, Number.NaN])).toEqual([]);
});
