/**
 * `npm run bench -- NAME…` measures and prints one JSON line for each; `--baseline` runs only the file it is compared
 * with, `--rounds N` other than 5 rounds. `npm run bench` measures all and rewrites docs/BENCHMARKS.md; with `--write`
 * the named ones take their new figures there.
 */
import { parseArgs } from "node:util";
import { type Bench, type Outcome, outcomeOf, type Round, type Spread, short } from "./bench.ts";
import { figureOf } from "./child.io.ts";
import { BENCHES } from "./registry.ts";
import { writeReport } from "./report.io.ts";

const ROUNDS = 5;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { baseline: { type: "boolean" }, rounds: { type: "string" }, write: { type: "boolean" } },
});
const unknown = positionals.filter((name) => !Object.hasOwn(BENCHES, name));
if (unknown.length > 0) {
  console.error(`There is no benchmark ${unknown.join(", ")}; there are ${Object.keys(BENCHES).join(", ")}.`);
  process.exit(2);
}
const names = positionals.length > 0 ? positionals : Object.keys(BENCHES);
const outcomes: Outcome[] = [];
for (const name of names) {
  const bench = BENCHES[name] as Bench;
  const missing = bench.missing?.();
  if (missing !== undefined) say(`${name}: not measured: ${missing}`);
  else if (options.baseline) await baselineOf(name, bench);
  else await measured(name, bench);
}
if (!options.baseline && (options.write || positionals.length === 0)) writeReport(BENCHES, outcomes);

/** One that cannot be measured does not take the others' figures with it. */
async function measured(name: string, bench: Bench): Promise<void> {
  try {
    outcomes.push(await measure(name, bench));
  } catch (cause) {
    process.exitCode = 1;
    say(`${name}: not measured: ${(cause as Error).stack}`);
  }
}

async function measure(name: string, bench: Bench): Promise<Outcome> {
  const count = Number(options.rounds ?? bench.rounds ?? ROUNDS);
  const rounds: Round[] = [];
  const open = await bench.open();
  try {
    for (let i = 1; i <= count; i++) {
      const value = await open.value();
      const baseline = await open.baseline?.();
      rounds.push({ value, ...(baseline === undefined ? {} : { baseline }) });
      say(
        `${name} ${i}/${count}: ${short(value)} ${bench.unit}${baseline === undefined ? "" : `, baseline ${short(baseline)}`}`,
      );
    }
  } finally {
    await open.close();
  }
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
