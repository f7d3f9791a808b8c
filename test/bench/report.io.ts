import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem, type } from "node:os";
import type { Outcome } from "./bench.ts";
import { fleetPlot } from "./fleet-plot.ts";
import { type Benches, figuresText, type Measured, plot, withFigures } from "./report.ts";

const docs = (name: string) => new URL(`../../docs/${name}`, import.meta.url);

/** Takes new figures into docs/benchmarks.json, and writes docs/BENCHMARKS.md and its plot anew from all that are there. */
export function writeReport(benches: Benches, outcomes: Iterable<Outcome>): void {
  const file = docs("benchmarks.json");
  const measured: Record<string, Measured> = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  const day = new Date().toISOString().slice(0, 10);
  for (const outcome of outcomes) measured[outcome.figure.name] = { ...outcome, machine: machine(), day };
  writeFileSync(file, `${JSON.stringify(measured, undefined, 2)}\n`);
  writeFileSync(docs("benchmarks.svg"), plot(benches, measured));
  const sizes = Object.values(measured).flatMap((one) => one.sizes ?? []);
  if (sizes.length > 0) writeFileSync(docs("benchmarks-fleet.svg"), fleetPlot(sizes));
  const text = docs("BENCHMARKS.md");
  writeFileSync(text, withFigures(readFileSync(text, "utf8"), figuresText(benches, measured)));
}

function machine(): string {
  const all = cpus();
  const memory = `${Math.round(totalmem() / 2 ** 30)} GB`;
  return `${all.length} x ${all[0]?.model.trim()}, ${memory}, ${type()} ${release()}, Node ${process.versions.node}`;
}
