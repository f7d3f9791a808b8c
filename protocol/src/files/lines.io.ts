import { createReadStream } from "node:fs";
import { CsvError, parse } from "csv-parse";

const LINE_BYTES_MAX = 256 * 1024;
const COLUMNS_MAX = 4_096;
const READ_BYTES = 256 * 1024;

/** A record of a file and the line it ends on. */
export interface FileLine {
  readonly line: number;
  readonly cells: readonly string[];
}

/** The file's end came early: what was wrong there. */
export class LineFault extends Error {
  readonly line: number;
  constructor(line: number, reason: string) {
    super(reason.replace(/\.$/, "").slice(0, 300));
    this.line = line;
  }
}

/**
 * The records of a CSV or TSV file as they are asked for, header first; throws {@link LineFault} where it ends early (a quote
 * that never closes, a line without end), and what the disk says.
 */
export async function* csvRecords(path: string, delimiter: string): AsyncGenerator<FileLine> {
  const source = createReadStream(path, { highWaterMark: READ_BYTES });
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
      if (record.length > COLUMNS_MAX) throw new LineFault(line, `${record.length} columns, at most ${COLUMNS_MAX}`);
      yield { line, cells: record };
    }
  } catch (cause) {
    // Not all of its codes begin with CSV_: INVALID_OPENING_QUOTE does not.
    if (cause instanceof CsvError) throw new LineFault(line + 1, cause.message);
    throw cause;
  } finally {
    source.destroy();
    parser.destroy();
  }
}

/** What a byte order mark looks like in Latin-1. */
const MARK = /^\u00ef\u00bb\u00bf/;

/** The lines of a blank-separated text file that are not empty; throws {@link LineFault} at one that is too long. */
export async function* textLines(path: string): AsyncGenerator<{ readonly line: number; readonly text: string }> {
  const source = createReadStream(path, { encoding: "latin1" });
  let line = 0;
  let rest = "";
  try {
    for await (const chunk of source as AsyncIterable<string>) {
      const lines = (line === 0 ? (rest + chunk).replace(MARK, "") : rest + chunk).split("\n");
      rest = lines.pop()!;
      if (rest.length > LINE_BYTES_MAX) throw new LineFault(line + 1, `it has more than ${LINE_BYTES_MAX} characters`);
      for (const text of lines) {
        line += 1;
        if (text.trim() !== "") yield { line, text };
      }
    }
    if (rest.trim() !== "") yield { line: line + 1, text: rest };
  } finally {
    source.destroy();
  }
}
