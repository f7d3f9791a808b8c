import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { Command, Option } from "commander";
import { LOG_LEVELS, type LogLevel } from "../log.ts";
import type { AgentRole } from "../roles.io.ts";
import { stateOption } from "./options.ts";

/** `bellwether-agent run --config FILE --state DIR`: runs until SIGTERM or SIGINT. */
export function runCommand(spawner: RoleSpawner<AgentRole>): Command {
  return new Command("run")
    .description("run the agent until SIGTERM; log lines are JSON on standard error")
    .requiredOption("--config <file>", "the agent's YAML")
    .addOption(stateOption())
    .addOption(new Option("--log-level <level>", "least level to log").choices([...LOG_LEVELS]).default("info"))
    .action(async (options: { config: string; state: string; logLevel: LogLevel }) => {
      const { run } = await import("../run.io.ts");
      const code = await run({
        configFile: options.config,
        stateDir: options.state,
        logLevel: options.logLevel,
        spawner,
      });
      process.exit(code);
    });
}
