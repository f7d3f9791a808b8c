import { periodogram, type Spectrum } from "./spectrum.ts";
import type { RowWindow } from "./windows.ts";

/**
 * One channel's values in a window, loaded once per vector and shared by every function over that channel; what several
 * functions need (mean, second moment, extremes, spectrum) is computed once. One pass each, in row order, so that the
 * same rows give the same bits wherever they are computed.
 */
export class Column {
  /** The values that are not missing, oldest first; `n` of them. */
  values = new Float64Array(16);
  /** Position in the window of each value (0 = oldest row held). */
  positions = new Float64Array(16);
  n = 0;
  /** Rows in the window, missing ones included. */
  rows = 0;
  #raw = new Float64Array(16);
  #window: RowWindow | undefined;
  #mean: number | undefined;
  #m2: number | undefined;
  #meanSquare: number | undefined;
  #meanAbs: number | undefined;
  #min: number | undefined;
  #max: number | undefined;
  #slope: number | undefined;
  #sorted: Float64Array | undefined;
  #spectrum: Spectrum | undefined;
  #spectrumRateHz = Number.NaN;

  /** Reads a channel of a window; forgets what was computed of the column before. */
  load(window: RowWindow, channel: number): void {
    const rows = window.rows;
    if (this.#raw.length < rows) {
      const capacity = Math.max(rows, this.#raw.length * 2);
      this.#raw = new Float64Array(capacity);
      this.values = new Float64Array(capacity);
      this.positions = new Float64Array(capacity);
    }
    window.columnInto(channel, this.#raw);
    let n = 0;
    for (let i = 0; i < rows; i += 1) {
      const value = this.#raw[i]!;
      if (Number.isNaN(value)) continue;
      this.values[n] = value;
      this.positions[n] = i;
      n += 1;
    }
    this.n = n;
    this.rows = rows;
    this.#window = window;
    this.#mean = undefined;
    this.#m2 = undefined;
    this.#meanSquare = undefined;
    this.#meanAbs = undefined;
    this.#min = undefined;
    this.#max = undefined;
    this.#slope = undefined;
    this.#sorted = undefined;
    this.#spectrum = undefined;
  }

  get mean(): number {
    if (this.#mean === undefined) {
      let sum = 0;
      for (let i = 0; i < this.n; i += 1) sum += this.values[i]!;
      this.#mean = sum / this.n;
    }
    return this.#mean;
  }

  /** Population variance, by the two-pass algorithm. */
  get variance(): number {
    if (this.#m2 === undefined) {
      const mean = this.mean;
      let sum = 0;
      for (let i = 0; i < this.n; i += 1) {
        const d = this.values[i]! - mean;
        sum += d * d;
      }
      this.#m2 = sum / this.n;
    }
    return this.#m2;
  }

  /** Mean of the p-th power of the distance from the mean. */
  centralMoment(p: 3 | 4): number {
    const mean = this.mean;
    let sum = 0;
    for (let i = 0; i < this.n; i += 1) {
      const d = this.values[i]! - mean;
      sum += p === 3 ? d * d * d : d * d * d * d;
    }
    return sum / this.n;
  }

  get rms(): number {
    if (this.#meanSquare === undefined) {
      let sum = 0;
      for (let i = 0; i < this.n; i += 1) sum += this.values[i]! * this.values[i]!;
      this.#meanSquare = sum / this.n;
    }
    return Math.sqrt(this.#meanSquare);
  }

  get meanAbs(): number {
    if (this.#meanAbs === undefined) {
      let sum = 0;
      for (let i = 0; i < this.n; i += 1) sum += Math.abs(this.values[i]!);
      this.#meanAbs = sum / this.n;
    }
    return this.#meanAbs;
  }

  get min(): number {
    this.#extremes();
    return this.#min!;
  }

  get max(): number {
    this.#extremes();
    return this.#max!;
  }

  /** Largest magnitude. */
  get peak(): number {
    return Math.max(Math.abs(this.min), Math.abs(this.max));
  }

  get first(): number {
    return this.values[0]!;
  }

  get last(): number {
    return this.values[this.n - 1]!;
  }

  /** Least-squares slope per row; 0 for fewer than two values. */
  get slope(): number {
    if (this.#slope === undefined) {
      let sumX = 0;
      for (let i = 0; i < this.n; i += 1) sumX += this.positions[i]!;
      const meanX = sumX / this.n;
      const meanY = this.mean;
      let xy = 0;
      let xx = 0;
      for (let i = 0; i < this.n; i += 1) {
        const dx = this.positions[i]! - meanX;
        xy += dx * (this.values[i]! - meanY);
        xx += dx * dx;
      }
      this.#slope = xx === 0 ? 0 : xy / xx;
    }
    return this.#slope;
  }

  /** Least-squares slope per hour of source time; 0 when all values are of one instant. */
  slopePerHour(): number {
    const window = this.#window!;
    const origin = window.timeAt(0);
    let sumX = 0;
    for (let i = 0; i < this.n; i += 1) sumX += window.timeAt(this.positions[i]!) - origin;
    const meanX = sumX / this.n;
    const meanY = this.mean;
    let xy = 0;
    let xx = 0;
    for (let i = 0; i < this.n; i += 1) {
      const dx = window.timeAt(this.positions[i]!) - origin - meanX;
      xy += dx * (this.values[i]! - meanY);
      xx += dx * dx;
    }
    return xx === 0 ? 0 : (xy / xx) * 3_600_000;
  }

  /** Quantile by linear interpolation between order statistics (Hyndman-Fan type 7, as numpy's default). */
  quantile(q: number): number {
    if (this.#sorted === undefined) this.#sorted = this.values.slice(0, this.n).sort();
    const sorted = this.#sorted;
    const at = q * (this.n - 1);
    const low = Math.floor(at);
    const high = Math.min(this.n - 1, low + 1);
    return sorted[low]! + (sorted[high]! - sorted[low]!) * (at - low);
  }

  /**
   * Power spectrum of the window's rows; `rateHz` NaN = rows per second by their own times. Undefined for fewer than 8
   * rows, or without a rate.
   */
  spectrum(rateHz: number): Spectrum | undefined {
    const window = this.#window!;
    let rate = rateHz;
    if (Number.isNaN(rate)) {
      const spanMs = window.lastAtMs - window.timeAt(0);
      rate = spanMs > 0 ? ((this.rows - 1) * 1_000) / spanMs : Number.NaN;
    }
    if (this.rows < 8 || !(rate > 0)) return undefined;
    if (this.#spectrum === undefined || this.#spectrumRateHz !== rate) {
      this.#spectrum = periodogram(this.#raw, this.rows, rate);
      this.#spectrumRateHz = rate;
    }
    return this.#spectrum;
  }

  #extremes(): void {
    if (this.#min !== undefined) return;
    let min = Number.POSITIVE_INFINITY;
    let max = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < this.n; i += 1) {
      const value = this.values[i]!;
      if (value < min) min = value;
      if (value > max) max = value;
    }
    this.#min = min;
    this.#max = max;
  }
}
