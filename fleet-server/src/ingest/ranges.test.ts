import fc from "fast-check";
import { expect, it } from "vitest";
import { add, missing, NOTHING, type Position, type Range } from "./ranges.ts";

const ranges = fc
  .tuple(fc.integer({ min: 1, max: 60 }), fc.nat(12))
  .map(([from, length]): Range => [from, from + length]);

function members(position: Position): Set<number> {
  const set = new Set<number>();
  for (let seq = 1; seq <= position.upTo; seq++) set.add(seq);
  for (const [from, to] of position.also) for (let seq = from; seq <= to; seq++) set.add(seq);
  return set;
}

it("holds exactly what was added, in the fewest ranges", () => {
  fc.assert(
    fc.property(fc.array(ranges, { maxLength: 20 }), (added) => {
      const model = new Set<number>();
      let position = NOTHING;
      for (const range of added) {
        for (let seq = range[0]; seq <= range[1]; seq++) model.add(seq);
        position = add(position, range);
        expect(members(position)).toEqual(model);
        let last = position.upTo;
        for (const [from, to] of position.also) {
          expect(from).toBeGreaterThan(last + 1);
          expect(to).toBeGreaterThanOrEqual(from);
          last = to;
        }
      }
    }),
  );
});

it("finds exactly what is missing of a range", () => {
  fc.assert(
    fc.property(fc.array(ranges, { maxLength: 12 }), ranges, (added, asked) => {
      const position = added.reduce(add, NOTHING);
      const there = members(position);
      const absent: number[] = [];
      for (let seq = asked[0]; seq <= asked[1]; seq++) if (!there.has(seq)) absent.push(seq);
      const found = missing(position, asked).flatMap(([from, to]) =>
        Array.from({ length: to - from + 1 }, (_, index) => from + index),
      );
      expect(found).toEqual(absent);
    }),
  );
});
