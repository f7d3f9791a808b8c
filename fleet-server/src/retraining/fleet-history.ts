import { type ChannelSource, readRow } from "@bellwether/protocol/features/asset.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { StoredRow } from "../store/ingest.ts";
import { assemble } from "./history/assemble.ts";
import { HISTORY_LIMITS, HistoryCollector } from "./history/collect.ts";
import type { HistoryReport } from "./history/report.ts";
import type { FleetRequest } from "./history/request.ts";
import type { HistorySnapshot } from "./history/snapshot.ts";

type Fleet = FleetRequest["fleet"];

/**
 * Puts committed rows of a cohort together as a history. The same rows and failures give the same history, in whatever
 * order they arrived: rows go by asset and corrected time, and what was committed after `knownAtMs` does not count.
 */
export class FleetHistory {
  readonly #fleet: Fleet;
  readonly #collector: HistoryCollector;
  readonly #values: Float64Array;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
    this.#collector = new HistoryCollector("the fleet's samples", fleet.channels.length, false, HISTORY_LIMITS);
    this.#values = new Float64Array(fleet.channels.length);
  }

  /** Takes a row with where its values come from; rows after the cut-off, or not known then, are left out. */
  add(row: StoredRow, sources: readonly ChannelSource[]): Result<void> {
    const { cutOffMs, knownAtMs } = this.#fleet;
    if (row.correctedAtMs > cutOffMs || row.committedAtMs > knownAtMs) return ok(undefined);
    readRow(row, sources, this.#values);
    return this.#collector.add(row.seq, row.asset, row.correctedAtMs, this.#values, Number.NaN);
  }

  /** The history with failures as they were known; refused when there is nothing to learn from. */
  finish(
    failures: ReadonlyMap<string, readonly number[]>,
  ): Result<{ snapshot: HistorySnapshot; report: HistoryReport }> {
    const { cohort, cutOffMs, channels } = this.#fleet;
    const at = new Date(cutOffMs).toISOString();
    if (this.#collector.rows === 0) return err("SNAPSHOT_NO_ROWS", { cohort, at });
    const assets = this.#collector.finish();
    const known = new Set(assets.map(({ asset }) => asset));
    const lines = [...failures]
      .filter(([asset]) => known.has(asset))
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([asset, times]) => times.filter((atMs) => atMs <= cutOffMs).map((atMs) => ({ line: 0, asset, atMs })));
    const assembled = assemble({
      file: "the fleet's samples",
      assets,
      columns: channels.map(({ channel, unit }, index) => ({
        index,
        column: channel,
        channel,
        unit,
        unitDeclared: true,
      })),
      counts: channels.map(() => ({ missing: 0, nonNumeric: 0, example: undefined })),
      target: undefined,
      ignored: [],
      failures: { file: "the fleet's outcomes", lines },
      runToFailure: false,
      times: { kind: "with a zone", timeZone: undefined, ambiguous: 0 },
      outOfOrder: this.#collector.outOfOrder,
      duplicates: this.#collector.duplicates,
      contradictions: this.#collector.contradictions,
      sources: [],
    });
    if (!assembled.ok) return assembled;
    return assembled.value.report.failures === 0 ? err("SNAPSHOT_NO_LABELS", { cohort, at }) : assembled;
  }
}
