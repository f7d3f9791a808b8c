import { BATCH_JSON_BYTES_MAX, decodeBatch, inflateBatch } from "./batch.ts";
import type { ClockReading, InferenceRecord, Stream, StreamBatch, TelemetryRow } from "./messages/stream.ts";
import { ok, type Result } from "./result.ts";
import { scanBatch } from "./scanned-batch.ts";

/** What a batch says of one asset; of predictions, of one asset and model. */
export interface AssetView {
  readonly asset: string;
  readonly model: string | undefined;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  /** Place of its last record in the batch, 0-based, and that record. */
  readonly lastIndex: number;
  last(): TelemetryRow | InferenceRecord;
  /** The same without what the batch was scanned on, whose memory is needed for other batches; the batch's bytes stay. */
  alone(): AssetView;
}

/** What a server must know of a batch before it keeps it. Records are decoded when somebody asks for them. */
export interface BatchView extends Pick<StreamBatch, "epoch" | "fromSeq" | "hist" | "gap" | "downsampled"> {
  readonly clock: ClockReading;
  /** Records in it; none beside a gap. */
  readonly count: number;
  /** Of telemetry and predictions. */
  readonly assets: readonly AssetView[];
  batch(): StreamBatch;
}

// RFC 8878, 3.1.1: no zstd frame begins with this byte, and JSON does.
const OPENING_BRACE = 0x7b;

/** Whether bytes may be scanned as they are: telemetry as JSON, of a bounded length. */
export function isScannable(stream: Stream, bytes: Uint8Array, from: number, to: number): boolean {
  return stream === "telemetry" && bytes[from] === OPENING_BRACE && to - from <= BATCH_JSON_BYTES_MAX;
}

/** Reads the bytes from `from` to before `to` as a batch; takes and refuses exactly what {@link decodeBatch} does. */
export function viewBatch(stream: Stream, bytes: Buffer, from = 0, to = bytes.length): Result<BatchView> {
  if (isScannable(stream, bytes, from, to)) {
    const view = scanBatch(bytes, from, to);
    if (view) return ok(view);
  }
  const own = bytes.subarray(from, to);
  if (stream === "telemetry" && own[0] !== OPENING_BRACE) {
    const json = inflateBatch(stream, own);
    if (!json.ok) return json;
    const view = scanBatch(json.value, 0, json.value.length);
    if (view) return ok(view);
  }
  const decoded = decodeBatch(stream, own);
  return decoded.ok ? ok(viewOfRecords(decoded.value)) : decoded;
}

/** The view of a batch that has been decoded. */
export function viewOfRecords(batch: StreamBatch): BatchView {
  const { stream, epoch, fromSeq, hist, gap, downsampled, clock, records } = batch;
  const found = new Map<string, { -readonly [Member in keyof AssetView]: AssetView[Member] }>();
  if (stream === "telemetry" || stream === "inference") {
    for (const [index, record] of (records as readonly (TelemetryRow | InferenceRecord)[]).entries()) {
      const { asset, observedAtMs } = record;
      const model = "model" in record ? record.model : undefined;
      const key = model === undefined ? asset : `${asset}/${model}`;
      const last = () => record;
      const own = found.get(key);
      if (own === undefined) {
        const [firstAtMs, lastAtMs] = [observedAtMs, observedAtMs];
        const first = { asset, model, firstAtMs, lastAtMs, lastIndex: index, last, alone: () => first };
        found.set(key, first);
        continue;
      }
      own.firstAtMs = Math.min(own.firstAtMs, observedAtMs);
      own.lastAtMs = Math.max(own.lastAtMs, observedAtMs);
      own.lastIndex = index;
      own.last = last;
    }
  }
  const view = { epoch, fromSeq, hist, clock, count: records.length, assets: [...found.values()], batch: () => batch };
  if (gap === undefined) return view;
  return downsampled === undefined ? { ...view, gap } : { ...view, gap, downsampled };
}
