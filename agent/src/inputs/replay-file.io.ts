import { createHash } from "node:crypto";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { csvRecords, type FileLine, LineFault, textLines } from "@bellwether/protocol/files/lines.io.ts";
import { readStart, reasonOf } from "@bellwether/protocol/files/read.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";

/** A short digest of how a file begins: a cursor holds for this file only. */
export function identityOf(input: string, file: string): Result<string> {
  const start = readStart(file, 4_096);
  if (!Buffer.isBuffer(start)) return err("INPUT_FILE_UNREADABLE", { input, file, reason: start.reason });
  return ok(createHash("sha256").update(start).digest("hex").slice(0, 16));
}

/**
 * The records of a CSV or TSV file, the header first. What ends the file early (a quote that never closes, a line without end,
 * a disk error) comes as the last item.
 */
export function csvLines(input: string, file: string, delimiter: string): AsyncGenerator<FileLine | Problem> {
  return untilFault(input, file, csvRecords(file, delimiter));
}

/** The lines of a blank-separated text file; the last item may be what ended it early. */
export function cmapssLines(
  input: string,
  file: string,
): AsyncGenerator<{ readonly line: number; readonly text: string } | Problem> {
  return untilFault(input, file, textLines(file));
}

async function* untilFault<T>(input: string, file: string, lines: AsyncGenerator<T>): AsyncGenerator<T | Problem> {
  try {
    yield* lines;
  } catch (cause) {
    if (cause instanceof LineFault) {
      yield problem("INPUT_FILE_WRONG", { input, file, line: cause.line, reason: cause.message });
    } else yield problem("INPUT_FILE_UNREADABLE", { input, file, reason: reasonOf(cause) });
  }
}
