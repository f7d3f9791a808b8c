import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { CsvError, parse } from "csv-parse";

const LINE_BYTES_MAX = 65_536;
const COLUMNS_MAX = 4_096;

/** One record of a file and the line it ends on. */
export interface FileLine {
  readonly line: number;
  readonly cells: readonly string[];
}

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
 * The records of a CSV or TSV file, the header first, read as they are asked for. What ends the file early (a quote
 * that never closes, a line without end, a disk error) comes as the last item.
 */
export async function* csvLines(input: string, file: string, delimiter: string): AsyncGenerator<FileLine | Problem> {
  const source = createReadStream(file);
  const parser = parse({
    delimiter,
    bom: true,
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: LINE_BYTES_MAX,
    quote: delimiter === "\t" ? null : '"',
  });
  source.on("error", (cause) => parser.destroy(cause));
  source.pipe(parser);
  let line = 0;
  try {
    for await (const { info, record } of parser as AsyncIterable<{ info: { lines: number }; record: string[] }>) {
      line = info.lines;
      if (record.length > COLUMNS_MAX) {
        yield fileWrong(input, file, line, `${record.length} columns, at most ${COLUMNS_MAX}`);
        return;
      }
      yield { line, cells: record };
    }
  } catch (cause) {
    // Not all of its codes begin with CSV_: INVALID_OPENING_QUOTE does not.
    if (cause instanceof CsvError) yield fileWrong(input, file, line, cause.message);
    else yield problem("INPUT_FILE_UNREADABLE", { input, file, reason: reasonOf(cause) });
  } finally {
    source.destroy();
    parser.destroy();
  }
}

/** The lines of a blank-separated text file, bounded in length; the last item may be what ended it early. */
export async function* textLines(
  input: string,
  file: string,
): AsyncGenerator<{ line: number; text: string } | Problem> {
  const source = createReadStream(file, { encoding: "latin1" });
  let line = 0;
  let rest = "";
  try {
    for await (const chunk of source as AsyncIterable<string>) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop()!;
      for (const text of lines) {
        line += 1;
        if (text.trim() !== "") yield { line, text };
      }
      if (rest.length > LINE_BYTES_MAX) {
        yield fileWrong(input, file, line, `line ${line + 1} has more than ${LINE_BYTES_MAX} characters`);
        return;
      }
    }
    if (rest.trim() !== "") yield { line: line + 1, text: rest };
  } catch (cause) {
    yield problem("INPUT_FILE_UNREADABLE", { input, file, reason: reasonOf(cause) });
  } finally {
    source.destroy();
  }
}

function fileWrong(input: string, file: string, line: number, reason: string): Problem {
  return problem("INPUT_FILE_WRONG", { input, file, line, reason: reason.replace(/\.$/, "").slice(0, 300) });
}

function reasonOf(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EISDIR") return "it is a folder";
  return code ?? message;
}
