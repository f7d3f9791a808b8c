import { CMAPSS_CHANNELS, parseCmapssLine } from "@bellwether/protocol/cmapss.ts";
import { csvRecords, type FileLine, LineFault, textLines } from "@bellwether/protocol/files/lines.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { assemble, type FailureLine, type ReadHistory } from "./assemble.ts";
import {
  type CellCounts,
  HISTORY_LIMITS,
  HistoryCollector,
  type HistoryLimits,
  readCell,
  readCells,
} from "./collect.ts";
import { assetAndTime, type SampleColumns, sampleColumns, splitHeader } from "./header.ts";
import type { HistoryReport } from "./report.ts";
import { DEFAULT_START_MS, DEFAULT_STEP_MS, type HistoryRequest } from "./request.ts";
import type { HistorySnapshot } from "./snapshot.ts";
import { sniff } from "./sniff.io.ts";
import { type TimeReader, timeReader } from "./times.ts";

/** The uploaded files of a request, by path on this machine. */
export interface HistoryPaths {
  readonly samples: string;
  readonly failures?: string;
}

type Samples = Omit<ReadHistory, "failures" | "runToFailure" | "sources">;

/**
 * Reads the files of a history, line by line; what is wrong comes back as a coded error that names file and line. The
 * values are held in memory once, within `limits`.
 */
export async function readHistory(
  paths: HistoryPaths,
  request: HistoryRequest,
  limits: HistoryLimits = HISTORY_LIMITS,
): Promise<Result<{ snapshot: HistorySnapshot; report: HistoryReport }>> {
  const file = request.samples.fileName ?? "samples";
  const shape = await sniff(paths.samples, file);
  if (!shape.ok) return shape;
  const format = request.format === undefined || request.format === "auto" ? shape.value.format : request.format;
  const samples = await guarded(file, () =>
    format === "cmapss"
      ? readCmapss(paths.samples, file, request, limits)
      : readCsv(paths.samples, file, shape.value.delimiter, request, limits),
  );
  if (!samples.ok) return samples;
  let failures: ReadHistory["failures"];
  if (paths.failures !== undefined) {
    const failuresFile = request.failures?.fileName ?? "failures";
    const read = await guarded(failuresFile, () => readFailures(paths.failures!, failuresFile, request));
    if (!read.ok) return read;
    failures = { file: failuresFile, lines: read.value };
  }
  return assemble({
    ...samples.value,
    failures,
    // The C-MAPSS training files end each engine with its failure; that is what they are for.
    runToFailure: request.runToFailure ?? (format === "cmapss" && failures === undefined),
    sources: [request.samples.digest, ...(request.failures === undefined ? [] : [request.failures.digest])],
  });
}

async function guarded<T>(file: string, read: () => Promise<Result<T>>): Promise<Result<T>> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof LineFault) {
      return err("HISTORY_LINE_WRONG", { file, line: cause.line, reason: cause.message });
    }
    throw cause;
  }
}

function timesOf(file: string, request: HistoryRequest): Result<TimeReader> {
  return timeReader(file, {
    format: request.timeFormat ?? "auto",
    ...(request.timeZone === undefined ? {} : { timeZone: request.timeZone }),
    startMs: request.startMs ?? DEFAULT_START_MS,
    stepMs: request.stepMs ?? DEFAULT_STEP_MS,
  });
}

async function readCsv(
  path: string,
  file: string,
  delimiter: string,
  request: HistoryRequest,
  limits: HistoryLimits,
): Promise<Result<Samples>> {
  const records = csvRecords(path, delimiter);
  try {
    const header = await records.next();
    if (header.done === true) return err("HISTORY_EMPTY", { file, what: "nothing" });
    const unitsRow = request.unitsRow === true ? await records.next() : undefined;
    const columns = sampleColumns(file, header.value.cells, unitsRow?.value?.cells, {
      ...given(request, "asset", "assetColumn", "timeColumn", "targetColumn"),
      ignore: request.ignore ?? [],
      units: request.units ?? {},
    });
    if (!columns.ok) return columns;
    return await readRows(records, file, header.value.cells.length, delimiter, columns.value, request, limits);
  } finally {
    await records.return(undefined);
  }
}

async function readRows(
  records: AsyncGenerator<FileLine>,
  file: string,
  width: number,
  delimiter: string,
  columns: SampleColumns,
  request: HistoryRequest,
  limits: HistoryLimits,
): Promise<Result<Samples>> {
  const times = timesOf(file, request);
  if (!times.ok) return times;
  const { channels } = columns;
  const collector = new HistoryCollector(file, channels.length, columns.target >= 0, limits);
  const counts = channels.map((): CellCounts => ({ missing: 0, nonNumeric: 0, example: undefined }));
  const values = new Float64Array(channels.length);
  // Where a semicolon parts the columns, a comma parts the decimals.
  const decimalComma = delimiter === ";";
  for await (const { line, cells } of records) {
    if (cells.length !== width) {
      return err("HISTORY_LINE_WRONG", { file, line, reason: `${cells.length} cells, the header has ${width}` });
    }
    const time = times.value.read(cells[columns.time]!, line);
    if (!time.ok) return time;
    const target = columns.target < 0 ? Number.NaN : readTarget(cells[columns.target]!, decimalComma);
    if (target === undefined) {
      const text = cells[columns.target]!.slice(0, 40);
      return err("HISTORY_LINE_WRONG", { file, line, reason: `the target "${text}" is no number` });
    }
    readCells(channels, cells, line, decimalComma, counts, values);
    const added = collector.add(line, assetOf(cells, columns.asset, request), time.value, values, target);
    if (!added.ok) return added;
  }
  if (collector.rows === 0) return err("HISTORY_EMPTY", { file, what: "a header and no rows" });
  const { value: reader } = times;
  return ok({
    file,
    assets: collector.finish(),
    columns: channels,
    counts,
    target: columns.targetName,
    ignored: columns.left,
    times: { kind: reader.kind() ?? "none", timeZone: request.timeZone, ambiguous: reader.ambiguous() },
    outOfOrder: collector.outOfOrder,
    duplicates: collector.duplicates,
    contradictions: collector.contradictions,
  });
}

/** The asset a line is of; `column` -1 where the file is of one asset. */
function assetOf(cells: readonly string[], column: number, request: HistoryRequest): string {
  return `${request.assetPrefix ?? ""}${column < 0 ? request.asset : cells[column]!.trim()}`;
}

/** Those of the members that are there. */
function given<K extends keyof HistoryRequest>(request: HistoryRequest, ...names: K[]): Pick<HistoryRequest, K> {
  return Object.fromEntries(
    names.filter((name) => request[name] !== undefined).map((name) => [name, request[name]]),
  ) as Pick<HistoryRequest, K>;
}

function readTarget(text: string, decimalComma: boolean): number | undefined {
  const value = readCell(text, decimalComma);
  return value === "missing" ? Number.NaN : value;
}

async function readCmapss(
  path: string,
  file: string,
  request: HistoryRequest,
  limits: HistoryLimits,
): Promise<Result<Samples>> {
  const channels = CMAPSS_CHANNELS.map(({ channel, unit }, index) => {
    const given = request.units?.[channel];
    return { index, column: channel, channel, unit: given ?? unit, unitDeclared: true };
  });
  const collector = new HistoryCollector(file, channels.length, false, limits);
  const values = new Float64Array(channels.length);
  const { startMs = DEFAULT_START_MS, stepMs = DEFAULT_STEP_MS, assetPrefix = "engine-" } = request;
  for await (const { line, text } of textLines(path)) {
    const row = parseCmapssLine(text);
    if (typeof row === "string") return err("HISTORY_LINE_WRONG", { file, line, reason: row });
    values.set(row.values);
    const added = collector.add(
      line,
      `${assetPrefix}${row.unit}`,
      startMs + (row.cycle - 1) * stepMs,
      values,
      Number.NaN,
    );
    if (!added.ok) return added;
  }
  if (collector.rows === 0) return err("HISTORY_EMPTY", { file, what: "no rows" });
  return ok({
    file,
    assets: collector.finish(),
    columns: channels,
    counts: channels.map(() => ({ missing: 0, nonNumeric: 0, example: undefined })),
    target: undefined,
    ignored: [],
    times: { kind: "steps", timeZone: undefined, ambiguous: 0 },
    outOfOrder: collector.outOfOrder,
    duplicates: collector.duplicates,
    contradictions: collector.contradictions,
  });
}

const FAILURES_MAX = 1_000_000;

/** The failures file: asset and time of each; further columns (mode, work order) are for people. */
async function readFailures(path: string, file: string, request: HistoryRequest): Promise<Result<FailureLine[]>> {
  const shape = await sniff(path, file);
  if (!shape.ok) return shape;
  const times = timesOf(file, request);
  if (!times.ok) return times;
  const failures: FailureLine[] = [];
  const records = csvRecords(path, shape.value.delimiter);
  try {
    const header = await records.next();
    if (header.done === true) return err("HISTORY_EMPTY", { file, what: "nothing" });
    const names = header.value.cells.map((cell) => splitHeader(cell).name);
    // The options name the samples' columns; a failures file often calls them as everybody does.
    const named = (column: string | undefined) => column !== undefined && names.includes(column);
    const columns = assetAndTime(file, names, {
      ...given(request, "asset"),
      ...(named(request.assetColumn) ? { assetColumn: request.assetColumn! } : {}),
      ...(named(request.timeColumn) ? { timeColumn: request.timeColumn! } : {}),
    });
    if (!columns.ok) return columns;
    for await (const { line, cells } of records) {
      if (cells.length !== header.value.cells.length) {
        const reason = `${cells.length} cells, the header has ${header.value.cells.length}`;
        return err("HISTORY_LINE_WRONG", { file, line, reason });
      }
      const time = times.value.read(cells[columns.value.time]!, line);
      if (!time.ok) return time;
      failures.push({ line, asset: assetOf(cells, columns.value.asset, request), atMs: time.value });
      if (failures.length > FAILURES_MAX) {
        return err("TOO_LARGE", {
          what: `The file ${file}`,
          actual: failures.length,
          unit: "failures",
          limit: FAILURES_MAX,
        });
      }
    }
    return ok(failures);
  } finally {
    await records.return(undefined);
  }
}
