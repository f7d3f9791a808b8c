import { expect, test } from "vitest";
import { LoginAdmission } from "./admission.ts";

/** Begins until one is asked to come later; how many began. */
function fill(admission: LoginAdmission, nowMs: number): number {
  for (let begun = 0; begun < 1_000; begun++) if (admission.begin(nowMs, 1) !== undefined) return begun;
  return Number.POSITIVE_INFINITY;
}

test("a full server lets some logins begin, and as many in the next second", () => {
  const admission = new LoginAdmission();
  expect(fill(admission, 5_000)).toBe(200);
  expect(fill(admission, 5_999)).toBe(0);
  expect(fill(admission, 6_000)).toBe(200);
  expect(fill(admission, 1_000_000)).toBe(200);
});

test("a server that has time refuses none, however many nonces are never answered", () => {
  const admission = new LoginAdmission();
  const answers = Array.from({ length: 100_000 }, (_, n) => admission.begin(5_000 + n / 100, 0.89));
  expect(answers.filter((one) => one !== undefined)).toEqual([]);
});

test("a server that is full for another reason refuses none while few log in", () => {
  const admission = new LoginAdmission();
  const answers = Array.from({ length: 2_000 }, (_, n) => admission.begin(5_000 + n * 5.01, 1));
  expect(answers.filter((one) => one !== undefined)).toEqual([]);
});

test("who is refused is asked to come within the time that all of them will take", () => {
  const admission = new LoginAdmission();
  fill(admission, 5_000);
  const asked = Array.from({ length: 9_999 }, () => admission.begin(5_900, 1));
  expect([asked[0], asked[198], asked[199], asked[4_000], asked.at(-1)]).toEqual([1, 1, 2, 21, 30]);
  // What the server has shown it can do shortens it, also later.
  for (let n = 0; n < 1_000; n++) admission.ended(6_500);
  fill(admission, 30_000);
  const later = Array.from({ length: 5_000 }, () => admission.begin(30_000, 1));
  expect([later[0], later.at(-1)]).toEqual([1, 6]);
});
