import fc from "fast-check";
import { expect, test } from "vitest";
import { LatencyHistogram } from "./latency.ts";

test("an empty histogram has no latency", () => {
  expect(new LatencyHistogram().quantileUs(0.99)).toBe(0);
});

test("a quantile is at most 9.1 % above the true one and never below it", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 1, max: 6e7, noNaN: true }), { minLength: 1, maxLength: 300 }),
      (durations) => {
        const histogram = new LatencyHistogram();
        for (const duration of durations) histogram.add(duration);
        const sorted = durations.toSorted((a, b) => a - b);
        for (const fraction of [0.5, 0.95, 0.99, 1]) {
          const exact = sorted[Math.ceil(fraction * sorted.length) - 1]!;
          const estimate = histogram.quantileUs(fraction);
          expect(estimate).toBeGreaterThanOrEqual(exact * 0.999_999);
          expect(estimate).toBeLessThanOrEqual(exact * 1.091);
        }
      },
    ),
  );
});

test("what lasts longer than a minute stays in the last bin", () => {
  const histogram = new LatencyHistogram();
  histogram.add(1e12);
  expect(histogram.quantileUs(0.99)).toBeGreaterThan(6e7);
});
