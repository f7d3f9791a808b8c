import type { Columns } from "./block.ts";
import { type Figures, HOUR_MS, MINUTE_MS, merge } from "./figures.ts";

/** Steps people read easily, in ms; a query that names a number of points gets the finest of them that is coarse enough. */
const EVEN_STEPS_MS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440, 10_080, 43_200].map(
  (one) => one * MINUTE_MS,
);

/** The step at which a span of time is at most so many points. */
export function stepFor(spanMs: number, points: number): number {
  const least = spanMs / points;
  const even = EVEN_STEPS_MS.find((step) => step >= least);
  return even ?? Math.ceil(least / (24 * HOUR_MS)) * 24 * HOUR_MS;
}

/** A channel's figures over time in even steps; what has no sample is absent. */
export interface Points {
  /** Beginning of each step that has samples, ms since 1970 UTC, ascending. */
  readonly atMs: number[];
  readonly count: number[];
  readonly min: number[];
  readonly mean: number[];
  readonly max: number[];
  readonly last: number[];
  /** Places in these lists of steps with backfilled samples. */
  readonly backfilled: number[];
  /** Spans between samples in which there are none, [from, to). */
  readonly gaps: [fromMs: number, toMs: number][];
}

/** What was added up so far, step by step. */
interface StepColumns {
  readonly length: number;
  readonly count: Float64Array;
  readonly hist: Float64Array;
  readonly min: Float64Array;
  readonly max: Float64Array;
  readonly sum: Float64Array;
  readonly last: Float64Array;
  readonly lastAtMs: Float64Array;
}

/** Adds buckets up to steps that are as long or longer. */
export class Steps {
  readonly #fromMs: number;
  readonly #stepMs: number;
  readonly #columns: StepColumns;

  /** `fromMs` is a multiple of `stepMs`, which is a multiple of every bucket that comes. */
  constructor(fromMs: number, stepMs: number, length: number) {
    this.#fromMs = fromMs;
    this.#stepMs = stepMs;
    const column = (fill = 0) => new Float64Array(length).fill(fill);
    const sums = { count: column(), hist: column(), sum: column(), last: column() };
    const bounds = { min: column(Number.POSITIVE_INFINITY), max: column(Number.NEGATIVE_INFINITY) };
    this.#columns = { length, ...sums, ...bounds, lastAtMs: column(Number.NEGATIVE_INFINITY) };
  }

  /** Adds a block's buckets; `startMs` is the beginning of its slot 0. What lies outside is left out. */
  addColumns(columns: Columns, startMs: number, bucketMs: number): void {
    const { slot, count, hist, min, max, sum, last, lastAfterMs, length } = columns;
    const fromMs = this.#fromMs;
    const stepMs = this.#stepMs;
    const into = this.#columns;
    let step = -1;
    let endMs = Number.NEGATIVE_INFINITY;
    for (let row = 0; row < length; row++) {
      const atMs = startMs + slot[row]! * bucketMs;
      // Slots ascend: the step is looked for only where one ends.
      if (atMs >= endMs) {
        step = Math.floor((atMs - fromMs) / stepMs);
        endMs = fromMs + (step + 1) * stepMs;
      }
      if (step < 0 || step >= into.length) continue;
      into.count[step]! += count[row]!;
      into.hist[step]! += hist[row]!;
      into.sum[step]! += sum[row]!;
      if (min[row]! < into.min[step]!) into.min[step] = min[row]!;
      if (max[row]! > into.max[step]!) into.max[step] = max[row]!;
      const lastAtMs = atMs + lastAfterMs[row]!;
      if (lastAtMs < into.lastAtMs[step]!) continue;
      into.last[step] = last[row]!;
      into.lastAtMs[step] = lastAtMs;
    }
  }

  /** Adds one bucket, committed later than what lies in blocks. */
  add(atMs: number, later: Figures): void {
    const step = Math.floor((atMs - this.#fromMs) / this.#stepMs);
    const into = this.#columns;
    if (step < 0 || step >= into.length) return;
    const figures = this.#at(step);
    merge(figures, later);
    into.count[step] = figures.count;
    into.hist[step] = figures.hist;
    into.min[step] = figures.min;
    into.max[step] = figures.max;
    into.sum[step] = figures.sum + figures.sumError;
    into.last[step] = figures.last;
    into.lastAtMs[step] = figures.lastAtMs;
  }

  #at(step: number): Figures {
    const { count, hist, min, max, sum, last, lastAtMs } = this.#columns;
    return {
      count: count[step]!,
      hist: hist[step]!,
      min: min[step]!,
      max: max[step]!,
      sum: sum[step]!,
      sumError: 0,
      last: last[step]!,
      lastAtMs: lastAtMs[step]!,
    };
  }

  points(): Points {
    const points: Points = { atMs: [], count: [], min: [], mean: [], max: [], last: [], backfilled: [], gaps: [] };
    let endMs: number | undefined;
    for (let step = 0; step < this.#columns.length; step++) {
      const { count, hist, min, max, sum, last } = this.#at(step);
      if (count === 0) continue;
      const atMs = this.#fromMs + step * this.#stepMs;
      if (endMs !== undefined && atMs > endMs) points.gaps.push([endMs, atMs]);
      endMs = atMs + this.#stepMs;
      if (hist > 0) points.backfilled.push(points.atMs.length);
      points.atMs.push(atMs);
      points.count.push(count);
      points.min.push(min);
      points.mean.push(sum / count);
      points.max.push(max);
      points.last.push(last);
    }
    return points;
  }
}
