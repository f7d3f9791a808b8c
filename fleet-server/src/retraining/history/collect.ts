import { isName } from "@bellwether/protocol/ids.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { ChannelColumn } from "./header.ts";

/** Bounds of one history: everything is in memory once, as doubles. */
export interface HistoryLimits {
  readonly rows: number;
  readonly assets: number;
  /** Rows times channels. */
  readonly cells: number;
}

export const HISTORY_LIMITS: HistoryLimits = { rows: 5_000_000, assets: 20_000, cells: 40_000_000 };

/** A column of doubles that grows. */
class Column {
  values = new Float64Array(64);
  length = 0;

  push(value: number): void {
    if (this.length === this.values.length) {
      const larger = new Float64Array(this.values.length * 2);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[this.length] = value;
    this.length += 1;
  }

  /** Its values in this order. */
  ordered(order: Uint32Array): Float64Array {
    const made = new Float64Array(order.length);
    for (let i = 0; i < order.length; i += 1) made[i] = this.values[order[i]!]!;
    return made;
  }
}

/** One asset as its rows came. */
interface Collected {
  readonly times: Column;
  readonly channels: readonly Column[];
  readonly target: Column | undefined;
}

/** What was seen in a column besides its values. */
export interface CellCounts {
  missing: number;
  nonNumeric: number;
  example: string | undefined;
}

/** What recorders write where they have nothing. */
const NOTHING = new Set(["", "nan", "null", "na", "n/a", "none", "-", "#n/a", "nil"]);
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?$/i;

/** A cell as a number; "missing" for what recorders write where they have nothing, undefined for anything else. */
export function readCell(text: string, decimalComma: boolean): number | "missing" | undefined {
  const trimmed = text.trim();
  const number = decimalComma ? trimmed.replace(",", ".") : trimmed;
  if (NUMBER.test(number)) {
    const value = Number(number);
    // 1e999 is no measurement.
    return Number.isFinite(value) ? value : undefined;
  }
  return NOTHING.has(trimmed.toLowerCase()) ? "missing" : undefined;
}

/** An asset's rows in time order, each instant once. */
export interface OrderedAsset {
  readonly asset: string;
  readonly timesMs: Float64Array;
  readonly channels: readonly Float64Array[];
  readonly target: Float64Array | undefined;
}

/** Takes the rows of a file one after another and puts them in order by asset and time. */
export class HistoryCollector {
  readonly #file: string;
  readonly #limits: HistoryLimits;
  readonly #channels: number;
  readonly #hasTarget: boolean;
  readonly #assets = new Map<string, Collected>();
  #rows = 0;
  outOfOrder = 0;
  duplicates = 0;
  contradictions = 0;

  constructor(file: string, channels: number, hasTarget: boolean, limits: HistoryLimits) {
    this.#file = file;
    this.#channels = channels;
    this.#hasTarget = hasTarget;
    this.#limits = limits;
  }

  get rows(): number {
    return this.#rows;
  }

  /** Adds a row; NaN is a missing value. Refuses a bad asset name and what goes over the limits. */
  add(line: number, asset: string, timeMs: number, values: Float64Array, target: number): Result<void> {
    let collected = this.#assets.get(asset);
    if (collected === undefined) {
      const refused = this.#newAsset(line, asset);
      if (!refused.ok) return refused;
      collected = {
        times: new Column(),
        channels: Array.from({ length: this.#channels }, () => new Column()),
        target: this.#hasTarget ? new Column() : undefined,
      };
      this.#assets.set(asset, collected);
    }
    this.#rows += 1;
    if (this.#rows > this.#limits.rows) return this.#tooLarge(this.#rows, "rows", this.#limits.rows);
    const cells = this.#rows * this.#channels;
    if (cells > this.#limits.cells) return this.#tooLarge(cells, "values", this.#limits.cells);
    const { times } = collected;
    if (times.length > 0 && timeMs < times.values[times.length - 1]!) this.outOfOrder += 1;
    times.push(timeMs);
    for (let c = 0; c < this.#channels; c += 1) collected.channels[c]!.push(values[c]!);
    collected.target?.push(target);
    return ok(undefined);
  }

  /** Every asset in order of name (numbers in names by size), rows by time, each instant once: the first that came. */
  finish(): OrderedAsset[] {
    const byName = new Intl.Collator("en", { numeric: true });
    const names = [...this.#assets.keys()].toSorted((a, b) => byName.compare(a, b) || (a < b ? -1 : 1));
    return names.map((asset) => {
      const collected = this.#assets.get(asset)!;
      this.#assets.delete(asset);
      const order = this.#orderOf(collected);
      return {
        asset,
        timesMs: collected.times.ordered(order),
        channels: collected.channels.map((column) => column.ordered(order)),
        target: collected.target?.ordered(order),
      };
    });
  }

  #orderOf(collected: Collected): Uint32Array {
    const { times } = collected;
    const order = Uint32Array.from({ length: times.length }, (_, i) => i);
    // The index decides between equal times: the first that came stays first.
    order.sort((a, b) => times.values[a]! - times.values[b]! || a - b);
    let kept = 0;
    for (let i = 0; i < order.length; i += 1) {
      const row = order[i]!;
      const last = kept === 0 ? -1 : order[kept - 1]!;
      if (last >= 0 && times.values[last] === times.values[row]) {
        const columns = [...collected.channels, ...(collected.target === undefined ? [] : [collected.target])];
        if (columns.every(({ values }) => Object.is(values[last], values[row]))) this.duplicates += 1;
        else this.contradictions += 1;
        continue;
      }
      order[kept] = row;
      kept += 1;
    }
    return order.subarray(0, kept);
  }

  #newAsset(line: number, asset: string): Result<void> {
    if (!isName(asset)) {
      const reason = `"${asset.slice(0, 80)}" is no name for an asset (1 to 64 of A-Z a-z 0-9 . _ -)`;
      return err("HISTORY_LINE_WRONG", { file: this.#file, line, reason });
    }
    if (this.#assets.size >= this.#limits.assets) {
      return this.#tooLarge(this.#assets.size + 1, "assets", this.#limits.assets);
    }
    return ok(undefined);
  }

  #tooLarge(actual: number, unit: string, limit: number) {
    return err("TOO_LARGE", { what: `The file ${this.#file}`, actual, unit, limit });
  }
}

/** Reads the channel cells of a line into `values` and counts what is no number. */
export function readCells(
  columns: readonly ChannelColumn[],
  cells: readonly string[],
  line: number,
  decimalComma: boolean,
  counts: readonly CellCounts[],
  values: Float64Array,
): void {
  for (let c = 0; c < columns.length; c += 1) {
    const text = cells[columns[c]!.index] ?? "";
    const value = readCell(text, decimalComma);
    if (typeof value === "number") {
      values[c] = value;
      continue;
    }
    values[c] = Number.NaN;
    const count = counts[c]!;
    if (value === "missing") count.missing += 1;
    else {
      count.nonNumeric += 1;
      count.example ??= `"${text.trim().slice(0, 40)}" at line ${line}`;
    }
  }
}
