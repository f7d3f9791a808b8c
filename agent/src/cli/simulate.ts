import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { reasonOf } from "@bellwether/protocol/files/read.io.ts";
import { isName } from "@bellwether/protocol/ids.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { parseIsoMs } from "@bellwether/protocol/time.ts";
import { Command, InvalidArgumentError, Option } from "commander";
import { PROCESS_CHANGES, type ProcessChange, type SimulatorInputConfig } from "../config/config.ts";
import { impliedPoints, MACHINES_DEFAULT } from "../config/inputs.ts";
import { SIGNALS } from "../config/signals.ts";
import { DEFAULT_START_MS, Simulator } from "../inputs/simulator/simulator.ts";
import { faultsOf, loadConfig } from "./config-check.ts";
import { failWith } from "./options.ts";

interface Options {
  readonly config?: string;
  readonly input?: string;
  readonly seed: number;
  readonly assets: number;
  readonly prefix: string;
  readonly start: number;
  readonly stepMs: number;
  readonly stagger?: number;
  readonly change?: ProcessChange["kind"];
  readonly changeFrom: number;
  readonly from?: number;
  readonly to?: number;
  readonly lives?: number;
  readonly truth?: boolean;
  readonly units?: boolean;
  readonly failures?: string;
}

const CHUNK_CHARACTERS = 65_536;

/** `bellwether-agent simulate`: the very rows a simulator input sends, as CSV; the truth only when asked for. */
export function simulateCommand(): Command {
  return new Command("simulate")
    .description("write simulated rows as CSV: the rows an agent with this configuration sends")
    .option("--config <file>", "take the machines from the simulator input of this configuration")
    .option("--input <id>", "which of its inputs, if it has several simulators")
    .option("--seed <n>", "without --config: the seed", count(0, Number.MAX_SAFE_INTEGER), 1)
    .option("--assets <n>", "without --config: how many machines", count(1, 10_000), 1)
    .option("--prefix <text>", "without --config: their names are this and 1, 2, …", namePrefix, "machine-")
    .option("--start <time>", "without --config: time of row 0 (ISO 8601)", isoTime, DEFAULT_START_MS)
    .option("--step-ms <ms>", "without --config: time between rows", count(1, 1e11), 60_000)
    .option("--stagger <fraction>", "at most how old row 0 finds a machine, 0 to 0.9 of its life", fraction)
    .addOption(new Option("--change <kind>", "change the process, from --change-from on").choices(PROCESS_CHANGES))
    .option("--change-from <index>", "row at which the process changes", count(0, 1e9), 0)
    .option("--from <index>", "first row of each machine", count(0, 1e9))
    .option("--to <index>", "row to stop before", count(1, 1e9))
    .option("--lives <n>", "stop each machine with its n-th failure instead", count(1, 10_000))
    .option("--truth", "add remaining rows until failure, fault mode, life and sensor faults")
    .option("--units", 'write each channel as "name [unit]", as "bellwether history import" reads it')
    .option("--failures <file>", "write asset, time, mode and life of every failure among the rows to this CSV file")
    .action(async (options: Options) => {
      process.stdout.on("error", (cause: NodeJS.ErrnoException) => {
        // "simulate … | head": the reader has what it wanted.
        if (cause.code === "EPIPE") process.exit(0);
        throw cause;
      });
      const chosen = options.config === undefined ? ok(standard(options)) : configured(options.config, options.input);
      if (!chosen.ok) return failWith(...faultsOf(chosen.error));
      const config = chosen.value;
      const { stagger, change: kind, changeFrom: fromRow } = options;
      const machines = {
        ...config.machines,
        ...(stagger === undefined ? {} : { stagger }),
        ...(kind === undefined ? {} : { change: { kind, fromRow } }),
      };
      const from = options.from ?? config.from;
      const to = options.to ?? (config.rows === undefined ? undefined : config.from + config.rows);
      if (options.lives === undefined) {
        if (to === undefined) return failWith(wrong("--to", "it or --lives says where to stop"));
        if (to <= from) return failWith(wrong("--to", `it must be above ${from}`));
      }
      const plant = new Simulator({ ...config, machines }, SIGNALS);
      const endOf = (asset: string) =>
        options.lives === undefined ? to! : plant.machine(asset).endOfLife(options.lives - 1) + 1;
      if (plant.assets.some((asset) => endOf(asset) > plant.timeEnd))
        return failWith(wrong("--step-ms", `row ${plant.timeEnd} is the first whose time nobody can write`));
      if (options.failures !== undefined) {
        const written = await writeWhole(options.failures, failuresOf(plant, from, endOf));
        if (!written.ok) return failWith(written.error);
      }
      await writeRows(plant, columnsOf(config), from, endOf, options);
    });
}

const wrong = (name: string, expected: string): Problem => problem("ARGUMENT_INVALID", { name, expected });

/** Before any row: a history without its failures would be half of what was asked for. */
async function writeWhole(file: string, text: string): Promise<Result<void>> {
  try {
    await writeFile(file, text);
    return ok(undefined);
  } catch (cause) {
    return err("FILE_UNREADABLE", { file, reason: reasonOf(cause) });
  }
}

function standard(options: Options): SimulatorInputConfig {
  const assets = Array.from({ length: options.assets }, (_, i) => `${options.prefix}${i + 1}`);
  return {
    id: "simulate",
    type: "simulator",
    seed: options.seed,
    stepMs: options.stepMs,
    startMs: options.start,
    rowsPerSecond: 0,
    from: 0,
    assets,
    machines: MACHINES_DEFAULT,
    points: impliedPoints(assets),
  };
}

/** The simulator input of a configuration, if there is exactly one that is meant. */
function configured(file: string, id: string | undefined): Result<SimulatorInputConfig> {
  const config = loadConfig(file);
  if (!config.ok) return config;
  const found = config.value.inputs.filter(
    (input) => input.type === "simulator" && (id === undefined || input.id === id),
  ) as SimulatorInputConfig[];
  if (found.length === 1) return ok(found[0]!);
  const those = id === undefined ? "simulator inputs" : `simulator inputs named ${id}`;
  return err("ARGUMENT_INVALID", { name: "--input", expected: `${file} has ${found.length} ${those}, name one` });
}

/** Channels with their units, in the order of their first points. */
function columnsOf(config: SimulatorInputConfig): ReadonlyMap<string, string> {
  return new Map(config.points.map(({ channel, unit }) => [channel, unit]));
}

async function writeRows(
  plant: Simulator,
  columns: ReadonlyMap<string, string>,
  from: number,
  endOf: (asset: string) => number,
  { truth = false, units = false }: Pick<Options, "truth" | "units">,
): Promise<void> {
  const channels = [...columns.keys()];
  const named = units ? Array.from(columns, ([channel, unit]) => `${channel} [${unit}]`) : channels;
  const header = ["asset", "time", ...named, ...(truth ? ["rul", "mode", "life", "sensor_faults"] : [])];
  let text = `${header.join(",")}\n`;
  for (const asset of plant.assets) {
    const end = endOf(asset);
    for (let index = from; index < end; index += 1) {
      const { observedAtMs, values } = plant.row(asset, index);
      const cells = [asset, new Date(observedAtMs).toISOString(), ...channels.map((channel) => values[channel] ?? "")];
      if (truth) {
        const { rul, mode, life, sensorFaults } = plant.truth(asset, index);
        cells.push(rul, mode, life, sensorFaults.map(({ channel, kind }) => `${channel}:${kind}`).join(" "));
      }
      text += `${cells.join(",")}\n`;
      if (text.length > CHUNK_CHARACTERS) {
        await write(text);
        text = "";
      }
    }
  }
  await write(text);
}

/** Waits for a slow reader instead of filling memory. */
async function write(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, "drain");
}

function failuresOf(plant: Simulator, from: number, endOf: (asset: string) => number): string {
  const lines = ["asset,time,mode,life"];
  for (const asset of plant.assets) {
    const end = endOf(asset);
    const machine = plant.machine(asset);
    for (let life = 0; machine.endOfLife(life) < end; life += 1) {
      const index = machine.endOfLife(life);
      if (index < from) continue;
      lines.push([asset, new Date(plant.timeAt(index)).toISOString(), machine.life(life).mode, life].join(","));
    }
  }
  return `${lines.join("\n")}\n`;
}

function count(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`It must be an integer from ${min} to ${max}.`);
    return value;
  };
}

function fraction(text: string): number {
  const value = /^\d?\.?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= 0 && value <= 0.9)) throw new InvalidArgumentError("It must be a number from 0 to 0.9.");
  return value;
}

function namePrefix(text: string): string {
  if (!isName(`${text}10000`)) throw new InvalidArgumentError("It must be up to 59 of A-Z a-z 0-9 . _ -");
  return text;
}

function isoTime(text: string): number {
  const ms = parseIsoMs(text);
  if (ms === undefined || ms < 0) throw new InvalidArgumentError('It must look like "2026-01-01T00:00:00Z".');
  return ms;
}
