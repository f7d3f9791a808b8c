import { type ErrorCode, problem } from "@bellwether/protocol/errors.ts";
import type { Result } from "@bellwether/protocol/result.ts";

/**
 * What ends a command: its sentence goes to standard error, the exit code is 1. A command line has nothing to decide
 * about an error, so here, and only here, problems are thrown.
 */
export class CliFailure extends Error {
  readonly code: string;
  constructor(code: string, sentence: string) {
    super(sentence);
    this.code = code;
  }
}

/** The failure of one of our own codes. */
export function failure(code: ErrorCode, detail: Readonly<Record<string, unknown>> = {}): CliFailure {
  return new CliFailure(code, problem(code, detail).message);
}

/** The value, or the end of the command. */
export function must<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new CliFailure(result.error.code, result.error.message);
}
