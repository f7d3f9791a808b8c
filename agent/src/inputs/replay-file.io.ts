import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { csvRecords, type FileLine, LineFault, textLines } from "@bellwether/protocol/files/lines.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";

/** A short digest of how a file begins: a cursor holds for this file only. */
export async function identityOf(input: string, file: string): Promise<Result<string>> {
  try {
    const handle = await open(file);
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(4_096), 0, 4_096, 0);
      return ok(createHash("sha256").update(buffer.subarray(0, bytesRead)).digest("hex").slice(0, 16));
    } finally {
      await handle.close();
    }
  } catch (cause) {
    return err("INPUT_FILE_UNREADABLE", { input, file, reason: reasonOf(cause) });
  }
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

function reasonOf(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EISDIR") return "it is a folder";
  return code ?? message;
}
