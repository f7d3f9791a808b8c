import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatSelector, narrows, parseSelector, type Requirement, selects } from "./selector.ts";

const labels = { site: "a", hw: "orin", line: "2" };

describe("a label selector", () => {
  it.each([
    ["", true],
    ["site=a", true],
    ["site==a,hw=orin", true],
    ["site=b", false],
    ["site!=b", true],
    ["zone!=b", true],
    ["hw in (orin, xavier)", true],
    ["hw in (nano)", false],
    ["hw notin (nano),site", true],
    ["zone notin (nano)", true],
    ["zone", false],
    ["!zone", true],
    ["! site", false],
    ["zone=", false],
    ["line>1", true],
    ["line > 2", false],
    ["line<3,line>-1", true],
    ["line<2", false],
    ["hw>0", false],
    ["hw<0", false],
    ["zone>0", false],
    ["hw in(orin)", true],
    ["line in (,2)", true],
  ])('"%s" selects: %s', (text, expected) => {
    const selector = parseSelector(text);
    expect(selector.ok && selects(selector.value, labels)).toBe(expected);
  });

  it.each([
    "=a",
    "site=a,",
    "site in a",
    "hw in (a",
    "a b",
    "site=ä",
    "(a)",
    "x".repeat(1_001),
    "!!a",
    "line>",
    "line>x",
    "line>1.5",
    "line>=1",
    "!line>1",
    ",",
  ])('refuses "%s"', (text) => {
    const selector = parseSelector(text);
    expect(selector.ok ? undefined : selector.error.code).toBe("SELECTOR_INVALID");
  });

  it("reads back what it wrote, and answers any text", () => {
    const word = fc.stringMatching(/^[a-z0-9]{1,8}$/);
    const requirement: fc.Arbitrary<Requirement> = fc.oneof(
      fc.record({
        kind: fc.constantFrom("in" as const, "notIn" as const),
        key: word,
        values: fc.array(word, { minLength: 1, maxLength: 4 }),
      }),
      fc.record({ kind: fc.constantFrom("exists" as const, "absent" as const), key: word }),
      fc.record({
        kind: fc.constantFrom("above" as const, "below" as const),
        key: word,
        bound: fc.integer(),
      }),
    );
    fc.assert(
      fc.property(fc.array(requirement, { maxLength: 6 }), (selector) => {
        const read = parseSelector(formatSelector(selector));
        expect(read).toEqual({ ok: true, value: selector });
      }),
    );
    fc.assert(fc.property(fc.string(), (text) => typeof parseSelector(text).ok === "boolean"));
  });
});

it("narrows another when it demands all of it, in any order and spelling", () => {
  const narrow = (text: string, wider: string) => {
    const [one, other] = [parseSelector(text), parseSelector(wider)];
    return one.ok && other.ok && narrows(one.value, other.value);
  };
  expect(narrow("site = a,line==3", "line=3")).toBe(true);
  expect(narrow("line=3", "line=3")).toBe(true);
  expect(narrow("line=3", "line=3,site=a")).toBe(false);
  expect(narrow("line=4", "line=3")).toBe(false);
  expect(narrow("", "line=3")).toBe(false);
});
