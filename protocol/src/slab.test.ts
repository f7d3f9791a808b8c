import { expect, it } from "vitest";
import { Slab } from "./slab.ts";

it("gives zeroed arrays that share no element, small and large, across blocks", () => {
  const slab = new Slab();
  const lengths = [3, 24, 1, 500, 9_000];
  const arrays = Array.from({ length: 500 }, (_, i) => {
    const length = lengths[i % lengths.length]!;
    const array = i % 3 === 0 ? slab.float32(length) : slab.float64(length);
    expect(array.length).toBe(length);
    expect(array.every((element) => element === 0)).toBe(true);
    return array.fill(i);
  });
  for (const [i, array] of arrays.entries()) expect(array.every((element) => element === i)).toBe(true);
});
