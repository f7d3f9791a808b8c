import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { parse } from "csv-parse/sync";

const COLUMN = "serial";

/**
 * The serial numbers of a CSV file, each once: its column `serial` (any case) where there is a header with one, else its
 * only column. Separators are commas, semicolons or tabs; cells may be quoted.
 */
export function readSerials(text: string, file: string): Result<readonly string[]> {
  const unreadable = (expected: string) => err("ARGUMENT_INVALID", { name: `--serial-list ${file}`, expected });
  let rows: string[][];
  try {
    const delimiter = [",", ";", "\t"];
    rows = parse(text, { delimiter, bom: true, trim: true, relax_column_count: true, skip_empty_lines: true });
  } catch (cause) {
    return unreadable(`cannot be read: ${(cause as Error).message}`);
  }
  const [header = []] = rows;
  const named = header.findIndex((cell) => cell.toLowerCase() === COLUMN);
  if (named < 0 && rows.some((cells) => cells.length > 1)) {
    return unreadable(`must have a column "${COLUMN}", or one column alone`);
  }
  const serials = (named < 0 ? rows : rows.slice(1)).map((cells) => cells[Math.max(0, named)] ?? "");
  const unique = [...new Set(serials.filter((serial) => serial !== ""))];
  return unique.length > 0 ? ok(unique) : unreadable("must name one serial number at least");
}
