import fc from "fast-check";
import { expect, test } from "vitest";
import { PUMP_NAMES, pumpLife, pumpReference } from "../../../test/kit/drift.ts";
import type { DriftSketch } from "../messages/drift.ts";
import { seededRandom } from "../random.ts";
import { WindowFold } from "./fold.ts";
import { emptySketch, fitsReference, mergeSketches } from "./merge.ts";

const reference = pumpReference();

const sketches: DriftSketch[] = (() => {
  const fold = new WindowFold(reference, PUMP_NAMES);
  const { vectors, scores } = pumpLife(seededRandom(1, 1), 400);
  const made: DriftSketch[] = [];
  for (const [i, vector] of vectors.entries()) {
    fold.add(vector, scores[i]!);
    // Windows of different lengths, some of one regime only.
    if (i % 7 !== 0 && fold.vectors < 5) continue;
    const { score: _, ...sketch } = fold.close();
    made.push(sketch);
  }
  return made;
})();
const whole = sketches.reduce(mergeSketches, emptySketch(reference));

test("any order and any grouping of windows merge to exactly the same", () => {
  const order = fc.shuffledSubarray([...sketches.keys()], { minLength: sketches.length });
  fc.assert(
    fc.property(order, fc.integer({ min: 1, max: sketches.length - 1 }), (places, cut) => {
      const parts = [places.slice(0, cut), places.slice(cut)].map((part) =>
        part.map((place) => sketches[place]!).reduce(mergeSketches, emptySketch(reference)),
      );
      expect(mergeSketches(parts[0]!, parts[1]!)).toEqual(whole);
    }),
  );
  expect(whole.n).toEqual([400, 400, 400]);
  const counted = whole.bins.flatMap(({ counts }) => counts[1]!).reduce((sum, count) => sum + count, 0);
  expect(counted).toBe(400);
});

test("a sketch fits the reference it was made with, and no other", () => {
  expect(fitsReference(whole, reference).ok).toBe(true);
  const [first] = whole.bins;
  const others: DriftSketch[] = [
    { ...whole, n: whole.n.slice(1) },
    { ...whole, sumSq: [...whole.sumSq, 1] },
    { ...whole, bins: [{ ...first!, regime: 2 }] },
    { ...whole, bins: [{ ...first!, counts: first!.counts.slice(1) }] },
    { ...whole, bins: [{ ...first!, counts: first!.counts.map((counts) => counts.slice(1)) }] },
  ];
  for (const other of others) {
    expect(fitsReference(other, reference)).toMatchObject({ ok: false, error: { code: "DRIFT_EDGES_DIFFER" } });
  }
});
