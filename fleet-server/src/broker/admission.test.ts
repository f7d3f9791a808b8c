import { expect, test } from "vitest";
import { LoginAdmission } from "./admission.ts";

const LATE_MS = 500;

/** Begins until one is asked to come later; how many began. */
function fill(admission: LoginAdmission, nowMs: number): number {
  for (let begun = 0; begun < 1_000; begun++) if (admission.begin(nowMs, LATE_MS) !== undefined) return begun;
  return Number.POSITIVE_INFINITY;
}

test("a late server lets some logins begin, and the next one when one of them has ended", () => {
  const admission = new LoginAdmission();
  expect(fill(admission, 5_000)).toBe(200);
  admission.ended(5_100);
  expect(admission.begin(5_100, LATE_MS)).toBeUndefined();
  expect(admission.begin(5_100, LATE_MS)).toBe(1);
});

test("a server that is not late refuses none, however many nonces are never answered", () => {
  const admission = new LoginAdmission();
  const answers = Array.from({ length: 100_000 }, (_, n) => admission.begin(5_000 + n / 100, 99));
  expect(answers.filter((one) => one !== undefined)).toEqual([]);
});

test("a server that is late for another reason refuses none while few log in", () => {
  const admission = new LoginAdmission();
  for (let n = 0; n < 199; n++) expect(admission.begin(5_000, 60_000)).toBeUndefined();
});

test("nonces that nobody answered are forgotten", () => {
  const admission = new LoginAdmission();
  expect(fill(admission, 5_000)).toBe(200);
  expect(fill(admission, 14_900)).toBe(0);
  expect(fill(admission, 15_000)).toBe(200);
  expect(fill(admission, 1_000_000)).toBe(200);
});

test("who is refused is asked to come within the time that all of them will take", () => {
  const admission = new LoginAdmission();
  fill(admission, 5_000);
  const asked = Array.from({ length: 9_999 }, () => admission.begin(5_900, LATE_MS));
  expect([asked[0], asked[198], asked[199], asked[4_000], asked.at(-1)]).toEqual([1, 1, 2, 21, 30]);
  // What the server has shown it can do shortens it, also later.
  for (let n = 0; n < 1_000; n++) admission.ended(6_500);
  for (let n = 0; n < 1_200; n++) admission.begin(30_000, 0);
  const later = Array.from({ length: 5_000 }, () => admission.begin(30_000, LATE_MS));
  expect([later[0], later.at(-1)]).toEqual([1, 5]);
});
