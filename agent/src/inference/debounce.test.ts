import fc from "fast-check";
import { expect, test } from "vitest";
import { createDebounce } from "./debounce.ts";

const above = (k: number, n: number) => createDebounce({ direction: "above", threshold: 10, k, n });

test.each([
  { name: "one crossing of three is noise", k: 2, n: 3, values: [11, 1, 1, 1], ends: [false, false, false, false] },
  { name: "two of three raise", k: 2, n: 3, values: [11, 1, 11], ends: [false, false, true] },
  {
    name: "it clears when they leave the last n",
    k: 2,
    n: 3,
    values: [11, 11, 1, 1],
    ends: [false, true, true, false],
  },
  { name: "the threshold itself does not cross", k: 1, n: 1, values: [10, 10.001], ends: [false, true] },
  {
    name: "a failed inference keeps it standing",
    k: 1,
    n: 2,
    values: [11, undefined, undefined, undefined],
    ends: [true, true, true, true],
  },
])("$name", ({ k, n, values, ends }) => {
  const debounce = above(k, n);
  expect(values.map((value) => debounce.next(value).active)).toEqual(ends);
});

test("below looks the other way", () => {
  const debounce = createDebounce({ direction: "below", threshold: 30, k: 1, n: 1 });
  expect([31, 29, 29, 40].map((value) => debounce.next(value).active)).toEqual([false, true, true, false]);
});

test("it is settled once it has seen n outputs, failures not counted", () => {
  const debounce = above(1, 3);
  expect([1, undefined, 1, 1, undefined].map((value) => debounce.next(value).settled)).toEqual([
    false,
    false,
    false,
    true,
    true,
  ]);
});

test("it equals counting the last n by hand", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }).chain((n) => fc.tuple(fc.integer({ min: 1, max: n }), fc.constant(n))),
      fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 60 }),
      ([k, n], values) => {
        const debounce = above(k, n);
        values.forEach((value, i) => {
          const crossings = values.slice(Math.max(0, i + 1 - n), i + 1).filter((x) => x > 10).length;
          expect(debounce.next(value).active).toBe(crossings >= k);
        });
      },
    ),
  );
});
