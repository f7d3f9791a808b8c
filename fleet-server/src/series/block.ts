import type { Figures } from "./figures.ts";

/** Buckets one block has room for: a day of minutes, sixty days of hours. */
export const BLOCK_SLOTS = 1_440;

/** Many buckets of one channel as columns, ascending by slot. */
export interface Columns {
  readonly length: number;
  /** Place of each bucket in its block. */
  readonly slot: Float64Array;
  readonly count: Float64Array;
  readonly hist: Float64Array;
  readonly min: Float64Array;
  readonly max: Float64Array;
  readonly sum: Float64Array;
  readonly last: Float64Array;
  /** When the last sample was, milliseconds after the beginning of its bucket. */
  readonly lastAfterMs: Float64Array;
}
const COLUMNS = ["slot", "count", "hist", "min", "max", "sum", "last", "lastAfterMs"] as const;

/** Columns with room for some buckets. */
export function emptyColumns(length: number): Columns {
  const columns = COLUMNS.map((name) => [name, new Float64Array(length)]);
  return { length, ...(Object.fromEntries(columns) as Omit<Columns, "length">) };
}

/** Writes a bucket into its row. */
export function setRow(columns: Columns, row: number, slot: number, startMs: number, figures: Figures): void {
  columns.slot[row] = slot;
  columns.count[row] = figures.count;
  columns.hist[row] = figures.hist;
  columns.min[row] = figures.min;
  columns.max[row] = figures.max;
  columns.sum[row] = figures.sum + figures.sumError;
  columns.last[row] = figures.last;
  columns.lastAfterMs[row] = figures.lastAtMs - startMs;
}

/** A bucket out of its row. */
export function figuresAt(columns: Columns, row: number, startMs: number): Figures {
  const at = (name: Exclude<(typeof COLUMNS)[number], "slot">) => columns[name][row] as number;
  return {
    count: at("count"),
    hist: at("hist"),
    min: at("min"),
    max: at("max"),
    sum: at("sum"),
    sumError: 0,
    last: at("last"),
    lastAtMs: startMs + at("lastAfterMs"),
  };
}

// A column is a head of 16 bytes and its values. Sensors have a resolution, rates are steady: most columns are 4-byte
// multiples of a power of ten, or one number.
const HEAD_BYTES = 16;
const KIND = { constant: 0, scaled: 1, steps: 2, plain: 3 } as const;
const DECIMALS_MAX = 9;
const INT32_MAX = 2_147_483_647;

/** A block's bytes: every number comes out as it went in. Little-endian, as is every machine this runs on. */
export function encodeBlock(columns: Columns): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(1, 0);
  head.writeUInt32LE(columns.length, 4);
  return Buffer.concat([head, ...COLUMNS.map((name) => encodeColumn(columns[name]))]);
}

function encodeColumn(values: Float64Array): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  const first = values[0] ?? 0;
  head.writeDoubleLE(first, 8);
  if (values.every((value) => value === first)) return head;
  if (values.every((value, index) => value === first + index)) {
    head.writeUInt8(KIND.steps, 0);
    return head;
  }
  const decimals = decimalsOf(values);
  if (decimals === undefined) {
    head.writeUInt8(KIND.plain, 0);
    return Buffer.concat([head, Buffer.from(values.buffer, values.byteOffset, values.byteLength)]);
  }
  const scale = 10 ** decimals;
  const scaled = Int32Array.from(values, (value) => Math.round(value * scale));
  head.writeUInt8(KIND.scaled, 0);
  head.writeUInt8(decimals, 1);
  const padding = Buffer.alloc((scaled.length % 2) * 4);
  return Buffer.concat([head, Buffer.from(scaled.buffer), padding]);
}

/** The least number of decimals with which each of them is a whole multiple that four bytes hold, and comes back as the same double. */
function decimalsOf(values: Float64Array): number | undefined {
  for (let decimals = 0; decimals <= DECIMALS_MAX; decimals++) {
    const scale = 10 ** decimals;
    const fits = values.every((value) => {
      const steps = Math.round(value * scale);
      return Math.abs(steps) <= INT32_MAX && steps / scale === value;
    });
    if (fits) return decimals;
  }
  return undefined;
}

/** Reads what `encodeBlock` wrote. Throws on anything else: a store's own bytes are right, or its file is damaged. */
export function decodeBlock(bytes: Buffer): Columns {
  return new BlockReader().read(bytes);
}

/** Reads blocks one after the other into the same memory: what it gave is gone with the next. */
export class BlockReader {
  readonly #columns = emptyColumns(BLOCK_SLOTS);

  read(bytes: Buffer): Columns {
    // Numbers of eight bytes must lie at multiples of eight, and a blob lies anywhere.
    const { buffer, byteOffset } = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes);
    const view = new DataView(buffer, byteOffset, bytes.byteLength);
    const length = view.getUint32(4, true);
    if (view.getUint8(0) !== 1 || length > BLOCK_SLOTS) throw new Error("a block of figures of another version");
    let at = HEAD_BYTES;
    for (const name of COLUMNS) {
      const column = this.#columns[name];
      const kind = view.getUint8(at);
      const decimals = view.getUint8(at + 1);
      const first = view.getFloat64(at + 8, true);
      at += HEAD_BYTES;
      if (kind === KIND.plain) {
        column.set(new Float64Array(buffer, byteOffset + at, length));
        at += length * 8;
      } else if (kind === KIND.scaled) {
        unscale(new Int32Array(buffer, byteOffset + at, length), 10 ** decimals, column);
        at += (length + (length % 2)) * 4;
      } else if (kind === KIND.steps) {
        for (let index = 0; index < length; index++) column[index] = first + index;
      } else column.fill(first, 0, length);
    }
    return { ...this.#columns, length };
  }
}

function unscale(scaled: Int32Array, scale: number, into: Float64Array): void {
  for (let index = 0; index < scaled.length; index++) into[index] = (scaled[index] as number) / scale;
}
