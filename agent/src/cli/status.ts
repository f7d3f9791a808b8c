import { resolve } from "node:path";
import type { Result } from "@bellwether/protocol/result.ts";
import { Command, Option } from "commander";
import { type AgentSnapshot, describeSnapshot } from "../snapshot.ts";
import { failWith, stateOption } from "./options.ts";

/** `bellwether-agent status --state DIR [-o json]`: what the running agent says of itself now. */
export function statusCommand(askAgent: (stateDir: string) => Promise<Result<unknown>>): Command {
  return new Command("status")
    .description("what the agent that runs on this state directory says of itself")
    .addOption(stateOption())
    .addOption(new Option("-o, --output <format>", "text or json").choices(["text", "json"]).default("text"))
    .action(async (options: { state: string; output: "text" | "json" }) => {
      const answer = await askAgent(resolve(options.state));
      if (!answer.ok) return failWith(answer.error);
      if (options.output === "json") process.stdout.write(`${JSON.stringify(answer.value, undefined, 2)}\n`);
      // The socket belongs to this version's own agent: the state directory is locked by it.
      else process.stdout.write(describeSnapshot(answer.value as AgentSnapshot, Date.now()));
    });
}
