import { constants, zstdCompressSync } from "node:zlib";
import { ByteWriter, ParquetWriter, type SchemaElement } from "hyparquet-writer";
import type { StoredRow } from "../store/ingest.ts";

/** Values of one row group: what is held in memory until it is written, in some ten milliseconds of the network's thread. */
const GROUP_VALUES = 8_192;
const ZSTD_FAST = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

const text = (name: string): SchemaElement => ({
  name,
  type: "BYTE_ARRAY",
  converted_type: "UTF8",
  logical_type: { type: "STRING" },
  repetition_type: "REQUIRED",
});
const time = (name: string): SchemaElement => ({
  name,
  type: "INT64",
  logical_type: { type: "TIMESTAMP", isAdjustedToUTC: true, unit: "MILLIS" },
  repetition_type: "REQUIRED",
});
const whole = (name: string): SchemaElement => ({ name, type: "INT64", repetition_type: "REQUIRED" });

/** The columns of an export, one row a value, like its CSV. */
const SCHEMA: SchemaElement[] = [
  { name: "samples", num_children: 10 },
  text("device"),
  text("asset"),
  time("time"),
  time("corrected_time"),
  text("channel"),
  { name: "value", type: "DOUBLE", repetition_type: "OPTIONAL" },
  text("quality"),
  { name: "backfilled", type: "BOOLEAN", repetition_type: "REQUIRED" },
  whole("epoch"),
  whole("seq"),
];

/** Gives what was written since it was asked last; offsets in the file go on. */
class StreamWriter extends ByteWriter {
  take(): Uint8Array {
    const bytes = this.getBytes().slice();
    this.index = 0;
    return bytes;
  }
}

/** Rows as a Parquet file, row group by row group: an export of any length holds one group in memory. */
export async function* parquetOf(rows: AsyncIterable<readonly StoredRow[]>): AsyncGenerator<Uint8Array> {
  const writer = new StreamWriter();
  const file = new ParquetWriter({
    writer,
    schema: SCHEMA,
    createdBy: "bellwether",
    codec: "ZSTD",
    compressors: { ZSTD: (bytes) => zstdCompressSync(bytes, ZSTD_FAST) },
  });
  let group = new ValueGroup();
  for await (const some of rows) {
    for (const row of some) group.add(row);
    if (group.length < GROUP_VALUES) continue;
    group.writeTo(file);
    group = new ValueGroup();
    yield writer.take();
  }
  if (group.length > 0) group.writeTo(file);
  file.finish();
  yield writer.take();
}

class ValueGroup {
  readonly #device: string[] = [];
  readonly #asset: string[] = [];
  readonly #time: bigint[] = [];
  readonly #correctedTime: bigint[] = [];
  readonly #channel: string[] = [];
  readonly #value: (number | undefined)[] = [];
  readonly #quality: string[] = [];
  readonly #backfilled: boolean[] = [];
  readonly #epoch: bigint[] = [];
  readonly #seq: bigint[] = [];

  get length(): number {
    return this.#value.length;
  }

  add({ device, asset, observedAtMs, correctedAtMs, values, quality, hist, epoch, seq }: StoredRow): void {
    const [time, correctedTime] = [BigInt(observedAtMs), BigInt(Math.round(correctedAtMs))];
    for (const [channel, value] of Object.entries(values)) {
      this.#device.push(device);
      this.#asset.push(asset);
      this.#time.push(time);
      this.#correctedTime.push(correctedTime);
      this.#channel.push(channel);
      this.#value.push(value ?? undefined);
      this.#quality.push(quality?.[channel] ?? "good");
      this.#backfilled.push(hist);
      this.#epoch.push(BigInt(epoch));
      this.#seq.push(BigInt(seq));
    }
  }

  writeTo(file: ParquetWriter): void {
    const column = (name: string, data: readonly unknown[]) => ({ name, data: data as unknown[] });
    file.write({
      rowGroupSize: this.length,
      columnData: [
        column("device", this.#device),
        column("asset", this.#asset),
        column("time", this.#time),
        column("corrected_time", this.#correctedTime),
        column("channel", this.#channel),
        column("value", this.#value),
        column("quality", this.#quality),
        column("backfilled", this.#backfilled),
        column("epoch", this.#epoch),
        column("seq", this.#seq),
      ],
    });
  }
}
