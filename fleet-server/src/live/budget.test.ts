import { expect, it } from "vitest";
import { FeedBudget } from "./budget.ts";

it("feeds everything while few messages come, whatever it costs", () => {
  const budget = new FeedBudget();
  for (let nowMs = 0; nowMs < 10_000; nowMs += 10) {
    expect(budget.every(255, nowMs)).toBe(1);
    budget.spent(255, 9_000);
  }
});

it("takes a small share of the time while ingest is busy, and no more when messages become dearer", () => {
  for (const usEach of [5, 50, 500]) {
    const budget = new FeedBudget();
    let spentUs = 0;
    for (let nowMs = 0; nowMs < 20_000; nowMs += 20) {
      const every = budget.every(1_000, nowMs);
      const fed = every === 0 ? 0 : Math.ceil(1_000 / every);
      budget.spent(fed, fed * usEach);
      if (nowMs >= 10_000) spentUs += fed * usEach;
    }
    // Three two-hundredths of ten seconds, and at most one message of each group more.
    expect(spentUs).toBeGreaterThan(0.01 * 10_000_000);
    expect(spentUs).toBeLessThan(0.02 * 10_000_000);
  }
});

it("tells everything again as soon as ingest is less busy", () => {
  const budget = new FeedBudget();
  budget.every(1_000, 0);
  budget.spent(1_000, 1_000_000);
  expect(budget.every(1_000, 20)).toBe(0);
  expect(budget.every(200, 40)).toBe(1);
});
