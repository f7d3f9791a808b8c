import { Command } from "commander";
import packageJson from "../package.json" with { type: "json" };
import { configCheckCommand } from "./cli/config-check.ts";
import { simulateCommand } from "./cli/simulate.ts";

/** The command line of `bellwether-agent`. */
export async function runCli(argv: readonly string[]): Promise<void> {
  const program = new Command("bellwether-agent")
    .description("runs predictive-maintenance models on an unattended device")
    .version(packageJson.version)
    .addCommand(configCheckCommand())
    .addCommand(simulateCommand());
  await program.parseAsync(argv, { from: "user" });
}
