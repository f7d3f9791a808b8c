import fc from "fast-check";
import { expect, test } from "vitest";
import { parseIsoMs } from "./time.ts";

test.each([
  ["2026-01-01T00:00:00Z", Date.UTC(2026, 0, 1)],
  ["2026-01-01T02:00:00+02:00", Date.UTC(2026, 0, 1)],
  ["2026-01-01 00:00:00.1234Z", Date.UTC(2026, 0, 1) + 123],
  ["2025-12-31T19:00-0500", Date.UTC(2026, 0, 1)],
  ["2026-01-01T00:00:00", undefined],
  ["2026-06-31T00:00:00Z", undefined],
  ["2026-01-01T24:00:00Z", undefined],
  ["2026-01-01T00:00:00+99:00", undefined],
  ["yesterday", undefined],
  ["", undefined],
])("%s", (text, expected) => {
  expect(parseIsoMs(text)).toBe(expected);
});

test("a time without a zone is taken where it is told", () => {
  expect(parseIsoMs("2026-01-01T02:00:00", 120)).toBe(Date.UTC(2026, 0, 1));
  expect(parseIsoMs("2026-01-01", 0)).toBe(Date.UTC(2026, 0, 1));
});

test("every instant survives its own text", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4e12 }), (ms) => {
      expect(parseIsoMs(new Date(ms).toISOString())).toBe(ms);
    }),
  );
});
