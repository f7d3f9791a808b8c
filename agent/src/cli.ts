import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { Command } from "commander";
import packageJson from "../package.json" with { type: "json" };
import { configCheckCommand } from "./cli/config-check.ts";
import { enrollCommand } from "./cli/enroll.ts";
import { sentenceOf } from "./cli/options.ts";
import { rotateKeyCommand } from "./cli/rotate-key.ts";
import { runCommand } from "./cli/run.ts";
import { simulateCommand } from "./cli/simulate.ts";
import { statusCommand } from "./cli/status.ts";
import { updateCommand } from "./cli/update.ts";
import { wipeCommand } from "./cli/wipe.ts";
import { askLocal } from "./health/local.io.ts";
import { enrol } from "./link/enrol.io.ts";
import { reachServer } from "./reach-server.io.ts";
import type { AgentRole } from "./roles.io.ts";
import { wipeDevice } from "./wipe-device.io.ts";

/** What commander says of a wrong command line, as our other problems are said. */
function sayWrong(text: string, write: (text: string) => void): void {
  write(sentenceOf({ code: "ARGUMENT_INVALID", message: text.replace(/^error: /, "").trimEnd() }));
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap((child) => everyCommand(child))];
}

/** The command line of `bellwether-agent`. */
export async function runCli(argv: readonly string[], spawner: RoleSpawner<AgentRole>): Promise<void> {
  const program = new Command("bellwether-agent")
    .description("runs predictive-maintenance models on an unattended device")
    .version(packageJson.version)
    .addCommand(enrollCommand(enrol, reachServer))
    .addCommand(runCommand(spawner))
    .addCommand(statusCommand(askLocal))
    .addCommand(updateCommand(askLocal))
    .addCommand(rotateKeyCommand(askLocal))
    .addCommand(wipeCommand(wipeDevice))
    .addCommand(configCheckCommand())
    .addCommand(simulateCommand());
  for (const command of everyCommand(program)) command.configureOutput({ outputError: sayWrong });
  await program.parseAsync(argv, { from: "user" });
}
