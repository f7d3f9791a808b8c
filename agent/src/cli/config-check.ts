import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { readText, unreadable } from "@bellwether/protocol/files/read.io.ts";
import { err, type Result } from "@bellwether/protocol/result.ts";
import { Command } from "commander";
import { channelsOf } from "../config/checks.ts";
import type { AgentConfig } from "../config/config.ts";
import { CONFIG_BYTES_MAX, parseConfig } from "../config/parse.ts";
import { sentenceOf } from "./options.ts";

/** Reads and checks a configuration file. */
export function loadConfig(file: string): Result<AgentConfig> {
  const text = readText(file, CONFIG_BYTES_MAX);
  return typeof text === "string" ? parseConfig(text, file) : err("CONFIG_UNREADABLE", { file, reason: text.reason });
}

/** Code and sentence of each fault: a configuration may have many. */
export function faultsOf({ code, message, detail }: Problem): readonly Pick<Problem, "code" | "message">[] {
  return (detail["all"] as Problem[] | undefined) ?? [{ code, message }];
}

/** `bellwether-agent config check FILE`: what is wrong and where, or what the file declares. Exit code 1 on a fault. */
export function configCheckCommand(): Command {
  const check = new Command("check")
    .description("check a configuration: every fault with its line, or what it declares")
    .argument("<file>", "the agent's YAML")
    .action((file: string) => {
      const config = loadConfig(file);
      const faults = config.ok ? unreadableFiles(config.value) : faultsOf(config.error);
      for (const fault of faults) process.stderr.write(sentenceOf(fault));
      if (config.ok && faults.length === 0) process.stdout.write(summary(config.value));
      else process.exitCode = 1;
    });
  return new Command("config").description("the agent's configuration").addCommand(check);
}

/** Files the inputs need and cannot have: shape alone would not tell. */
function unreadableFiles(config: AgentConfig): Problem[] {
  return config.inputs.flatMap((input) => {
    const file = input.type === "replay" ? input.file : input.type === "mqtt" ? input.passwordFile : undefined;
    const reason = file === undefined ? undefined : unreadable(file);
    return reason === undefined ? [] : [problem("INPUT_FILE_UNREADABLE", { input: input.id, file, reason })];
  });
}

function summary(config: AgentConfig): string {
  const lines = [`${config.fileName}: ${config.inputs.length} inputs, ${config.models.length} bound models`];
  for (const [asset, channels] of channelsOf(config)) {
    const list = [...channels.values()].map(({ channel, unit }) => `${channel} (${unit})`).join(", ");
    lines.push(`  ${asset || "assets named by the rows"}: ${list}`);
  }
  return `${lines.join("\n")}\n`;
}
