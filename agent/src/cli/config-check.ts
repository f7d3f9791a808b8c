import { constants } from "node:fs";
import { access, readFile } from "node:fs/promises";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { err, type Result } from "@bellwether/protocol/result.ts";
import { Command } from "commander";
import { channelsOf } from "../config/checks.ts";
import type { AgentConfig } from "../config/config.ts";
import { parseConfig } from "../config/parse.ts";

/** Reads and checks a configuration file. */
export async function loadConfig(file: string): Promise<Result<AgentConfig>> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    return err("CONFIG_UNREADABLE", { file, reason: (cause as NodeJS.ErrnoException).code ?? "unknown" });
  }
  return parseConfig(text, file);
}

/** Every sentence of a problem: a configuration has one for each of its faults. */
export function sentencesOf({ message, detail }: Problem): readonly string[] {
  return Array.isArray(detail["all"]) ? (detail["all"] as string[]) : [message];
}

/** `bellwether-agent config check FILE`: what is wrong and where, or what the file declares. Exit code 1 on a fault. */
export function configCheckCommand(): Command {
  const check = new Command("check")
    .description("check a configuration: every fault with its line, or what it declares")
    .argument("<file>", "the agent's YAML")
    .action(async (file: string) => {
      const config = await loadConfig(file);
      const problems = config.ok ? await unreadableFiles(config.value) : sentencesOf(config.error);
      for (const sentence of problems) process.stderr.write(`${sentence}\n`);
      if (config.ok && problems.length === 0) process.stdout.write(summary(config.value));
      else process.exitCode = 1;
    });
  return new Command("config").description("the agent's configuration").addCommand(check);
}

/** Files the inputs need and cannot have: shape alone would not tell. */
async function unreadableFiles(config: AgentConfig): Promise<string[]> {
  const sentences: string[] = [];
  for (const input of config.inputs) {
    const file = input.type === "replay" ? input.file : input.type === "mqtt" ? input.passwordFile : undefined;
    if (file === undefined) continue;
    try {
      await access(file, constants.R_OK);
    } catch (cause) {
      const reason = (cause as NodeJS.ErrnoException).code ?? "unknown";
      sentences.push(problem("INPUT_FILE_UNREADABLE", { input: input.id, file, reason }).message);
    }
  }
  return sentences;
}

function summary(config: AgentConfig): string {
  const lines = [`${config.fileName}: ${config.inputs.length} inputs, ${config.models.length} bound models`];
  for (const [asset, channels] of channelsOf(config)) {
    const list = [...channels.values()].map(({ channel, unit }) => `${channel} (${unit})`).join(", ");
    lines.push(`  ${asset || "assets named by the rows"}: ${list}`);
  }
  return `${lines.join("\n")}\n`;
}
