import { CMAPSS_CHANNELS, type CmapssRow, parseCmapssLine } from "@bellwether/protocol/cmapss.ts";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { isName } from "@bellwether/protocol/ids.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import type { ReplayInputConfig } from "../config/config.ts";
import { cursorNumber, loopAdapter, sparing } from "./adapter.io.ts";
import type { AssetChannels, InputAdapter, InputContext, JsonValue } from "./input.ts";
import { type Portion, pump } from "./pace.io.ts";
import { ASSETS_MAX, assetOfLine, lineReader, stepTime } from "./replay.ts";
import { cmapssLines, csvLines, identityOf } from "./replay-file.io.ts";
import { birthOf, rowOf } from "./row.ts";

/** Engines and cycles are held in memory, to play them side by side. */
const CMAPSS_ROWS_MAX = 500_000;
const REPORT_AGAIN = 1_000;
/** A portion of this many rows takes no more ticks: what waits for the pipeline is bounded. */
const PORTION_ROWS_MAX = 512;

type Tick = { readonly rows: TelemetryRow[]; readonly row: number };

/**
 * A recorded file played again. The cursor is the file's identity and the number of rows (C-MAPSS: cycles) already
 * durable, so a restart goes on exactly there; another file under the same name begins at its beginning.
 */
export function createReplayInput(config: ReplayInputConfig, context: InputContext): InputAdapter {
  const report = sparing(context.onProblem, REPORT_AGAIN);
  return loopAdapter(
    config.id,
    context,
    () => declare(config, report),
    async (emit, signal) => {
      const identity = identityOf(config.id, config.file);
      if (!identity.ok) return report(identity.error);
      const from = resumeAt(context.cursor, identity.value, () =>
        report(problem("INPUT_FILE_CHANGED", { input: config.id, file: config.file })),
      );
      const ticks = config.format === "cmapss" ? cmapssTicks(config, report) : csvTicks(config, report);
      const next = portions(ticks, from, identity.value);
      try {
        if ((await pump(config.rowsPerSecond, signal, next, emit)) === "ended") context.onEnd?.();
      } finally {
        await ticks.return(undefined);
      }
    },
  );
}

function resumeAt(cursor: JsonValue | undefined, identity: string, onChanged: () => void): number {
  const row = cursorNumber(cursor, "row");
  if (row === undefined) return 0;
  if ((cursor as { readonly file?: JsonValue }).file === identity) return row;
  onChanged();
  return 0;
}

/** Several ticks at once, and where to go on after them; ticks before `from` are durable already. */
function portions(ticks: AsyncGenerator<Tick>, from: number, file: string) {
  return async (ticksMax: number): Promise<Portion | undefined> => {
    const rows: TelemetryRow[] = [];
    let taken = 0;
    let row = from;
    while (taken < ticksMax && rows.length < PORTION_ROWS_MAX) {
      const { done, value } = await ticks.next();
      if (done === true) break;
      if (value.row <= from) continue;
      rows.push(...value.rows);
      row = value.row;
      taken += 1;
    }
    return taken === 0 ? undefined : { rows, ticks: taken, cursor: { file, row } };
  };
}

type Report = (fault: Problem) => void;

const delimiterOf = ({ format }: ReplayInputConfig) => (format === "tsv" ? "\t" : ",");

async function* csvTicks(config: ReplayInputConfig, report: Report): AsyncGenerator<Tick> {
  const { id: input, file } = config;
  let reader: ReturnType<typeof lineReader> | undefined;
  let row = 0;
  for await (const item of csvLines(input, file, delimiterOf(config))) {
    if ("code" in item) return report(item);
    if (reader === undefined) {
      reader = lineReader(config, item.cells);
      if (!reader.ok) return report(reader.error);
      continue;
    }
    if (!reader.ok) return;
    const read = reader.value.read(item.cells);
    row += 1;
    if (typeof read === "string") {
      report(problem("INPUT_ROW_WRONG", { input, file, line: item.line, reason: read }));
      continue;
    }
    for (const { channel, reason } of read.unreadable) {
      report(problem("INPUT_VALUE_WRONG", { input, file, line: item.line, channel, reason }));
    }
    if (read.row !== undefined) yield { rows: [read.row], row };
  }
  if (reader === undefined) report(problem("INPUT_FILE_WRONG", { input, file, line: 1, reason: "it has no header" }));
}

/** All engines side by side: one tick is one cycle of every engine that has it. */
async function* cmapssTicks(config: ReplayInputConfig, report: Report): AsyncGenerator<Tick> {
  const cycles = new Map<number, CmapssRow[]>();
  for (const row of await cmapssRows(config, report)) {
    const cycle = cycles.get(row.cycle);
    if (cycle === undefined) cycles.set(row.cycle, [row]);
    else cycle.push(row);
  }
  for (const cycle of [...cycles.keys()].sort((a, b) => a - b)) {
    const rows = cycles.get(cycle)!.sort((a, b) => a.unit - b.unit);
    cycles.delete(cycle);
    yield { rows: rows.map((row) => cmapssTelemetry(config, row)), row: cycle };
  }
}

function observedAt({ time }: ReplayInputConfig, { cycle }: CmapssRow): number | undefined {
  if (time.kind !== "steps") throw new Error("C-MAPSS files have no time column");
  return stepTime(time, cycle - 1);
}

function cmapssTelemetry(config: ReplayInputConfig, row: CmapssRow): TelemetryRow {
  return rowOf(
    `${config.assetPrefix}${row.unit}`,
    observedAt(config, row)!,
    CMAPSS_CHANNELS.map((channel, i) => [channel, row.values[i]] as const),
  );
}

async function cmapssRows(config: ReplayInputConfig, report: Report): Promise<CmapssRow[]> {
  const { id: input, file } = config;
  const rows: CmapssRow[] = [];
  let lines = 0;
  const only = config.only === undefined ? undefined : new Set(config.only);
  for await (const item of cmapssLines(input, file)) {
    if ("code" in item) {
      report(item);
      break;
    }
    lines += 1;
    const row = parseCmapssLine(item.text);
    if (typeof row === "string") {
      report(problem("INPUT_ROW_WRONG", { input, file, line: item.line, reason: row }));
      continue;
    }
    if (observedAt(config, row) === undefined) {
      const reason = `cycle ${row.cycle} is no time`;
      report(problem("INPUT_ROW_WRONG", { input, file, line: item.line, reason }));
      continue;
    }
    if (only !== undefined && !only.has(`${config.assetPrefix}${row.unit}`)) continue;
    if (row.cycle > (config.rows ?? Number.POSITIVE_INFINITY)) continue;
    if (rows.length === CMAPSS_ROWS_MAX) {
      report(
        problem("INPUT_FILE_WRONG", { input, file, line: item.line, reason: `more than ${CMAPSS_ROWS_MAX} rows` }),
      );
      break;
    }
    rows.push(row);
  }
  if (lines === 0) report(problem("INPUT_FILE_WRONG", { input, file, line: 1, reason: "it has no row" }));
  return rows;
}

/** Assets and channels: from the configuration where it names the asset, from the file where its rows do. */
async function declare(config: ReplayInputConfig, report: Report): Promise<Result<readonly AssetChannels[]>> {
  const readable = identityOf(config.id, config.file);
  if (!readable.ok) return readable;
  const assets = await assetsOf(config, report);
  return ok(
    [...assets].map((asset) => ({
      asset,
      channels: config.points.filter((point) => (point.asset ?? asset) === asset).map(birthOf),
    })),
  );
}

async function assetsOf(config: ReplayInputConfig, report: Report): Promise<Set<string>> {
  if (config.asset !== undefined) return new Set([config.asset]);
  const assets = new Set<string>();
  if (config.format === "cmapss") {
    for (const { unit } of await cmapssRows(config, report)) assets.add(`${config.assetPrefix}${unit}`);
    return assets;
  }
  let header: readonly string[] | undefined;
  for await (const item of csvLines(config.id, config.file, delimiterOf(config))) {
    // Reported when the rows are played; here only what can be known counts.
    if ("code" in item || assets.size >= ASSETS_MAX) break;
    if (header === undefined) header = item.cells;
    else {
      const asset = assetOfLine(config, header, item.cells);
      if (isName(asset) && (config.only?.includes(asset) ?? true)) assets.add(asset);
    }
  }
  return assets;
}
