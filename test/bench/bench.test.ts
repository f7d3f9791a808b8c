import { expect, it } from "vitest";
import { outcomeOf, reached } from "./bench.ts";
import { figuresText, plot, withFigures } from "./report.ts";

const bench = {
  what: "rows a second",
  over: "a bare loop",
  unit: "rows/s",
  goal: { of: "ratio", least: 0.5 },
} as const;
const rounds = [
  { value: 30, baseline: 100 },
  { value: 90, baseline: 100 },
  { value: 20, baseline: 40 },
];

it("judges the median of the rounds' own ratios, not the ratio of medians", () => {
  const { figure, spread } = outcomeOf("x", bench, rounds);
  expect(figure).toEqual({
    name: "x",
    value: 30,
    unit: "rows/s",
    baseline: 100,
    ratio: 0.5,
    goal: "ratio >= 0.5",
    pass: true,
  });
  expect(spread.ratio).toEqual({ median: 0.5, min: 0.3, max: 0.9 });
  expect(outcomeOf("x", { ...bench, goal: { of: "ratio", least: 0.51 } }, rounds).figure.pass).toBe(false);
});

it("judges a plain figure where less is better, with no baseline", () => {
  const goal = { of: "value", most: 8 } as const;
  const even = outcomeOf("x", { unit: "s", goal }, [{ value: 4 }, { value: 8 }]);
  expect(even.figure).toMatchObject({ value: 6, baseline: null, ratio: null, goal: "value <= 8", pass: true });
  expect(reached(goal, even.figure)).toBeCloseTo(8 / 6);
  expect(outcomeOf("x", { unit: "s", goal }, [{ value: 8.1 }]).figure.pass).toBe(false);
});

it("writes figures between the marks of a document and leaves the rest as people wrote it", () => {
  const measured = { x: { ...outcomeOf("x", bench, rounds), machine: "a machine", day: "2026-01-01" } };
  const figures = figuresText({ x: bench, later: bench }, measured);
  expect(figures).toContain(
    "| `x` | 30 (20 to 90) rows/s | 100 (40 to 100) | 0.5 (0.3 to 0.9) | ratio >= 0.5 | reached |",
  );
  expect(figures).not.toContain("later");
  const document = "# A\n<!-- figures: written by npm run bench -->\nold\n<!-- end of figures -->\nwords\n";
  const once = withFigures(document, figures);
  expect(once).not.toContain("old");
  expect(once.endsWith("<!-- end of figures -->\nwords\n")).toBe(true);
  expect(withFigures(once, figures)).toBe(once);
  expect(() => withFigures("# A", figures)).toThrow("lost its mark");
  expect(plot({ x: bench }, measured)).toContain(">1.00<");
});
