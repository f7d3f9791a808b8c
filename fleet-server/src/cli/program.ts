import { Command, CommanderError, Option } from "commander";
import { addAccessCommands } from "./access.ts";
import { addAuditCommands } from "./audit.ts";
import { addBundleCommands } from "./bundle.ts";
import { type CliContext, type CliWorld, createContext } from "./context.io.ts";
import { addDelegationCommands } from "./delegations.ts";
import { addDeviceCommands } from "./devices.ts";
import { addDriftCommands } from "./drift.ts";
import { CliFailure } from "./failure.ts";
import { addHistoryCommands } from "./history.ts";
import { addLineageCommands } from "./lineage.ts";
import { addModelCommands } from "./models.ts";
import { addOutcomeCommands } from "./outcomes.ts";
import { addPerformanceCommands } from "./performance.ts";
import { FORMATS } from "./print.ts";
import { addReleaseCommands } from "./release.ts";
import { addRetrainingCommands } from "./retraining.ts";
import { addRolloutCommands } from "./rollouts.ts";
import { addSampleCommands } from "./samples.ts";
import { addServerCommands } from "./server.ts";
import { addStreamCommands } from "./streams.ts";
import { addTokenCommands } from "./tokens.ts";
import { addTrainingCommands } from "./training.ts";

/** Adds a room's commands to the program. */
export type AddCommands = (program: Command, context: CliContext) => void;

/** Every room's commands; `up` comes from main.ts, which alone may wire a server. */
export const COMMANDS: readonly AddCommands[] = [
  addServerCommands,
  addDeviceCommands,
  addAccessCommands,
  addSampleCommands,
  addStreamCommands,
  addDriftCommands,
  addOutcomeCommands,
  addPerformanceCommands,
  addLineageCommands,
  addModelCommands,
  addReleaseCommands,
  addDelegationCommands,
  addRolloutCommands,
  addBundleCommands,
  addHistoryCommands,
  addTrainingCommands,
  addRetrainingCommands,
  addTokenCommands,
  addAuditCommands,
];

/** The command line, with `more` commands beside those of the rooms. */
export function buildProgram(world: CliWorld, version: string, more: readonly AddCommands[] = []): Command {
  const program = new Command("bellwether");
  program
    .description("Runs, watches and retrains predictive-maintenance models on a fleet of edge devices.")
    .version(version, "-V, --version")
    .addOption(new Option("-o, --output <format>", "how to print").choices([...FORMATS]).default("table"))
    .option("--url <url>", "the server (or BELLWETHER_URL)")
    .option("--token-file <file>", "a file that holds the token (or BELLWETHER_TOKEN_FILE; or BELLWETHER_TOKEN itself)")
    .option("--ca <file>", "the server's CA: a PEM file, or its fingerprint sha256:… (or BELLWETHER_CA)")
    .option("--allow-http", "send the token over http to another machine")
    .showHelpAfterError('(see "--help")')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void world.stdout.write(text),
      writeErr: (text) => void world.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, "ARGUMENT_INVALID: ")),
    });
  const context = createContext(program, world);
  for (const add of [...COMMANDS, ...more]) add(program, context);
  for (const command of everyCommand(program)) command.exitOverride().copyInheritedSettings(program);
  return program;
}

/**
 * Runs one command line (without the program's own name). Exit codes: 0 done, 1 a problem, whose sentence stands on
 * standard error, 2 the command line itself is wrong, 130 interrupted.
 */
export async function runCli(
  args: readonly string[],
  world: CliWorld,
  version: string,
  more: readonly AddCommands[] = [],
): Promise<number> {
  try {
    await buildProgram(world, version, more).parseAsync([...args], { from: "user" });
    return world.signal.aborted ? 130 : 0;
  } catch (cause) {
    if (cause instanceof CommanderError) return cause.exitCode === 0 ? 0 : 2;
    if (world.signal.aborted) return 130;
    if (!(cause instanceof CliFailure)) throw cause;
    world.stderr.write(`${cause.code}: ${cause.message}\n`);
    return cause.code === "ARGUMENT_INVALID" ? 2 : 1;
  }
}

function everyCommand(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...everyCommand(child)]);
}
