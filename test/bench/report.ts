import { type Beside, type Measurable, type Outcome, reached, type Spread, short } from "./bench.ts";

/** A benchmark's newest figures, and where and when they were measured. */
export interface Measured extends Outcome {
  readonly machine: string;
  readonly day: string;
}

export type Benches = Readonly<
  Record<string, Pick<Measurable, "what" | "over" | "goal"> & Partial<Pick<Beside, "with">>>
>;

/** The part of docs/BENCHMARKS.md between its two marks: figures, what they are, and the command that made each. */
export function figuresText(benches: Benches, measured: Readonly<Record<string, Measured>>): string {
  const known = Object.entries(benches).flatMap(([name, bench]) => {
    const own = measured[name];
    return own === undefined ? [] : [{ name, bench, ...own }];
  });
  const rows = known.map(({ name, figure, spread }) => {
    const { unit, goal, pass } = figure;
    return `| \`${name}\` | ${range(spread.value)} ${unit} | ${range(spread.baseline)} | ${range(spread.ratio)} | ${goal} | ${pass ? "reached" : "**not reached**"} |`;
  });
  const explained = known.map(
    ({ name, bench, day }) =>
      `- \`npm run bench -- ${bench.with ?? name}\` (${day})${bench.with ? `, \`${name}\`` : ""}: ${bench.what}. Baseline: ${bench.over}.`,
  );
  const machines = [...new Set(known.map(({ machine }) => machine))].map((machine) => `- ${machine}`);
  return [
    "| name | value | baseline | ratio | goal | |",
    "| --- | --- | --- | --- | --- | --- |",
    ...rows,
    "",
    "Median (least to most) of rounds in which value and baseline took turns; the ratio is the median of the rounds' own.",
    "",
    "![Share of each goal that was reached](benchmarks.svg)",
    "",
    ...explained,
    "",
    "Measured on:",
    "",
    ...machines,
  ].join("\n");
}

/** Puts new figures between the marks of a document. */
export function withFigures(document: string, figures: string): string {
  const [before, rest] = split(document, FROM);
  const [, after] = split(rest, TO);
  return `${before}${FROM}\n\n${figures}\n\n${TO}${after}`;
}

const FROM = "<!-- figures: written by npm run bench -->";
const TO = "<!-- end of figures -->";

function split(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  if (at < 0) throw new Error(`docs/BENCHMARKS.md has lost its mark ${mark}`);
  return [text.slice(0, at), text.slice(at + mark.length)];
}

function range(spread: Spread | undefined): string {
  if (spread === undefined) return "";
  const { median, min, max } = spread;
  return min === max ? text(median) : `${text(median)} (${text(min)} to ${text(max)})`;
}

/** A figure that nothing came of is infinite, and null where it was read from a file. */
function text(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return "none";
  return value >= 1_000 ? Math.round(short(value)).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

const ROW = 26;
const LEFT = 150;
const WIDTH = 400;
/** The axis ends at so many times the goal; a longer bar is cut. */
const TIMES_MAX = 2;

/** Horizontal bars: how much of each goal was reached, on one axis with the goal at 1. */
export function plot(benches: Benches, measured: Readonly<Record<string, Measured>>): string {
  const bars = Object.entries(benches).flatMap(([name, { goal }]) => {
    const own = measured[name];
    return own === undefined ? [] : [{ name, share: reached(goal, own.figure), pass: own.figure.pass }];
  });
  const height = 34 + bars.length * ROW;
  const x = (share: number) => LEFT + (Math.min(share, TIMES_MAX) / TIMES_MAX) * WIDTH;
  const rows = bars.flatMap(({ name, share, pass }, i) => {
    const y = 10 + i * ROW;
    return [
      `<text x="${LEFT - 8}" y="${y + 14}" text-anchor="end">${name}</text>`,
      `<rect x="${LEFT}" y="${y + 2}" width="${(x(share) - LEFT).toFixed(1)}" height="16" fill="${pass ? "#2a7f62" : "#b5542c"}"/>`,
      `<text x="${(x(share) + 5).toFixed(1)}" y="${y + 14}">${share.toFixed(2)}</text>`,
    ];
  });
  const bottom = 10 + bars.length * ROW;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${LEFT + WIDTH + 60}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<title>Share of each goal that was reached; 1 is the goal</title>`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    ...rows,
    `<line x1="${x(1)}" y1="6" x2="${x(1)}" y2="${bottom}" stroke="#222" stroke-dasharray="4 3"/>`,
    `<text x="${x(1)}" y="${bottom + 16}" text-anchor="middle">the goal</text>`,
    "</svg>",
    "",
  ].join("\n");
}
