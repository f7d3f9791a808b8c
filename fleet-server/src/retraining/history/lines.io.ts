import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { CsvError, parse } from "csv-parse";

const LINE_BYTES_MAX = 256 * 1024;
const COLUMNS_MAX = 2_048;
const HEAD_BYTES = 64 * 1024;

/** A text file as it turned out to be. */
export interface TextShape {
  readonly format: "csv" | "cmapss";
  readonly delimiter: string;
}

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

/** Looks at a file's beginning: is it text, with what between the columns? */
export async function sniff(path: string, file: string): Promise<Result<TextShape>> {
  const handle = await open(path);
  let head: Buffer;
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    head = buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
  if (head.length === 0) return err("HISTORY_EMPTY", { file, what: "nothing" });
  const packed = packedAs(head);
  if (packed !== undefined) return err("HISTORY_NOT_TEXT", { file, reason: packed });
  const end = head.indexOf(10);
  const first = head.subarray(0, end < 0 ? head.length : end);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(first);
  } catch {
    return err("HISTORY_NOT_TEXT", { file, reason: "its first line is not UTF-8" });
  }
  if (/^\s*\d+(\s+[-+.\deE]+){20,}\s*$/.test(text)) return ok({ format: "cmapss", delimiter: " " });
  const outside = text.replace(/"[^"]*"/g, "");
  const counts = ["\t", ";", ",", "|"].map((delimiter) => [delimiter, outside.split(delimiter).length] as const);
  const [delimiter] = counts.reduce((best, next) => (next[1] > best[1] ? next : best));
  return ok({ format: "csv", delimiter });
}

function packedAs(head: Buffer): string | undefined {
  if (head[0] === 0x1f && head[1] === 0x8b) return "it is compressed with gzip";
  if (head[0] === 0x50 && head[1] === 0x4b) return "it is a zip or a spreadsheet";
  if (head.length > 4 && head.readUInt32LE(0) === 0xfd2fb528) return "it is compressed with zstd";
  if (head.toString("latin1", 0, 4) === "PAR1") return "it is Parquet";
  return head.includes(0) ? "it holds zero bytes" : undefined;
}

/** The records of a CSV file, header first; throws {@link LineFault} where it ends early. */
export async function* csvRecords(path: string, delimiter: string): AsyncGenerator<FileLine> {
  const source = createReadStream(path, { highWaterMark: 1024 * 1024 });
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
    if (cause instanceof CsvError) throw new LineFault(line + 1, cause.message);
    throw cause;
  } finally {
    source.destroy();
    parser.destroy();
  }
}

/** The lines of a text file that are not empty. */
export async function* textLines(path: string): AsyncGenerator<{ readonly line: number; readonly text: string }> {
  const source = createReadStream(path, { encoding: "latin1" });
  let line = 0;
  let rest = "";
  try {
    for await (const chunk of source as AsyncIterable<string>) {
      const lines = (rest + chunk).split("\n");
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
