/** Columns whose heads are kept, and the bytes one may have: a name of 64, the longest resolution, and what stands around them. */
const COLUMNS_KEPT = 64;
const HEAD_BYTES_MAX = 160;

/**
 * The heads of the columns that were read last: what stands before a column's values is the same in nearly all batches of a
 * device, and of all devices like it. Comparing it costs a fraction of reading it.
 */
export class ColumnHeads {
  readonly #bytes = Buffer.alloc(COLUMNS_KEPT * HEAD_BYTES_MAX);
  readonly #words = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
  /** 0: none is kept. */
  readonly #lengths = new Uint8Array(COLUMNS_KEPT);
  readonly #resolutions = new Float64Array(COLUMNS_KEPT);
  /** So many of the first are known to have names of their own. */
  #apart = 0;

  /** How many bytes from `at` on the head kept of a column takes; 0 where something else stands there, or less. */
  match(column: number, json: DataView, at: number, end: number): number {
    const length = column < COLUMNS_KEPT ? (this.#lengths[column] as number) : 0;
    if (length === 0 || at + length > end) return 0;
    const words = this.#words;
    const from = column * HEAD_BYTES_MAX;
    const last = length - 4;
    for (let byte = 0; byte < last; byte += 4) {
      if (json.getInt32(at + byte, true) !== words.getInt32(from + byte, true)) return 0;
    }
    return json.getInt32(at + last, true) === words.getInt32(from + last, true) ? length : 0;
  }

  /** The resolution that the head kept of a column says; 0 for values as they are. */
  resolutionOf(column: number): number {
    return this.#resolutions[column] as number;
  }

  /** Forgets the head of a column: another is about to be read. */
  forget(column: number): void {
    if (column >= COLUMNS_KEPT) return;
    this.#lengths[column] = 0;
    if (this.#apart > column) this.#apart = column;
  }

  /** Keeps the head of a column that was forgotten, the bytes from `from` to before `to`. */
  keep(column: number, json: Buffer, from: number, to: number, resolution: number): void {
    const length = to - from;
    if (column >= COLUMNS_KEPT || length > HEAD_BYTES_MAX) return;
    this.#lengths[column] = length;
    // Byte by byte: of so few that is sooner done than a view for a copy made.
    const at = column * HEAD_BYTES_MAX;
    for (let byte = 0; byte < length; byte++) this.#bytes[at + byte] = json[from + byte] as number;
    this.#resolutions[column] = resolution;
  }

  /** Whether the first columns, all of which matched or were kept since, are known to have names of their own. */
  areApart(columns: number): boolean {
    return columns <= this.#apart;
  }

  /** Notes that the first columns, all of which matched or were kept since, have names of their own. */
  noteApart(columns: number): void {
    if (columns <= COLUMNS_KEPT && columns > this.#apart) this.#apart = columns;
  }
}
