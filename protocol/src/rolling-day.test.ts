import fc from "fast-check";
import { expect, test } from "vitest";
import { RollingDay } from "./rolling-day.ts";

const HOUR_MS = 3_600_000;

test("sums what came in the last 24 hours, to the share of an hour", () => {
  const step = fc.record({
    passedMs: fc.integer({ min: 0, max: 5 * HOUR_MS }),
    name: fc.constantFrom("a", "b"),
    amount: fc.nat(1_000_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.nat(1e9), (steps, beganMs) => {
      let day = new RollingDay<"a" | "b">(beganMs);
      let nowMs = beganMs;
      const all: { atMs: number; name: string; amount: number }[] = [];
      for (const { passedMs, name, amount } of steps) {
        nowMs += passedMs;
        day.add(name as "a", amount, nowMs);
        all.push({ atMs: nowMs, name, amount });
        day = new RollingDay(beganMs, JSON.parse(JSON.stringify(day.hours)));
        const { sums, coversMs } = day.day(nowMs);
        expect(coversMs).toBe(Math.min(24 * HOUR_MS, nowMs - beganMs));
        for (const one of ["a", "b"] as const) {
          const within = (ms: number) =>
            all.reduce((sum, { atMs, ...it }) => sum + (it.name === one && atMs > nowMs - ms ? it.amount : 0), 0);
          expect(sums[one] ?? 0).toBeGreaterThanOrEqual(within(23 * HOUR_MS));
          expect(sums[one] ?? 0).toBeLessThanOrEqual(within(25 * HOUR_MS));
        }
      }
      expect(day.hours.length).toBeLessThanOrEqual(25);
    }),
  );
});

test("of the hour that leaves the day, the rest counts as if it had come evenly", () => {
  const day = new RollingDay<"a">(0);
  day.add("a", 1_000, 0.5 * HOUR_MS);
  expect(day.day(24 * HOUR_MS).sums).toEqual({ a: 1_000 });
  expect(day.day(24.25 * HOUR_MS).sums).toEqual({ a: 750 });
  expect(day.day(25 * HOUR_MS).sums).toEqual({});
});
