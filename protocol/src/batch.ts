import { type TSchema, Type } from "typebox";
import {
  BATCH_RECORDS_MAX,
  type ColumnFault,
  type ResolutionOf,
  type TelemetryColumns,
  telemetryColumns,
} from "./columns.ts";
import { columnsOfRows } from "./columns-of-rows.ts";
import { columnsOfDownsampled, DownsampledColumns, rowsOfDownsampled } from "./downsampled-columns.ts";
import { DriftRecord } from "./messages/drift.ts";
import {
  batchEnvelope,
  EventRecord,
  type InferenceRecord,
  SampleVectorRecord,
  type Stream,
  type StreamBatch,
  type TelemetryRow,
} from "./messages/stream.ts";
import { columnsOfPredictions, predictionColumns, predictionsOfColumns } from "./prediction-columns.ts";
import { err, ok, type Result, unwrap } from "./result.ts";
import { rowsOfColumns } from "./rows-of-columns.ts";
import { type Validator, validator } from "./schema.ts";
import { isFrame, packFrame, unpackFrame } from "./zstd.ts";

export { BATCH_RECORDS_MAX, type ResolutionOf } from "./columns.ts";

/** A batch as it travels is at most this long: a packet of 64 KB has room for its topic beside it. */
export const BATCH_BYTES_MAX = 60_000;
/** A batch is at most this long as JSON: what an inflating reader must be ready for. */
export const BATCH_JSON_BYTES_MAX = 1_048_576;
/** Shorter JSON gains nothing from a zstd frame. */
const PLAIN_BYTES_MAX = 300;

function recordsOf<T extends TSchema>(schema: T) {
  return Type.Object({ ...batchEnvelope, records: Type.Array(schema, { maxItems: BATCH_RECORDS_MAX }) });
}

/** Schemas of the batches as they travel, by stream. */
export const BATCH_SCHEMAS = {
  event: recordsOf(EventRecord),
  drift: recordsOf(DriftRecord),
  inference: Type.Object({ ...batchEnvelope, ...predictionColumns }),
  samples: recordsOf(SampleVectorRecord),
  telemetry: Type.Object({ ...batchEnvelope, ...telemetryColumns, downsampled: Type.Optional(DownsampledColumns) }),
} as const;

const telemetryBatch = validator("The telemetry batch", BATCH_SCHEMAS.telemetry);
const inferenceBatch = validator("The inference batch", BATCH_SCHEMAS.inference);
const recordBatches = {
  event: validator("The event batch", BATCH_SCHEMAS.event),
  drift: validator("The drift batch", BATCH_SCHEMAS.drift),
  samples: validator("The samples batch", BATCH_SCHEMAS.samples),
} as const;
const noResolution: ResolutionOf = () => undefined;

/**
 * The bytes of a batch: telemetry in columns (integer steps where `resolutionOf` knows a resolution), predictions in
 * columns, the other streams as JSON records; a zstd frame where that is shorter. Members that no schema knows travel too. The same batch gives
 * the same bytes.
 */
export function encodeBatch(batch: StreamBatch, resolutionOf: ResolutionOf = noResolution): Uint8Array {
  const { bytes } = encode(batch, resolutionOf);
  return bytes;
}

function encode(batch: StreamBatch, resolutionOf: ResolutionOf): { bytes: Uint8Array; jsonBytes: number } {
  const { stream, records, downsampled, ...envelope } = batch;
  const kept = downsampled && { downsampled: columnsOfDownsampled(downsampled, resolutionOf) };
  const json = Buffer.from(JSON.stringify({ ...envelope, ...bodyOf(stream, records, resolutionOf), ...kept }), "utf8");
  if (json.length <= PLAIN_BYTES_MAX) return { bytes: json, jsonBytes: json.length };
  const packed = packFrame(json);
  return { bytes: packed.length < json.length ? packed : json, jsonBytes: json.length };
}

function bodyOf(stream: Stream, records: StreamBatch["records"], resolutionOf: ResolutionOf): object {
  if (stream === "telemetry") return columnsOfRows(records as readonly TelemetryRow[], resolutionOf);
  if (stream === "inference") return columnsOfPredictions(records as readonly InferenceRecord[]);
  return { records };
}

/** A batch that fits a packet, with the range of seq it covers (both ends included). */
export interface EncodedChunk {
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly bytes: Uint8Array;
  /** Records that fit no packet even alone: a gap travels in their place. */
  readonly unreadable: number;
}

/** Encodes a batch of any length as chunks of at most `BATCH_BYTES_MAX`, in order and without a hole. */
export function encodeChunks(batch: StreamBatch, resolutionOf: ResolutionOf = noResolution): EncodedChunk[] {
  const chunks: EncodedChunk[] = [];
  const { length } = batch.records;
  // Even slices: a last one of a few records costs a packet and a commit of the server like any other.
  const slices = Math.ceil(length / sliceMax(batch));
  for (let slice = 0; slice < slices; slice++) {
    const start = Math.floor((slice * length) / slices);
    encodeSlice(batch, start, Math.floor(((slice + 1) * length) / slices), resolutionOf, chunks);
  }
  return chunks;
}

// Far below BATCH_RECORDS_MAX, so that a chunk is encoded in about a millisecond.
const CHUNK_RECORDS_MAX = 2_000;
// A value with its share of the rest takes about two bytes as it travels: a slice rarely proves too long, and is then
// encoded for nothing.
const CHUNK_VALUES_MAX = 24_600;

/** Records that are encoded as one slice at most: rows of many channels fill a packet sooner. */
function sliceMax({ stream, records }: StreamBatch): number {
  if (stream !== "telemetry" || records.length === 0) return CHUNK_RECORDS_MAX;
  let channels = 0;
  for (const _ in (records[0] as TelemetryRow).values) channels++;
  return Math.max(1, Math.min(CHUNK_RECORDS_MAX, Math.floor(CHUNK_VALUES_MAX / Math.max(1, channels))));
}

function encodeSlice(
  batch: StreamBatch,
  start: number,
  end: number,
  resolutionOf: ResolutionOf,
  into: EncodedChunk[],
): void {
  const fromSeq = batch.fromSeq + start;
  const toSeq = batch.fromSeq + end - 1;
  const slice = { ...batch, fromSeq, records: batch.records.slice(start, end) } as StreamBatch;
  const { bytes, jsonBytes } = encode(slice, resolutionOf);
  if (bytes.length <= BATCH_BYTES_MAX && jsonBytes <= BATCH_JSON_BYTES_MAX) {
    into.push({ fromSeq, toSeq, bytes, unreadable: 0 });
  } else if (end - start === 1) {
    const gap = { ...batch, fromSeq, records: [], gap: { count: 1, reason: "unreadable" as const } } as StreamBatch;
    into.push({ fromSeq, toSeq, bytes: encodeBatch(gap), unreadable: 1 });
  } else {
    const middle = (start + end) >>> 1;
    encodeSlice(batch, start, middle, resolutionOf, into);
    encodeSlice(batch, middle, end, resolutionOf, into);
  }
}

/** Reads a batch of a stream. Hostile bytes answer a coded error in bounded time and memory; nothing throws. */
export function decodeBatch<S extends Stream>(stream: S, bytes: Uint8Array): Result<StreamBatch<S>> {
  const json = inflateBatch(stream, bytes);
  if (!json.ok) return json;
  const batch = decoded(stream, json.value);
  if (!batch.ok) return batch;
  const wrong = contradictionIn(batch.value);
  if (wrong !== undefined) return err("BATCH_INCONSISTENT", { stream, ...wrong });
  return ok(batch.value as StreamBatch<S>);
}

// Members nobody knows are kept, and a document nested without bound overflows the stack of whoever writes it again.
const NESTING_MAX = 32;

function nestsDeeper(value: unknown, levelsMax: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (levelsMax === 0) return true;
  if (Array.isArray(value)) {
    // Nearly all there is are long lists of numbers: they are passed without a call for each.
    for (const one of value) if (typeof one === "object" && nestsDeeper(one, levelsMax - 1)) return true;
    return false;
  }
  for (const name in value) if (nestsDeeper((value as Record<string, unknown>)[name], levelsMax - 1)) return true;
  return false;
}

/** JSON that fits a schema and is not nested too deep. */
function parsedBy<T>(schema: Validator<T>, stream: Stream, json: Uint8Array): Result<T> {
  const parsed = schema.parse(json, BATCH_JSON_BYTES_MAX);
  if (parsed.ok && nestsDeeper(parsed.value, NESTING_MAX)) {
    return err("BATCH_UNREADABLE", { stream, reason: `it nests deeper than ${NESTING_MAX} levels` });
  }
  return parsed;
}

function decoded(stream: Stream, json: Uint8Array): Result<StreamBatch> {
  if (stream === "telemetry") return withDownsampled(decodeColumns(stream, telemetryBatch, rowsOfColumns, json));
  if (stream === "inference") return decodeColumns(stream, inferenceBatch, predictionsOfColumns, json);
  const schema: Validator<unknown> = recordBatches[stream];
  const parsed = parsedBy(schema, stream, json);
  if (!parsed.ok) return parsed;
  return ok({ ...(parsed.value as object), stream } as StreamBatch);
}

function decodeColumns<Group>(
  stream: "telemetry" | "inference",
  schema: Validator<{ order?: number[]; groups: Group[] }>,
  recordsOf: (columns: { order?: number[]; groups: Group[] }) => unknown[] | ColumnFault,
  json: Uint8Array,
): Result<StreamBatch> {
  const parsed = parsedBy(schema, stream, json);
  if (!parsed.ok) return parsed;
  const { order, groups, ...envelope } = parsed.value;
  const records = recordsOf(order === undefined ? { groups } : { order, groups });
  if (!Array.isArray(records)) return err("BATCH_INCONSISTENT", { stream, ...records });
  return ok({ ...envelope, stream, records } as unknown as StreamBatch);
}

function withDownsampled(decoded: Result<StreamBatch>): Result<StreamBatch> {
  if (!decoded.ok || decoded.value.downsampled === undefined) return decoded;
  const downsampled = rowsOfDownsampled(decoded.value.downsampled as unknown as DownsampledColumns);
  if (!Array.isArray(downsampled)) return err("BATCH_INCONSISTENT", { stream: "telemetry", ...downsampled });
  return ok({ ...decoded.value, downsampled });
}

function contradictionIn(batch: StreamBatch): { path: string; reason: string } | undefined {
  const { gap, records, fromSeq, downsampled = [] } = batch;
  if (gap !== undefined && records.length > 0) return { path: "/gap", reason: "a gap beside records" };
  if (downsampled.length > 0 && gap?.reason !== "downsampled") {
    return { path: "/downsampled", reason: "figures of records that are not downsampled" };
  }
  const count = gap?.count ?? records.length;
  const most = downsampled.flatMap(({ figures }) => Object.values(figures)).find((one) => one.count > count);
  if (most !== undefined) return { path: "/downsampled", reason: `a count of more than the ${count} records` };
  if (count === 0) return { path: "/records", reason: "neither records nor a gap" };
  if (!Number.isSafeInteger(fromSeq + count)) return { path: "/fromSeq", reason: "seq would pass what is exact" };
  return undefined;
}

/**
 * The columns of a telemetry batch that was judged before it was stored: neither its schema nor its nesting is looked at again. Throws where
 * the bytes are no JSON.
 */
export function storedColumns(bytes: Uint8Array): TelemetryColumns {
  return JSON.parse(unwrap(inflateBatch("telemetry", bytes)).toString("utf8"));
}

/** The JSON of a batch as it travels. */
export function inflateBatch(stream: Stream, bytes: Uint8Array): Result<Buffer> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // JSON begins with "{", and no frame does.
  if (!isFrame(buffer)) return ok(buffer);
  try {
    return ok(unpackFrame(buffer, BATCH_JSON_BYTES_MAX));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ERR_BUFFER_TOO_LARGE") {
      const actual = `over ${BATCH_JSON_BYTES_MAX}`;
      return err("TOO_LARGE", { what: `The ${stream} batch`, actual, unit: "bytes", limit: BATCH_JSON_BYTES_MAX });
    }
    return err("BATCH_UNREADABLE", { stream, reason: (cause as Error).message });
  }
}

/** Which records a message claims to be: epoch and the range of seq, both ends included. */
export interface ClaimedRange {
  readonly epoch: string;
  readonly fromSeq: number;
  readonly toSeq: number;
}

/**
 * What can still be said of a message that `decodeBatch` refused: the records it would have been, where its envelope is
 * whole. With it the message can be acknowledged, and its device goes on to the next.
 */
export function claimedRange(stream: Stream, bytes: Uint8Array): ClaimedRange | undefined {
  const json = inflateBatch(stream, bytes);
  if (!json.ok) return undefined;
  let body: Readonly<Record<string, unknown>> | null;
  try {
    body = JSON.parse(json.value.toString("utf8"));
  } catch {
    return undefined; // no JSON: nothing in it says which records it was
  }
  if (typeof body !== "object" || body === null) return undefined;
  const { epoch, fromSeq } = body;
  const count = claimedCount(body);
  if (typeof epoch !== "string" || !/^[0-9a-f]{16}$/.test(epoch)) return undefined;
  if (!isCount(fromSeq) || !isCount(count) || !Number.isSafeInteger(fromSeq + count)) return undefined;
  return { epoch, fromSeq, toSeq: fromSeq + count - 1 };
}

function claimedCount(body: Readonly<Record<string, unknown>>): unknown {
  const { gap, records, order, groups } = body;
  if (typeof gap === "object" && gap !== null) return (gap as { count?: unknown }).count;
  if (Array.isArray(records)) return records.length;
  if (Array.isArray(order)) return order.length;
  const dt = Array.isArray(groups) && groups.length === 1 ? (groups[0] as { dt?: unknown } | null)?.dt : undefined;
  return Array.isArray(dt) ? dt.length + 1 : undefined;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}
