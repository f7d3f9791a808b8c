import fc from "fast-check";
import { expect, test } from "vitest";
import { unwrap } from "./result.ts";
import { COMMON_UNITS, conversionOf, convert, parseUnit } from "./units.ts";

test.each([
  [100, "Cel", "K", 373.15],
  [100, "Cel", "[degF]", 212],
  [-40, "[degF]", "Cel", -40],
  [25.4, "mm/s", "m/s", 0.0254],
  [1, "g", "m/s2", 9.80665],
  [1, "[psi]", "kPa", 6.894757293168361],
  [1, "bar", "kPa", 100],
  [3000, "rpm", "Hz", 50],
  [3000, "/min", "Hz", 50],
  [50, "Hz", "1/min", 3000],
  [50, "%", "1", 0.5],
  [1.5, "kW", "W", 1500],
  [36, "m3/h", "L/s", 10],
  [1, "kW.h", "J", 3.6e6],
  [4, "{row}", "1", 4],
  [2, "kBy", "By", 2000],
  [7, "N.m", "J", 7],
])("%f %s is %s %f", (value, from, to, expected) => {
  const got = unwrap(convert(value, from, to));
  expect(Math.abs(got - expected)).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(expected)));
});

test("the same unit costs no rounding", () => {
  for (const unit of COMMON_UNITS) expect(unwrap(conversionOf(unit, unit)).same).toBe(true);
  expect(unwrap(conversionOf("rpm", "/min")).same).toBe(true);
});

test.each(["", "m3/h", "/s", "mm/s", "um/s2", "{count}/min", "m-1"])("reads %j", (code) => {
  expect(parseUnit(code).ok).toBe(true);
});

test.each([
  ["celsius", "UNIT_UNKNOWN"],
  ["Cel/min", "UNIT_UNKNOWN"],
  ["kCel", "UNIT_UNKNOWN"],
  ["mm//s", "UNIT_UNKNOWN"],
  [".m", "UNIT_UNKNOWN"],
  ["m.", "UNIT_UNKNOWN"],
  ["m s", "UNIT_UNKNOWN"],
  ["constructor", "UNIT_UNKNOWN"],
  ["__proto__", "UNIT_UNKNOWN"],
  ["m".repeat(10_000), "UNIT_UNKNOWN"],
])("refuses %j", (code, expected) => {
  const unit = parseUnit(code);
  expect(unit.ok ? "ok" : unit.error.code).toBe(expected);
});

test("says what was meant, and that different things do not convert", () => {
  const unknown = parseUnit("mm/sec");
  expect(unknown.ok ? "" : unknown.error.message).toContain('did you mean "mm/s"?');
  const mismatch = conversionOf("bar", "Cel");
  expect(mismatch.ok ? "" : mismatch.error.code).toBe("UNIT_MISMATCH");
});

test("any two units convert there and back, or say that they do not", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...COMMON_UNITS),
      fc.constantFrom(...COMMON_UNITS),
      fc.double({ min: -1e6, max: 1e6, noNaN: true }),
      (from, to, value) => {
        const there = convert(value, from, to);
        if (!there.ok) {
          expect(there.error.code).toBe("UNIT_MISMATCH");
          expect(convert(value, to, from).ok).toBe(false);
          return;
        }
        const back = unwrap(convert(there.value, to, from));
        expect(Math.abs(back - value)).toBeLessThanOrEqual(1e-7 * Math.max(1, Math.abs(value)));
      },
    ),
  );
});

test("no text makes the parser throw", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(..."mskgCelHz./-+1230{}[]%") })), (code) => {
      const unit = parseUnit(code);
      if (unit.ok) expect(Number.isFinite(unit.value.scale) && unit.value.scale > 0).toBe(true);
    }),
    { numRuns: 3_000 },
  );
});
