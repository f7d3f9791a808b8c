import fc from "fast-check";
import { expect, test } from "vitest";
import { unwrap } from "../result.ts";
import { binOf, PROFILE_BINS, parseReference, referenceBytes, referenceProfile, valueProfile } from "./profile.ts";

test("many different values fill 32 bins equally", () => {
  const values = Float64Array.from({ length: 3_200 }, (_, i) => ((i * 7919) % 3_200) / 10);
  const profile = valueProfile(values)!;
  expect(profile.counts).toEqual(new Array(PROFILE_BINS).fill(100));
  expect(profile).toMatchObject({ n: 3_200, missing: 0, min: 0, max: 319.9 });
  expect(profile.mean).toBeCloseTo(159.95, 9);
  expect(profile.median).toBeCloseTo(159.95, 9);
  expect(profile.std).toBeCloseTo(Math.sqrt((3_200 * 3_201) / 12) / 10, 6);
});

test("a switch makes two bins, a constant one, nothing none", () => {
  expect(valueProfile(Float64Array.of(0, 0, 0, 1))).toMatchObject({ edges: [0], counts: [3, 1], median: 0 });
  expect(valueProfile(Float64Array.of(5, 5))).toMatchObject({ edges: [], counts: [2], std: 0 });
  expect(valueProfile(Float64Array.of(Number.NaN))).toBeUndefined();
});

test("a profile has one count per bin, n in all, and comes back from its file, for any values", () => {
  const values = fc.array(fc.double(), { maxLength: 200 });
  fc.assert(
    fc.property(values, (column) => {
      const vectors = column.map((value) => Float64Array.of(value));
      const profile = referenceProfile(["__proto__"], vectors, column);
      const parsed = unwrap(parseReference(referenceBytes(profile)));
      expect(parsed.score).toEqual(profile.score);
      const { score } = parsed;
      expect(score === undefined).toBe(!column.some(Number.isFinite));
      if (score === undefined) return;
      expect(score.n + score.missing).toBe(column.length);
      expect(score.min <= score.median && score.median <= score.max).toBe(true);
      const counts = score.counts.map(() => 0);
      for (const value of column) if (Number.isFinite(value)) counts[binOf(score.edges, value)]! += 1;
      expect(counts).toEqual(score.counts);
    }),
  );
});

test("edges that fall and counts that do not fit are refused", () => {
  const profile = valueProfile(Float64Array.of(1, 2, 3, 4))!;
  const code = (change: object) => {
    const parsed = parseReference(Buffer.from(JSON.stringify({ v: 1, features: { f: { ...profile, ...change } } })));
    return parsed.ok ? undefined : parsed.error.code;
  };
  expect(code({})).toBeUndefined();
  expect(code({ edges: profile.edges.toReversed() })).toBe("REFERENCE_WRONG");
  expect(code({ counts: [4] })).toBe("REFERENCE_WRONG");
  expect(code({ n: 5 })).toBe("REFERENCE_WRONG");
  expect(code({ std: -1 })).toBe("INVALID_SHAPE");
});
