import { expect, test } from "vitest";
import { QuotaBucket } from "./quota.ts";

test("a minute's worth may be sent at once; what goes beyond is waited for at the quota's own speed", () => {
  const bucket = new QuotaBucket({ messagesPerMinute: 60, bytesPerMinute: Number.POSITIVE_INFINITY }, 0);
  bucket.take(60, 1e9, 0);
  expect(bucket.waitMs(0)).toBe(0);
  bucket.take(5, 1e9, 0);
  expect(bucket.waitMs(0)).toBe(5_000);
  expect(bucket.waitMs(4_000)).toBe(1_000);
  expect(bucket.waitMs(5_000)).toBe(0);
  bucket.take(1, 0, 5_000);
  expect(bucket.waitMs(5_000)).toBe(1_000);
});

test("silence saves up no more than a minute's worth, and the scarcer of messages and bytes counts", () => {
  const bucket = new QuotaBucket({ messagesPerMinute: 60, bytesPerMinute: 6_000 }, 0);
  bucket.take(1, 9_000, 3_600_000);
  expect(bucket.waitMs(3_600_000)).toBe(30_000);
  bucket.take(199, 0, 3_600_000);
  expect(bucket.waitMs(3_600_000)).toBe(140_000);
});

test("a clock that stands or goes back gives nothing", () => {
  const bucket = new QuotaBucket({ messagesPerMinute: 60, bytesPerMinute: 6_000 }, 1_000);
  bucket.take(61, 0, 1_000);
  expect(bucket.waitMs(500)).toBe(1_000);
});
