import type { Problem } from "@bellwether/protocol/errors.ts";
import { Option } from "commander";

/** `--state DIR`, or BELLWETHER_STATE. */
export function stateOption(): Option {
  return new Option("--state <dir>", "the agent's state directory").env("BELLWETHER_STATE").makeOptionMandatory();
}

/** Says a problem's sentence on standard error; the command's exit code becomes 1. */
export function failWith({ code, message }: Problem): void {
  process.stderr.write(`${message} (${code})\n`);
  process.exitCode = 1;
}
