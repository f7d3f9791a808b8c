import { rmSync } from "node:fs";
import { expect, it, onTestFinished } from "vitest";
import { memoryFolder } from "./disk.ts";
import { type OfflinePlan, stayOffline } from "./offline.ts";

/**
 * 72 hours without a line, by a clock that is set. By default a row in two seconds on a small budget;
 * BELLWETHER_CAMPAIGN=full takes 100 rows a second (25.9 million) on the budget of the default configuration, committed
 * every second.
 */
const PLAN: OfflinePlan =
  process.env["BELLWETHER_CAMPAIGN"] === "full"
    ? { hours: 72, rowsPerSecond: 100, maxBytes: 256 * 1_048_576, maxAgeHours: 90 * 24, commitMs: 1_000 }
    : { hours: 72, rowsPerSecond: 0.5, maxBytes: 1_572_864, maxAgeHours: 90 * 24, commitMs: 120_000 };

async function stay(plan: OfflinePlan) {
  const folder = memoryFolder();
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return await stayOffline(folder, plan);
}

it("stays within its disk for 72 hours offline, and tells exactly what gave way", { timeout: 3_600_000 }, async () => {
  const startMs = performance.now();
  const { rows, commits, mostBytes, delivered, downsampled, evicted, expired, counted } = await stay(PLAN);
  const seconds = Math.round((performance.now() - startMs) / 1_000);
  console.log(
    `${rows} rows in ${commits} commits, ${delivered} kept, ${downsampled} as figures, ${evicted} evicted; at most ${mostBytes} of ${PLAN.maxBytes} bytes; ${seconds} s`,
  );
  expect(rows).toBe(PLAN.hours * 3_600 * PLAN.rowsPerSecond);
  expect(delivered + downsampled + evicted).toBe(rows);
  expect(expired).toBe(0);
  // Most of what does not fit is left as figures, and the newest rows as they were.
  expect(downsampled).toBeGreaterThan(evicted);
  expect(delivered).toBeGreaterThan(rows / 50);
  expect(counted.evictedRecords).toBe(evicted);
  // The budget is there to be used, and rows gave way only because it was.
  expect(mostBytes).toBeGreaterThan(PLAN.maxBytes / 2);
});

it("keeps nothing over its age limit, and tells exactly what left", async () => {
  const plan = { hours: 72, rowsPerSecond: 0.1, maxBytes: 64 * 1_048_576, maxAgeHours: 24, commitMs: 300_000 };
  const { rows, delivered, evicted, expired, expiredEvents, counted } = await stay(plan);
  expect(delivered + expired).toBe(rows);
  expect(evicted).toBe(0);
  expect(counted.evictedRecords).toBe(expired + expiredEvents);
  // A day's rows, and at most a thirty-second part more.
  const dayRows = 86_400 * plan.rowsPerSecond;
  expect(delivered).toBeGreaterThanOrEqual(dayRows);
  expect(delivered).toBeLessThanOrEqual(dayRows * (1 + 1 / 32) + (plan.commitMs / 1_000) * plan.rowsPerSecond);
});
