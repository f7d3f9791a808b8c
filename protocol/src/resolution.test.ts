import fc from "fast-check";
import { expect, test } from "vitest";
import { roundToResolution, stepsOf, valueOfSteps } from "./resolution.ts";

const resolution = fc.oneof(
  fc.constantFrom(1, 0.1, 0.01, 0.001, 1e-4, 1e-6, 0.5, 0.25, 0.2, 0.02, 5, 10, 1 / 3, 1 / 4096, 0.7),
  fc.double({ min: 1e-9, max: 1e6, noNaN: true }),
);

test("every step count survives the way to a double and back", () => {
  fc.assert(
    fc.property(resolution, fc.integer({ min: -(2 ** 51), max: 2 ** 51 }), (r, steps) => {
      const value = valueOfSteps(steps, r);
      expect(stepsOf(value, r)).toBe(steps);
      expect(valueOfSteps(stepsOf(value, r)!, r)).toBe(value);
    }),
    { numRuns: 2_000 },
  );
});

test("rounding is idempotent and never farther than half a step", () => {
  fc.assert(
    fc.property(resolution, fc.double({ min: -1e9, max: 1e9, noNaN: true }), (r, value) => {
      const once = roundToResolution(value, r);
      expect(roundToResolution(once, r)).toBe(once);
      expect(Math.abs(once - value)).toBeLessThanOrEqual(r * 0.5 * (1 + 1e-6) + Math.abs(value) * 1e-15);
    }),
    { numRuns: 2_000 },
  );
});

test("decimal resolutions give the shortest decimal", () => {
  expect(roundToResolution(1.23449, 0.001)).toBe(1.234);
  expect(roundToResolution(0.30000000000000004, 0.1)).toBe(0.3);
  expect(String(roundToResolution(641.8200000001, 0.01))).toBe("641.82");
  expect(roundToResolution(1487, 10)).toBe(1490);
});

test("zero has one sign, and what has no place on the grid stays as it is", () => {
  expect(Object.is(roundToResolution(-0.0001, 0.001), 0)).toBe(true);
  expect(stepsOf(Number.NaN, 0.1)).toBeUndefined();
  expect(stepsOf(Number.POSITIVE_INFINITY, 0.1)).toBeUndefined();
  expect(stepsOf(1e300, 0.001)).toBeUndefined();
  expect(roundToResolution(1e300, 0.001)).toBe(1e300);
});
