import { type Static, Type } from "typebox";
import type { WindowSpec } from "../package/manifest.ts";
import { err, ok, type Result } from "../result.ts";
import { integer } from "../schema.ts";

/** Most doubles one asset's window may hold (32 MB). */
const CELLS_MAX = 4 * 1024 * 1024;
/** Most rows a window by time may hold; the oldest leave first, and the vector's quality shows what was expected. */
const TIME_ROWS_MAX = 100_000;
const ROWS_AT_FIRST = 16;
/** So many late rows in a row mean that the newest one's time was wrong: it must not silence an asset for ever. */
const LATE_RUN_MAX = 1_000;

/** What a vector's window held: rows it should have had, rows it had, rows that came too late, rows that miss a channel. */
export interface WindowQuality {
  readonly expected: number;
  readonly received: number;
  readonly late: number;
  readonly missing: number;
}

/** A window with its rows, as it is saved beside the outbox; plain JSON. */
export const WindowSnapshot = Type.Object({
  ageRows: integer({ minimum: 0 }),
  firstAtMs: Type.Number(),
  dueAtMs: Type.Number(),
  rowsSinceDue: integer({ minimum: 0 }),
  late: integer({ minimum: 0 }),
  lateRun: integer({ minimum: 0 }),
  timesMs: Type.Array(Type.Number()),
  /** The rows one after another as little-endian doubles, base64 (JSON knows no NaN). */
  cells: Type.String(),
});
export type WindowSnapshot = Static<typeof WindowSnapshot>;

/** Refuses windows whose members contradict each other or that would not fit the memory bound. */
export function checkWindow(spec: WindowSpec, channels: number): Result<WindowSpec> {
  if (spec.kind === "count" && spec.minRows > spec.length) {
    return err("WINDOW_WRONG", { reason: `minRows ${spec.minRows} is more than its length ${spec.length}` });
  }
  const rows = spec.kind === "count" ? spec.length : spec.minRows;
  if (rows * channels > CELLS_MAX) {
    return err("WINDOW_WRONG", { reason: `${rows} rows of ${channels} channels are more than ${CELLS_MAX} values` });
  }
  return ok(spec);
}

/**
 * The newest rows of one asset, oldest first, as a ring of doubles (NaN = missing). `push` says when a vector is due:
 * the first time at `minRows`, then every `hop` rows (by count) or whenever source time has entered another multiple of
 * `hopMs` (by time). A row older than the newest one is late: counted, not used; after a thousand of them without one
 * that is not, the window begins again with the next.
 */
export class RowWindow {
  readonly spec: WindowSpec;
  readonly channels: number;
  readonly #rowsMax: number;
  #capacity: number;
  #cells: Float64Array;
  #times: Float64Array;
  #incomplete: Uint8Array;
  #head = 0;
  #rows = 0;
  #incompleteRows = 0;
  #late = 0;
  #lateAtDue = 0;
  #lateRun = 0;
  #ageRows = 0;
  #firstAtMs = Number.NaN;
  #rowsSinceDue = 0;
  #dueAtMs = Number.NaN;

  constructor(spec: WindowSpec, channels: number) {
    this.spec = spec;
    this.channels = channels;
    this.#rowsMax =
      spec.kind === "count"
        ? spec.length
        : Math.max(spec.minRows, Math.min(TIME_ROWS_MAX, Math.floor(CELLS_MAX / Math.max(1, channels))));
    this.#capacity = Math.min(this.#rowsMax, ROWS_AT_FIRST);
    this.#cells = new Float64Array(this.#capacity * channels);
    this.#times = new Float64Array(this.#capacity);
    this.#incomplete = new Uint8Array(this.#capacity);
  }

  /** Rows held now. */
  get rows(): number {
    return this.#rows;
  }

  /** Rows of the asset so far, the newest included; 1 at the first row after a restart. */
  get ageRows(): number {
    return this.#ageRows;
  }

  /** Source time of the asset's first row, in ms; NaN before it. */
  get firstAtMs(): number {
    return this.#firstAtMs;
  }

  /** Source time of the newest row, in ms; NaN before the first. */
  get lastAtMs(): number {
    return this.#rows === 0 ? Number.NaN : this.timeAt(this.#rows - 1);
  }

  /** Takes a copy of a row; true when a vector is due. */
  push(observedAtMs: number, row: Float64Array): boolean {
    if (this.#rows > 0 && observedAtMs < this.lastAtMs) {
      this.#late += 1;
      this.#lateRun += 1;
      if (this.#lateRun <= LATE_RUN_MAX) return false;
      this.restart();
    }
    this.#lateRun = 0;
    if (this.spec.kind === "time") this.#evictUntil(observedAtMs - this.spec.lengthMs);
    if (this.#rows === this.#rowsMax) this.#evictOldest();
    if (this.#rows === this.#capacity) this.#grow();
    this.#append(observedAtMs, row);
    if (this.#ageRows === 0) this.#firstAtMs = observedAtMs;
    this.#ageRows += 1;
    this.#rowsSinceDue += 1;
    if (!this.#isDue(observedAtMs)) return false;
    this.#rowsSinceDue = 0;
    this.#dueAtMs = observedAtMs;
    this.#lateAtDue = this.#late;
    this.#late = 0;
    return true;
  }

  /** Source time of the i-th row held (0 = oldest), in ms. */
  timeAt(i: number): number {
    return this.#times[this.#slot(i)]!;
  }

  /** One value of the i-th row held (0 = oldest); NaN = missing. */
  valueAt(i: number, channel: number): number {
    return this.#cells[this.#slot(i) * this.channels + channel]!;
  }

  /** Writes the newest value that is not missing (NaN: none) of `channels[i]` to `into[places[i]]`. */
  lastsInto(channels: Int32Array, places: Int32Array, into: Float64Array): void {
    const cells = this.#cells;
    const newest = this.#slot(this.#rows - 1) * this.channels;
    for (let i = 0; i < channels.length; i += 1) {
      const channel = channels[i]!;
      const value = cells[newest + channel]!;
      into[places[i]!] = Number.isNaN(value) ? this.lastOf(channel) : value;
    }
  }

  /** Newest value of a channel that is not missing, or NaN. */
  lastOf(channel: number): number {
    for (let i = this.#rows - 1; i >= 0; i -= 1) {
      const value = this.valueAt(i, channel);
      if (!Number.isNaN(value)) return value;
    }
    return Number.NaN;
  }

  /** Writes a channel's values, oldest first, NaN = missing; `into` has room for `rows`. */
  columnInto(channel: number, into: Float64Array): void {
    const width = this.channels;
    let slot = this.#head;
    for (let i = 0; i < this.#rows; i += 1) {
      into[i] = this.#cells[slot * width + channel]!;
      slot += 1;
      if (slot === this.#capacity) slot = 0;
    }
  }

  /** Copies of the rows held, oldest first: the raw window of a [batch, time, channel] tensor. */
  copyRows(): Float64Array[] {
    return Array.from({ length: this.#rows }, (_, i) => {
      const at = this.#slot(i) * this.channels;
      return this.#cells.slice(at, at + this.channels);
    });
  }

  /** What the window of the newest due vector holds. */
  quality(): WindowQuality {
    return {
      expected: this.spec.kind === "count" ? this.spec.length : this.#expectedByTime(this.spec.lengthMs),
      received: this.#rows,
      late: this.#lateAtDue,
      missing: this.#incompleteRows,
    };
  }

  /** Forgets everything: the asset is new. */
  restart(): void {
    this.#head = 0;
    this.#rows = 0;
    this.#incompleteRows = 0;
    this.#ageRows = 0;
    this.#rowsSinceDue = 0;
    this.#firstAtMs = Number.NaN;
    this.#dueAtMs = Number.NaN;
  }

  snapshot(): WindowSnapshot {
    const cells = new Float64Array(this.#rows * this.channels);
    this.copyRows().forEach((row, i) => {
      cells.set(row, i * this.channels);
    });
    return {
      ageRows: this.#ageRows,
      firstAtMs: Number.isNaN(this.#firstAtMs) ? -1 : this.#firstAtMs,
      dueAtMs: Number.isNaN(this.#dueAtMs) ? -1 : this.#dueAtMs,
      rowsSinceDue: this.#rowsSinceDue,
      late: this.#late,
      lateRun: this.#lateRun,
      timesMs: Array.from({ length: this.#rows }, (_, i) => this.timeAt(i)),
      cells: Buffer.from(cells.buffer).toString("base64"),
    };
  }

  /** Takes a snapshot's place; refuses one that cannot come from a window of this shape. */
  restore(saved: WindowSnapshot): Result<void> {
    const bytes = Buffer.from(saved.cells, "base64");
    const rows = saved.timesMs.length;
    if (bytes.byteLength !== rows * this.channels * 8) {
      return err("FEATURE_STATE_WRONG", { reason: `${bytes.byteLength} bytes for ${rows} x ${this.channels} values` });
    }
    if (rows > this.#rowsMax) return err("FEATURE_STATE_WRONG", { reason: `${rows} rows, ${this.#rowsMax} fit` });
    this.restart();
    const cells = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    for (let i = 0; i < rows; i += 1) {
      if (this.#rows === this.#capacity) this.#grow();
      this.#append(saved.timesMs[i]!, cells.subarray(i * this.channels, (i + 1) * this.channels));
    }
    this.#ageRows = saved.ageRows;
    this.#rowsSinceDue = saved.rowsSinceDue;
    this.#late = saved.late;
    this.#lateRun = saved.lateRun;
    this.#firstAtMs = saved.firstAtMs < 0 ? Number.NaN : saved.firstAtMs;
    this.#dueAtMs = saved.dueAtMs < 0 ? Number.NaN : saved.dueAtMs;
    return ok(undefined);
  }

  #isDue(observedAtMs: number): boolean {
    const { spec } = this;
    if (this.#rows < spec.minRows) return false;
    if (Number.isNaN(this.#dueAtMs)) return true;
    if (spec.kind === "count") return this.#rowsSinceDue >= spec.hop;
    return Math.floor(observedAtMs / spec.hopMs) > Math.floor(this.#dueAtMs / spec.hopMs);
  }

  #slot(i: number): number {
    const slot = this.#head + i;
    return slot < this.#capacity ? slot : slot - this.#capacity;
  }

  #append(observedAtMs: number, row: Float64Array): void {
    const slot = this.#slot(this.#rows);
    const at = slot * this.channels;
    let incomplete = 0;
    for (let channel = 0; channel < this.channels; channel += 1) {
      const value = row[channel]!;
      if (Number.isNaN(value)) incomplete = 1;
      this.#cells[at + channel] = value;
    }
    this.#times[slot] = observedAtMs;
    this.#incomplete[slot] = incomplete;
    this.#incompleteRows += incomplete;
    this.#rows += 1;
  }

  #evictOldest(): void {
    this.#incompleteRows -= this.#incomplete[this.#head]!;
    this.#head = this.#head + 1 === this.#capacity ? 0 : this.#head + 1;
    this.#rows -= 1;
  }

  /** A window by time is open at its old end: (newest - lengthMs, newest]. */
  #evictUntil(timeMs: number): void {
    while (this.#rows > 0 && this.#times[this.#head]! <= timeMs) this.#evictOldest();
  }

  #grow(): void {
    const capacity = Math.min(this.#rowsMax, this.#capacity * 2);
    const cells = new Float64Array(capacity * this.channels);
    const times = new Float64Array(capacity);
    const incomplete = new Uint8Array(capacity);
    for (let i = 0; i < this.#rows; i += 1) {
      const slot = this.#slot(i);
      cells.set(this.#cells.subarray(slot * this.channels, (slot + 1) * this.channels), i * this.channels);
      times[i] = this.#times[slot]!;
      incomplete[i] = this.#incomplete[slot]!;
    }
    this.#head = 0;
    this.#capacity = capacity;
    this.#cells = cells;
    this.#times = times;
    this.#incomplete = incomplete;
  }

  /** By time, the rows to expect follow from the usual (median) distance of the rows that came. */
  #expectedByTime(lengthMs: number): number {
    if (this.#rows < 2) return this.#rows;
    const gaps = new Float64Array(this.#rows - 1);
    for (let i = 0; i < gaps.length; i += 1) gaps[i] = this.timeAt(i + 1) - this.timeAt(i);
    gaps.sort();
    const usual = gaps[gaps.length >> 1]!;
    return usual > 0 ? Math.max(this.#rows, Math.round(lengthMs / usual)) : this.#rows;
  }
}
