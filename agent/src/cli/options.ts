import type { Problem } from "@bellwether/protocol/errors.ts";
import { Option } from "commander";

/** `--state DIR`, or BELLWETHER_STATE. */
export function stateOption(): Option {
  return new Option("--state <dir>", "the agent's state directory").env("BELLWETHER_STATE").makeOptionMandatory();
}

/** A problem as a line for people, its code at the end. */
export function sentenceOf({ code, message }: Pick<Problem, "code" | "message">): string {
  return `${message} (${code})\n`;
}

/** Says problems on standard error; the command's exit code becomes 1. */
export function failWith(...problems: readonly Pick<Problem, "code" | "message">[]): void {
  for (const one of problems) process.stderr.write(sentenceOf(one));
  process.exitCode = 1;
}
