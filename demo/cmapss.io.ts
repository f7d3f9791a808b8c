import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { AgentShare, Plant, TrueRow } from "./plant.ts";

/** Columns of NASA's C-MAPSS text files after unit and cycle: three operating settings, then 21 sensors. */
const CHANNELS = [
  ...Array.from({ length: 3 }, (_, index) => `setting_${index + 1}`),
  ...Array.from({ length: 21 }, (_, index) => `s${index + 1}`),
];
/** A cycle stands for an hour of flight; the files know no clock. */
const STEP_MS = 3_600_000;
const START = "2020-01-01T00:00:00.000Z";
const AGENTS = 6;
const ENGINES_PER_AGENT = 3;

interface Engine {
  readonly unit: number;
  readonly cycles: readonly (readonly number[])[];
}

/** The story on NASA's turbofan engines: learned from train_FD001, watched on the longest engines of test_FD001. */
export async function cmapssPlant(folder: string): Promise<Plant> {
  const read = (name: string) => readFile(join(folder, name), "utf8");
  const train = enginesOf(await read("train_FD001.txt"));
  const test = enginesOf(await read("test_FD001.txt"));
  const rulAtEnd = (await read("RUL_FD001.txt")).trim().split(/\s+/).map(Number);
  const longest = [...test].sort((a, b) => b.cycles.length - a.cycles.length).slice(0, AGENTS * ENGINES_PER_AGENT);
  const agents = Array.from({ length: AGENTS }, (_, index): AgentShare => {
    const engines = longest.filter((_engine, place) => place % AGENTS === index);
    return {
      device: `gateway-${index + 1}`,
      cohort: index < AGENTS / 2 ? "A" : "B",
      assets: engines.map((engine) => assetOf("test", engine)),
      input: (rows, rowsPerSecond) => ({
        id: "engines",
        type: "replay",
        file: join(folder, "test_FD001.txt"),
        format: "cmapss",
        assetPrefix: "test-",
        units: engines.map((engine) => engine.unit),
        start: START,
        stepMs: STEP_MS,
        rows,
        rowsPerSecond,
      }),
      expected: async (rows) =>
        engines.flatMap((engine) => rowsOf("test", engine, rulAtEnd[engine.unit - 1] ?? 0).slice(0, rows)),
    };
  });
  const past = () => train.flatMap((engine) => rowsOf("train", engine, 0));
  return {
    title: "NASA C-MAPSS FD001 turbofan engines",
    model: "engine-rul",
    cap: 125,
    units: {},
    // The model meets engines in the middle of their lives: no feature may rely on having watched their youth.
    features: { age: false, relative: [] },
    startMs: Date.parse(START),
    stepMs: STEP_MS,
    canChange: false,
    historyAssets: train.map((engine) => assetOf("train", engine)),
    history: async () => past(),
    agents,
    rowsPerSecond: 1.5,
    rowsMax: Math.max(...longest.map((engine) => engine.cycles.length)),
  };
}

function enginesOf(text: string): Engine[] {
  const engines = new Map<number, number[][]>();
  for (const line of text.split("\n")) {
    // NASA writes "-0.0000": adding 0 makes it the 0 that JSON can carry.
    const [unit, , ...values] = line
      .trim()
      .split(/\s+/)
      .map((text) => Number(text) + 0);
    if (!unit) continue;
    const cycles = engines.get(unit) ?? [];
    cycles.push(values);
    engines.set(unit, cycles);
  }
  return [...engines].map(([unit, cycles]) => ({ unit, cycles }));
}

function assetOf(prefix: string, engine: Engine): string {
  return `${prefix}-${engine.unit}`;
}

function rowsOf(prefix: string, engine: Engine, rulAtEnd: number): TrueRow[] {
  return engine.cycles.map((values, index) => ({
    asset: assetOf(prefix, engine),
    observedAtMs: Date.parse(START) + index * STEP_MS,
    values: Object.fromEntries(CHANNELS.map((channel, at) => [channel, values[at] as number])),
    rul: rulAtEnd + engine.cycles.length - 1 - index,
  }));
}
