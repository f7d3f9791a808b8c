import { type Static, Type } from "typebox";
import { type ColumnFault, type ResolutionOf, type TelemetryColumns, telemetryColumns } from "./columns.ts";
import { columnsOfRows } from "./columns-of-rows.ts";
import { BUCKET_FIGURES, type BucketFigures, type DownsampledRow, type TelemetryRow } from "./messages/stream.ts";
import { rowsOfColumns } from "./rows-of-columns.ts";

const Figures = Type.Object(telemetryColumns);

/** Schema of downsampled rows as they travel: of each figure the same rows, in the columns of telemetry. */
export const DownsampledColumns = Type.Object({
  count: Figures,
  min: Figures,
  mean: Figures,
  max: Figures,
  last: Figures,
});
export type DownsampledColumns = Static<typeof DownsampledColumns>;

/** Downsampled rows to columns; `rowsOfDownsampled` gives back the same. */
export function columnsOfDownsampled(
  rows: readonly DownsampledRow[],
  resolutionOf: ResolutionOf,
): Readonly<Record<keyof BucketFigures, TelemetryColumns>> {
  const of = (figure: keyof BucketFigures) =>
    columnsOfRows(
      rows.map(({ asset, observedAtMs, figures }): TelemetryRow => {
        const values: Record<string, number> = {};
        for (const channel in figures) values[channel] = (figures[channel] as BucketFigures)[figure];
        return { asset, observedAtMs, values };
      }),
      resolutionOf,
    );
  return { count: of("count"), min: of("min"), mean: of("mean"), max: of("max"), last: of("last") };
}

/** Columns that fit their schema back to downsampled rows, or the first fault. Never throws. */
export function rowsOfDownsampled(columns: DownsampledColumns): DownsampledRow[] | ColumnFault {
  const rows: MutableRow[] = [];
  for (const figure of BUCKET_FIGURES) {
    const own = rowsOfColumns(columns[figure]);
    if (!Array.isArray(own)) return { path: `/downsampled/${figure}${own.path}`, reason: own.reason };
    const reason = fill(rows, own, figure);
    if (reason !== undefined) return { path: `/downsampled/${figure}`, reason };
  }
  for (const { figures } of rows) {
    for (const channel in figures) {
      if (!isSound(figures[channel] as BucketFigures)) {
        return { path: "/downsampled", reason: `figures of ${channel} that contradict each other` };
      }
    }
  }
  return rows as DownsampledRow[];
}

interface MutableRow extends Omit<DownsampledRow, "figures"> {
  readonly figures: Record<string, Partial<Record<keyof BucketFigures, number>>>;
}

/** Puts one figure of all rows where it belongs; the first figure makes the rows, and the others must be of the same. */
function fill(rows: MutableRow[], own: readonly TelemetryRow[], figure: keyof BucketFigures): string | undefined {
  const first = figure === BUCKET_FIGURES[0];
  if (!first && own.length !== rows.length) return `${own.length} rows where there are ${rows.length}`;
  for (const [index, { asset, observedAtMs, values }] of own.entries()) {
    if (first) rows.push({ asset, observedAtMs, figures: {} });
    const row = rows[index] as MutableRow;
    if (row.asset !== asset || row.observedAtMs !== observedAtMs) return "rows of other assets or times";
    let channels = 0;
    for (const channel in values) {
      const value = values[channel];
      if (typeof value !== "number") return `no number of ${channel}`;
      if (first) row.figures[channel] = {};
      const figures = Object.hasOwn(row.figures, channel) ? row.figures[channel] : undefined;
      if (figures === undefined) return `channel ${channel}, of which there is no count`;
      figures[figure] = value;
      channels++;
    }
    if (channels !== Object.keys(row.figures).length) return "rows that lack a channel";
  }
  return undefined;
}

function isSound({ count, min, mean, max, last }: BucketFigures): boolean {
  return Number.isSafeInteger(count) && count >= 1 && min <= mean && mean <= max && min <= last && last <= max;
}
