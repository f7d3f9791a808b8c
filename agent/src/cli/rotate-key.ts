import { resolve } from "node:path";
import type { Result } from "@bellwether/protocol/result.ts";
import { Command } from "commander";
import type { LocalAsk } from "../health/local.io.ts";
import { failWith, stateOption } from "./options.ts";

type AskAgent = (stateDir: string, asked: LocalAsk) => Promise<Result<unknown>>;

/** `bellwether-agent rotate-key`: the running agent takes a new key, which the old one signs. */
export function rotateKeyCommand(askAgent: AskAgent): Command {
  return new Command("rotate-key")
    .description("give the running agent's device a new key; the old one, and whoever copied it, is shut out")
    .addOption(stateOption())
    .action(async (options: { state: string }) => {
      const answer = await askAgent(resolve(options.state), { ask: "rotateKey" });
      if (!answer.ok) return failWith(answer.error);
      const rotated = answer.value as Result<{ readonly publicHex: string }>;
      if (!rotated.ok) return failWith(rotated.error);
      process.stdout.write(`${JSON.stringify(rotated.value)}\n`);
    });
}
