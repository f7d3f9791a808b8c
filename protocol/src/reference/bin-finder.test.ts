import fc from "fast-check";
import { expect, it } from "vitest";
import { BinFinder } from "./bin-finder.ts";
import { binOf } from "./profile.ts";

const double = fc.double({ noNaN: true, noDefaultInfinity: true });
const edges = fc.oneof(
  fc.uniqueArray(double, { maxLength: 31 }),
  fc.uniqueArray(
    fc.integer({ min: -40, max: 40 }).map((value) => value / 8),
    { maxLength: 31 },
  ),
  // Edges so far apart that their distance is no double, and so close that nearly all lie in one cell.
  fc.constantFrom([-1.7e308, 0, 1.7e308], [1, 1 + Number.EPSILON, 1e300], [0, 5e-324, 1e-323]),
);

it("finds the bin that a search finds, for every double and its neighbours at the edges", () => {
  const features = fc.array(edges, { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(features, fc.array(double), (drawn, values) => {
      const rising = drawn.map((own) => own.map((edge) => edge + 0).toSorted((a, b) => a - b));
      const finder = new BinFinder(rising);
      for (const [feature, own] of rising.entries()) {
        const near = own.flatMap((edge) => [edge, edge * (1 + Number.EPSILON), edge * (1 - Number.EPSILON), -edge]);
        for (const value of [...values, ...near, 0, -0]) {
          if (Number.isFinite(value)) expect(finder.of(feature, value)).toBe(binOf(own, value));
        }
      }
    }),
  );
});
