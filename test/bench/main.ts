/**
 * `npm run bench -- NAME…` measures and prints one JSON line for each; `--baseline` runs only the file it is compared
 * with, `--rounds N` other than 5 rounds. `npm run bench` measures all and rewrites docs/BENCHMARKS.md; with `--write`
 * the named ones take their new figures there.
 */
import { parseArgs } from "node:util";
import { type Bench, type Measurable, type Outcome, outcomeOf, type Round, type Spread, short } from "./bench.ts";
import { figureOf } from "./child.io.ts";
import { ALIASES, BENCHES } from "./registry.ts";
import { writeReport } from "./report.io.ts";

const ROUNDS = 5;

const { values: options, positionals: named } = parseArgs({
  allowPositionals: true,
  options: { baseline: { type: "boolean" }, rounds: { type: "string" }, write: { type: "boolean" } },
});
const positionals = named.map((name) => ALIASES[name] ?? name);
const unknown = positionals.filter((name) => !Object.hasOwn(BENCHES, name));
if (unknown.length > 0) {
  console.error(`There is no benchmark ${unknown.join(", ")}; there are ${Object.keys(BENCHES).join(", ")}.`);
  process.exit(2);
}
const wanted = positionals.length > 0 ? positionals : Object.keys(BENCHES);
/** Figures that come out of the rounds of another are measured with it. */
const names = new Set(wanted.map((name) => withOf(name) ?? name));
const outcomes = new Map<string, Outcome>();
for (const name of names) {
  const bench = BENCHES[name] as Bench;
  const missing = bench.missing?.();
  if (missing !== undefined) say(`${name}: not measured: ${missing}`);
  else if (options.baseline) await baselineOf(name, bench);
  else await measured(name, bench);
}
if (!options.baseline && (options.write || positionals.length === 0)) writeReport(BENCHES, outcomes.values());

function withOf(name: string): string | undefined {
  const bench = BENCHES[name];
  return bench !== undefined && "with" in bench ? bench.with : undefined;
}

/** One that cannot be measured does not take the others' figures with it. */
async function measured(name: string, bench: Bench): Promise<void> {
  try {
    await measure(name, bench);
  } catch (cause) {
    process.exitCode = 1;
    say(`${name}: not measured: ${(cause as Error).stack}`);
  }
}

async function measure(name: string, bench: Bench): Promise<void> {
  const count = Number(options.rounds ?? bench.rounds ?? ROUNDS);
  const rounds: Record<string, Round[]> = {};
  const open = await bench.open();
  try {
    for (let i = 1; i <= count; i++) {
      const value = await open.value();
      const baseline = await open.baseline?.();
      const own: Round = baseline === undefined ? { value } : { value, baseline };
      for (const [figure, round] of Object.entries({ [name]: own, ...open.beside?.() })) {
        rounds[figure] = [...(rounds[figure] ?? []), round];
        const beside = round.baseline === undefined ? "" : `, baseline ${short(round.baseline)}`;
        say(`${figure} ${i}/${count}: ${short(round.value)} ${BENCHES[figure]?.unit}${beside}`);
      }
    }
  } finally {
    await open.close();
  }
  for (const [figure, own] of Object.entries(rounds)) {
    const outcome = tell(figure, BENCHES[figure] as Measurable, own);
    const sizes = figure === name ? open.sizes?.() : undefined;
    outcomes.set(figure, sizes === undefined ? outcome : { ...outcome, sizes });
  }
}

function tell(name: string, bench: Measurable, rounds: readonly Round[]): Outcome {
  const outcome = outcomeOf(name, bench, rounds);
  const { value, baseline, ratio } = outcome.spread;
  say(
    `${name}: ${spreadText(value)}${baseline ? `; baseline ${spreadText(baseline)}` : ""}${ratio ? `; ratio ${spreadText(ratio)}` : ""}`,
  );
  process.stdout.write(`${JSON.stringify(outcome.figure)}\n`);
  return outcome;
}

async function baselineOf(name: string, bench: Bench): Promise<void> {
  const baseline = await baselineAlone(bench);
  if (baseline === undefined) say(`${name} has no baseline`);
  else process.stdout.write(`${JSON.stringify({ name, baseline: short(baseline), unit: bench.unit })}\n`);
}

/** A baseline's own file, or, where it is a question to what the benchmark started, that question. */
async function baselineAlone({ baselineFile, baselineArgs, open }: Bench): Promise<number | undefined> {
  if (baselineFile !== undefined) return figureOf(baselineFile, baselineArgs);
  const opened = await open();
  try {
    return await opened.baseline?.();
  } finally {
    await opened.close();
  }
}

function spreadText({ median, min, max }: Spread): string {
  return `median ${short(median)} (${short(min)} to ${short(max)})`;
}

/** Standard output is for figures alone. */
function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
