import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { CellCounts, OrderedAsset } from "./collect.ts";
import type { ChannelColumn } from "./header.ts";
import type { ChannelReport, HistoryReport } from "./report.ts";
import type { HistoryAsset, HistorySnapshot } from "./snapshot.ts";

/** A failure as a line of a failures file says it. */
export interface FailureLine {
  readonly line: number;
  readonly asset: string;
  readonly atMs: number;
}

/** Everything that was read, ready to be put together. */
export interface ReadHistory {
  readonly file: string;
  readonly assets: readonly OrderedAsset[];
  readonly columns: readonly ChannelColumn[];
  readonly counts: readonly CellCounts[];
  readonly target: string | undefined;
  readonly ignored: readonly string[];
  readonly failures: { readonly file: string; readonly lines: readonly FailureLine[] } | undefined;
  /** Every asset's last row is its failure. */
  readonly runToFailure: boolean;
  readonly times: { readonly kind: string; readonly timeZone: string | undefined; readonly ambiguous: number };
  readonly outOfOrder: number;
  readonly duplicates: number;
  readonly contradictions: number;
  readonly sources: readonly string[];
}

/** A pause counts as a gap from this many median intervals on. */
const GAP_INTERVALS = 5;

/** Puts snapshot and report together; columns of text are left out and named. */
export function assemble(read: ReadHistory): Result<{ snapshot: HistorySnapshot; report: HistoryReport }> {
  const { columns, counts, file } = read;
  const kept = columns.map((_, c) => {
    const values = countValues(read.assets, c);
    return values > 0 && values >= counts[c]!.nonNumeric;
  });
  const ignored = [
    ...read.ignored.map((column) => ({ column, reason: "left out by request" })),
    ...columns.flatMap(({ column }, c) => {
      if (kept[c]) return [];
      const { nonNumeric, example } = counts[c]!;
      return [{ column, reason: nonNumeric > 0 ? `mostly text, such as ${example}` : "it is empty" }];
    }),
  ];
  if (!kept.includes(true)) return err("HISTORY_EMPTY", { file, what: "no column of numbers" });
  const assets = withFailures(read, kept);
  if (!assets.ok) return assets;
  const channels = columns.filter((_, c) => kept[c]).map(({ channel, unit }) => ({ channel, unit }));
  const snapshot = { channels, target: read.target, assets: assets.value, sources: read.sources };
  return ok({ snapshot, report: reportOf(read, snapshot, kept, ignored) });
}

function countValues(assets: readonly OrderedAsset[], channel: number): number {
  let count = 0;
  for (const asset of assets) for (const value of asset.channels[channel]!) if (!Number.isNaN(value)) count += 1;
  return count;
}

function withFailures(read: ReadHistory, kept: readonly boolean[]): Result<HistoryAsset[]> {
  const byAsset = new Map<string, number[]>(read.assets.map(({ asset }) => [asset, []]));
  for (const { line, asset, atMs } of read.failures?.lines ?? []) {
    const times = byAsset.get(asset);
    if (times === undefined) return err("HISTORY_FAILURE_UNPLACED", { file: read.failures!.file, line, asset });
    times.push(atMs);
  }
  return ok(
    read.assets.map(({ asset, timesMs, channels, target }) => {
      const last = timesMs.at(-1)!;
      const times = byAsset.get(asset)!;
      if (read.runToFailure && !times.some((atMs) => atMs >= last)) times.push(last);
      // A failure before the first row says nothing of these rows.
      const inside = [...new Set(times)].filter((atMs) => atMs >= timesMs[0]!).toSorted((a, b) => a - b);
      return {
        asset,
        timesMs,
        channels: channels.filter((_, c) => kept[c]),
        target,
        failuresMs: Float64Array.from(inside),
      };
    }),
  );
}

function reportOf(
  read: ReadHistory,
  snapshot: HistorySnapshot,
  kept: readonly boolean[],
  ignored: HistoryReport["ignored"],
): HistoryReport {
  const { assets } = snapshot;
  const intervalMs = medianInterval(assets);
  const gaps = gapsOf(assets, intervalMs);
  let at = 0;
  const channels = read.columns.flatMap((column, c) =>
    kept[c] ? [channelReport(column, read.counts[c]!, assets, at++)] : [],
  );
  const report = {
    rows: assets.reduce((sum, { timesMs }) => sum + timesMs.length, 0),
    assets: assets.length,
    failures: assets.reduce((sum, { failuresMs }) => sum + failuresMs.length, 0),
    assetsWithoutFailure: assets.filter(({ failuresMs }) => failuresMs.length === 0).length,
    fromMs: assets.reduce((least, { timesMs }) => Math.min(least, timesMs[0]!), Number.POSITIVE_INFINITY),
    toMs: assets.reduce((most, { timesMs }) => Math.max(most, timesMs.at(-1)!), 0),
    timeKind: read.times.kind,
    timeZone: read.times.timeZone ?? null,
    ambiguousTimes: read.times.ambiguous,
    intervalMs,
    gaps: gaps.length,
    largestGaps: gaps.slice(0, 20),
    duplicates: read.duplicates,
    contradictions: read.contradictions,
    outOfOrder: read.outOfOrder,
    channels,
    ignored,
    target: targetReport(read.target, assets),
  };
  return { ...report, warnings: warningsOf(report, read) };
}

function channelReport(
  column: ChannelColumn,
  counts: CellCounts,
  assets: readonly HistoryAsset[],
  at: number,
): ChannelReport {
  const figures = figuresOf(assets.map((asset) => asset.channels[at]!));
  const { channel, unit, unitDeclared, column: name } = column;
  return {
    channel,
    unit,
    unitDeclared,
    column: name,
    values: figures.values,
    missing: counts.missing,
    nonNumeric: counts.nonNumeric,
    ...(counts.example === undefined ? {} : { nonNumericExample: counts.example }),
    min: figures.min,
    max: figures.max,
    mean: figures.mean,
    constant: figures.min === figures.max,
  };
}

function figuresOf(columns: readonly Float64Array[]) {
  let values = 0;
  let mean = 0;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const column of columns) {
    for (const value of column) {
      if (Number.isNaN(value)) continue;
      values += 1;
      mean += (value - mean) / values;
      if (value < min) min = value;
      if (value > max) max = value;
    }
  }
  return values === 0 ? { values, mean: null, min: null, max: null } : { values, mean, min, max };
}

function targetReport(column: string | undefined, assets: readonly HistoryAsset[]): HistoryReport["target"] {
  if (column === undefined) return null;
  const { values, min, max } = figuresOf(assets.map(({ target }) => target!));
  const rows = assets.reduce((sum, { timesMs }) => sum + timesMs.length, 0);
  return { column, values, missing: rows - values, min, max };
}

/** Median over (at most 100,000 of) the times between neighbouring rows of an asset; null without any. */
function medianInterval(assets: readonly HistoryAsset[]): number | null {
  const intervals: number[] = [];
  for (const { timesMs } of assets) {
    for (let i = 1; i < timesMs.length && intervals.length < 100_000; i += 1) {
      intervals.push(timesMs[i]! - timesMs[i - 1]!);
    }
  }
  if (intervals.length === 0) return null;
  return Math.round(intervals.toSorted((a, b) => a - b)[intervals.length >> 1]!);
}

function gapsOf(assets: readonly HistoryAsset[], intervalMs: number | null): HistoryReport["largestGaps"] {
  if (intervalMs === null) return [];
  const gaps: { asset: string; fromMs: number; toMs: number }[] = [];
  for (const { asset, timesMs } of assets) {
    for (let i = 1; i < timesMs.length; i += 1) {
      const fromMs = timesMs[i - 1]!;
      const toMs = timesMs[i]!;
      if (toMs - fromMs > GAP_INTERVALS * intervalMs) gaps.push({ asset, fromMs, toMs });
    }
  }
  return gaps.sort((a, b) => b.toMs - b.fromMs - (a.toMs - a.fromMs));
}

function warningsOf(report: Omit<HistoryReport, "warnings">, read: ReadHistory): string[] {
  const warnings: string[] = [];
  const undeclared = report.channels.filter(({ unitDeclared }) => !unitDeclared).map(({ channel }) => channel);
  if (undeclared.length > 0) {
    const names = undeclared.slice(0, 5).join(", ") + (undeclared.length > 5 ? ", …" : "");
    warnings.push(
      `${undeclared.length} channels have no unit (${names}): a device that declares one for them will not match.`,
    );
  }
  if (report.contradictions > 0) {
    warnings.push(`${report.contradictions} rows contradict an earlier one of the same asset and time.`);
  }
  if (report.ambiguousTimes > 0) {
    warnings.push(`${report.ambiguousTimes} times were shown twice by the clock; the earlier instant was taken.`);
  }
  const noisy = report.channels.filter(({ nonNumeric }) => nonNumeric > 0).map(({ channel }) => channel);
  if (noisy.length > 0) warnings.push(`Cells that are no number stand in ${noisy.slice(0, 5).join(", ")}.`);
  const constant = report.channels.filter((channel) => channel.constant).map(({ channel }) => channel);
  if (constant.length > 0) {
    warnings.push(
      `${constant.length} channels never change and will not be learnt from: ${constant.slice(0, 8).join(", ")}.`,
    );
  }
  if (read.target === undefined && report.failures === 0) {
    warnings.push("There is neither a failure nor a target column: nothing can be learnt from this history yet.");
  }
  return warnings;
}
