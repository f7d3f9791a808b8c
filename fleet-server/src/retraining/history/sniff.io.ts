import { open } from "node:fs/promises";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";

const HEAD_BYTES = 64 * 1024;

/** A text file as it turned out to be. */
export interface TextShape {
  readonly format: "csv" | "cmapss";
  readonly delimiter: string;
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
