import { type AgentShare, type Plant, parseCsv, type TrueRow } from "./plant.ts";
import { run } from "./processes.io.ts";

const AGENTS = 6;
const ASSETS_PER_AGENT = 3;
const HISTORY_ASSETS = 14;
const START = "2026-01-01T00:00:00.000Z";
const STEP_MS = 60_000;
/** As the plant's sensors give them (UCUM), see docs/SIMULATOR.md. */
const UNITS = {
  speed: "/min",
  load: "%",
  "vibration.de": "mm/s",
  "vibration.nde": "mm/s",
  "vibration.axial": "mm/s",
  "envelope.de": "[g]",
  "crest.de": "1",
  "bearing.temperature": "Cel",
  "winding.temperature": "Cel",
  "ambient.temperature": "Cel",
  current: "A",
  "service.hours": "h",
};
/** Columns of `simulate --truth` that are no channels. */
const NOT_CHANNELS = new Set(["asset", "time", "rul", "mode", "life", "sensor_faults"]);

/** The simulated plant of a seed. Its past has machines of its own: names are part of what makes a machine. */
export function simulatedPlant(seed: number): Plant {
  const common = ["simulate", "--seed", String(seed), "--start", START, "--truth"];
  const agents = Array.from({ length: AGENTS }, (_, index): AgentShare => {
    const prefix = `line-${index + 1}-pump-`;
    return {
      device: `gateway-${index + 1}`,
      cohort: index < AGENTS / 2 ? "A" : "B",
      assets: Array.from({ length: ASSETS_PER_AGENT }, (_asset, number) => `${prefix}${number + 1}`),
      input: (rows, rowsPerSecond, change) => ({
        id: "plant",
        type: "simulator",
        seed,
        start: START,
        stepMs: STEP_MS,
        rows,
        rowsPerSecond,
        ...(change === undefined ? {} : { machines: { change } }),
      }),
      expected: async (rows, change) =>
        rowsOf(
          await run("bellwether-agent", [
            ...common,
            "--assets",
            String(ASSETS_PER_AGENT),
            "--prefix",
            prefix,
            "--to",
            String(rows),
            ...(change === undefined ? [] : ["--change", change.kind, "--change-from", String(change.fromRow)]),
          ]),
        ),
    };
  });
  return {
    title: `the simulated plant of seed ${seed}`,
    model: "pump-rul",
    cap: 125,
    units: UNITS,
    // The model meets machines in the middle of their lives: no feature may rely on having watched their youth.
    features: { age: false, relative: [], restart: { counter: "service.hours" } },
    // Load decides most of what a machine's sensors read.
    drift: { regimes: { features: ["load.mean"], count: 4 } },
    startMs: Date.parse(START),
    stepMs: STEP_MS,
    canChange: true,
    historyAssets: Array.from({ length: HISTORY_ASSETS }, (_, index) => `past-${index + 1}`),
    history: async () =>
      rowsOf(
        await run("bellwether-agent", [
          ...common,
          "--assets",
          String(HISTORY_ASSETS),
          "--prefix",
          "past-",
          "--lives",
          "1",
        ]),
      ),
    agents,
    rowsPerSecond: 3,
    rowsMax: 100_000,
  };
}

function rowsOf(csv: string): TrueRow[] {
  return parseCsv(csv).map((record) => ({
    asset: record["asset"] as string,
    observedAtMs: Date.parse(record["time"] as string),
    values: Object.fromEntries(
      Object.entries(record)
        .filter(([name]) => !NOT_CHANNELS.has(name))
        .map(([name, cell]) => [name, cell === "" ? null : Number(cell)]),
    ),
    rul: Number(record["rul"]),
  }));
}
