import { describe, expect, test } from "vitest";
import { COMMIT_MS_MAX, WearBudget } from "./wear.ts";

const HOUR_MS = 3_600_000;
const DAY_BYTES = 24_000_000;
const HOUR_BYTES = DAY_BYTES / 24;

/** Writes evenly for some hours, told every second; answers the commit times on the way, hour by hour. */
function write(budget: WearBudget, bytesPerHour: number, hours: number, fromMs = 0, fromBytes = 0): number[] {
  const seen: number[] = [];
  for (let second = 1; second <= hours * 3_600; second++) {
    budget.wrote(fromBytes + (second * bytesPerHour) / 3_600, fromMs + second * 1_000);
    if (second % 3_600 === 0) seen.push(budget.commitMs);
  }
  return seen;
}

describe("a budget of writing", () => {
  test("changes nothing for who stays within it", () => {
    const budget = new WearBudget(DAY_BYTES, 250, 0);
    expect(write(budget, HOUR_BYTES * 0.99, 48)).toEqual(Array(48).fill(250));
    expect(budget.isSpent).toBe(false);
  });

  test("puts commits further apart for who does not, up to ten seconds, and closer again within an hour or two", () => {
    const budget = new WearBudget(DAY_BYTES, 250, 0);
    const seen = write(budget, HOUR_BYTES * 1.4, 6);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect([seen[0], seen[2]]).toEqual([250, COMMIT_MS_MAX]);
    expect(budget.isSpent).toBe(true);
    const after = write(budget, 0, 3, 6 * HOUR_MS, HOUR_BYTES * 8.4);
    expect(after).toEqual([COMMIT_MS_MAX, 250, 250]);
  });

  test("counts the last 24 hours, from the first byte the process wrote", () => {
    const budget = new WearBudget(DAY_BYTES, 250, 0);
    budget.wrote(5_000, 1_000);
    budget.wrote(7_000, 2_000);
    expect(budget.day(2_000)).toEqual({ coversMs: 2_000, sums: { written: 7_000 } });
    budget.wrote(8_000, 30 * HOUR_MS);
    expect(budget.day(30 * HOUR_MS).sums).toEqual({ written: 1_000 });
  });
});
