import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer, validator } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";

/** One asset's past: rows in time order, one column per channel (NaN = missing). */
export interface HistoryAsset {
  readonly asset: string;
  readonly timesMs: Float64Array;
  readonly channels: readonly Float64Array[];
  /** The target column, where the history has one. */
  readonly target: Float64Array | undefined;
  /** When it failed, rising; the rows after a failure are of the repaired machine. */
  readonly failuresMs: Float64Array;
}

/** A history as it is kept and learnt from. */
export interface HistorySnapshot {
  readonly channels: readonly { readonly channel: string; readonly unit: string }[];
  readonly target: string | undefined;
  readonly assets: readonly HistoryAsset[];
  /** Digests of the files it was made of. */
  readonly sources: readonly string[];
}

const MAGIC = "BWHIST1\n";
const PREFIX = 16;
const Count = integer({ minimum: 0, maximum: 1e9 });
const header = validator(
  "The head of the history",
  Type.Object(
    {
      channels: Type.Array(Type.Object({ channel: Type.String(), unit: Type.String() }), { maxItems: 2_048 }),
      target: Type.Union([Type.String(), Type.Null()]),
      assets: Type.Array(Type.Object({ asset: Type.String(), rows: Count, failures: Count })),
      sources: Type.Array(Type.String()),
    },
    { additionalProperties: false },
  ),
);

/**
 * A snapshot as bytes, piece by piece; the same history gives the same bytes. Eight bytes of magic, the head's length
 * (uint32, then 4 zero bytes), the head as JSON padded with spaces to a multiple of 8, then per asset as little-endian
 * doubles: times, each channel, the target, failures.
 */
export function* encodeSnapshot(snapshot: HistorySnapshot): Generator<Uint8Array> {
  const head = Buffer.from(
    JSON.stringify({
      channels: snapshot.channels.map(({ channel, unit }) => ({ channel, unit })),
      target: snapshot.target ?? null,
      assets: snapshot.assets.map(({ asset, timesMs, failuresMs }) => ({
        asset,
        rows: timesMs.length,
        failures: failuresMs.length,
      })),
      sources: snapshot.sources,
    }),
  );
  const length = Math.ceil(head.length / 8) * 8;
  const start = Buffer.alloc(PREFIX + length, " ");
  start.write(MAGIC, 0, "latin1");
  start.writeUInt32LE(length, 8);
  start.writeUInt32LE(0, 12);
  head.copy(start, PREFIX);
  yield start;
  for (const { timesMs, channels, target, failuresMs } of snapshot.assets) {
    for (const column of [timesMs, ...channels, ...(target === undefined ? [] : [target]), failuresMs]) {
      yield new Uint8Array(column.buffer, column.byteOffset, column.byteLength);
    }
  }
}

/** A snapshot out of its bytes, whose columns are views of them; refuses anything that is not one to the last byte. */
export function decodeSnapshot(bytes: Uint8Array): Result<HistorySnapshot> {
  const wrong = (reason: string) => err("INVALID_SHAPE", { what: "The stored history", path: "/", expected: reason });
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < PREFIX || buffer.toString("latin1", 0, 8) !== MAGIC) return wrong("it has another beginning");
  const length = buffer.readUInt32LE(8);
  if (PREFIX + length > buffer.length || length % 8 !== 0) return wrong("it is cut short");
  const head = header.parse(buffer.subarray(PREFIX, PREFIX + length), 64 * 1024 * 1024);
  if (!head.ok) return head;
  const { channels, target, sources } = head.value;
  let at = PREFIX + length;
  const doubles = head.value.assets.reduce(
    (sum, { rows, failures }) => sum + rows * (1 + channels.length + (target === null ? 0 : 1)) + failures,
    0,
  );
  if (at + doubles * 8 !== buffer.length) return wrong(`it should have ${at + doubles * 8} bytes`);
  // Views must stand on multiples of eight; a buffer out of Node's pool may not.
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes);
  const take = (count: number) => {
    const column = new Float64Array(aligned.buffer, aligned.byteOffset + at, count);
    at += count * 8;
    return column;
  };
  const assets = head.value.assets.map(({ asset, rows, failures }): HistoryAsset => {
    const timesMs = take(rows);
    const columns = channels.map(() => take(rows));
    const targetColumn = target === null ? undefined : take(rows);
    return { asset, timesMs, channels: columns, target: targetColumn, failuresMs: take(failures) };
  });
  return ok({ channels, target: target ?? undefined, assets, sources });
}
