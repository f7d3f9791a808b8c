import { isDigest, isName } from "./ids.ts";
import { DriftRecord } from "./messages/drift.ts";
import {
  EventRecord,
  InferenceRecord,
  SampleVectorRecord,
  type Stream,
  type StreamRecords,
  type TelemetryRow,
} from "./messages/stream.ts";
import { err, ok, type Result } from "./result.ts";
import { type Validator, validator } from "./schema.ts";

const recordSchemas = {
  event: validator("The event", EventRecord),
  drift: validator("The drift record", DriftRecord),
  inference: validator("The prediction", InferenceRecord),
  samples: validator("The feature vector", SampleVectorRecord),
} as const;

/**
 * Whether a record can travel in its stream: the check a device makes before a record takes a seq, so that no record
 * can poison the batch it shares with others.
 */
export function checkRecord<S extends Stream>(stream: S, record: StreamRecords[S]): Result<StreamRecords[S]> {
  if (stream === "telemetry") return checkRow(record as TelemetryRow) as Result<StreamRecords[S]>;
  if (stream === "inference" && isPlainPrediction(record as InferenceRecord)) return ok(record);
  const schema: Validator<unknown> = recordSchemas[stream as Exclude<S, "telemetry">];
  return schema.check(record) as Result<StreamRecords[S]>;
}

/** Channels of the last rows, each of which is a name: rows of one input have them in one order. */
const usual: string[] = [];

function checkRow(row: TelemetryRow): Result<TelemetryRow> {
  const refuse = (path: string, expected: string) => err("INVALID_SHAPE", { what: "The row", path, expected });
  if (!names.knows(row.asset)) return refuse("/asset", "must be a name");
  if (!isTime(row.observedAtMs)) return refuse("/observedAtMs", "must be whole milliseconds since 1970");
  let channels = 0;
  for (const channel in row.values) {
    if (channel === usual[channels]) {
      channels++;
      continue;
    }
    if (channels >= 1_024) return refuse("/values", "must have at most 1024 channels");
    if (!names.knows(channel)) return refuse("/values", `"${channel}" is not a name`);
    usual[channels++] = channel;
  }
  return ok(row);
}

/**
 * Whether a prediction has the form that nearly all have, and fits its schema. One is made for every row, and the
 * schema's own check costs more than encoding it; what has members beside these goes there.
 */
function isPlainPrediction(record: InferenceRecord): boolean {
  for (const member in record) {
    switch (member) {
      case "asset":
      case "model":
        if (!names.knows(record[member])) return false;
        break;
      case "digest":
        if (!digests.knows(record.digest)) return false;
        break;
      case "observedAtMs":
        if (!isTime(record.observedAtMs)) return false;
        break;
      case "version":
        if (!isCount(record.version) || record.version < 1) return false;
        break;
      case "value":
        if (!Number.isFinite(record.value)) return false;
        break;
      case "latencyUs":
        if (!(Number.isFinite(record.latencyUs) && record.latencyUs! >= 0)) return false;
        break;
      case "alert":
        if (typeof record.alert !== "boolean") return false;
        break;
      case "outputs":
        if (!areNumbers(record.outputs)) return false;
        break;
      case "quality":
        if (!areCounts(record.quality)) return false;
        break;
      default:
        return false;
    }
  }
  return REQUIRED.every((member) => record[member] !== undefined);
}

const REQUIRED = ["asset", "model", "digest", "observedAtMs", "version"] as const;
const COUNTS = ["expected", "received", "late", "missing"] as const;

function areNumbers(outputs: InferenceRecord["outputs"]): boolean {
  if (typeof outputs !== "object" || outputs === null || Array.isArray(outputs)) return false;
  for (const name in outputs) if (!names.knows(name) || !Number.isFinite(outputs[name])) return false;
  return true;
}

function areCounts(quality: InferenceRecord["quality"]): boolean {
  return typeof quality === "object" && quality !== null && COUNTS.every((member) => isCount(quality[member]));
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isTime(value: unknown): boolean {
  return isCount(value) && value <= 8.64e15;
}

/** Texts of one form: a device has few of them and very many records, so each is looked at once. */
class Known {
  readonly #isOne: (text: string) => boolean;
  readonly #known = new Set<unknown>();

  constructor(isOne: (text: string) => boolean) {
    this.#isOne = isOne;
  }

  knows(text: unknown): boolean {
    if (this.#known.has(text)) return true;
    if (typeof text !== "string" || !this.#isOne(text)) return false;
    if (this.#known.size < KNOWN_MAX) this.#known.add(text);
    return true;
  }
}

const KNOWN_MAX = 10_000;
const names = new Known(isName);
const digests = new Known(isDigest);
