import { type ErrorCode, type Problem, problem } from "./errors.ts";

/** The outcome of an operation that can fail for reasons outside the program: operating errors are values. */
export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: Problem };

/** A success. */
export function ok<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value };
}

/** A failure with a stable code; `detail` fills the placeholders of the code's sentence and travels with it. */
export function err(
  code: ErrorCode,
  detail: Readonly<Record<string, unknown>> = {},
): { readonly ok: false; readonly error: Problem } {
  return { ok: false, error: problem(code, detail) };
}

/** The value, or a throw of the whole problem: for tests and for places where a failure is a broken invariant. */
export function unwrap<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new Error(`${result.error.code}: ${result.error.message}`);
}
