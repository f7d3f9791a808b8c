import { createReadStream } from "node:fs";
import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { AssetFeatures, readRow } from "@bellwether/protocol/features/asset.ts";
import { compileFeatures, type FeatureProgram } from "@bellwether/protocol/features/program.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { runtimeReason } from "@bellwether/protocol/onnx/runtime-reason.ts";
import { type CheckedModel, checkOnnx } from "@bellwether/protocol/onnx/static-check.ts";
import { checkManifest, digestOf, manifestBytes } from "@bellwether/protocol/package/check.ts";
import {
  type DraftedInputs,
  type DraftOptions,
  draftInputs,
  draftOutputs,
} from "@bellwether/protocol/package/draft.ts";
import { compareGolden, GOLDEN_CASES_MAX, goldenBytes } from "@bellwether/protocol/package/golden.ts";
import type { AlertRule, Manifest, OutputBinding } from "@bellwether/protocol/package/manifest.ts";
import {
  buildTensors,
  readOutputs,
  type TensorVector,
  type VectorOutputs,
} from "@bellwether/protocol/package/tensors.ts";
import { referenceBytes, referenceProfile } from "@bellwether/protocol/reference/profile.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { parse } from "csv-parse";
import { writeDurably } from "../files.io.ts";
import { type HistoryColumns, type HistoryHeader, historyReader, readHeader } from "./history-file.ts";
import { type OpenModel, openModel } from "./session.io.ts";

/** What `model init` knows; everything else is found out. */
export interface DraftTask {
  readonly modelFile: string;
  readonly historyFile: string;
  readonly outDir: string;
  readonly name: string;
  readonly description?: string;
  readonly options: DraftOptions;
  readonly columns: HistoryColumns;
  readonly alert?: AlertRule;
  /** What a device must keep; without it, 20 times the slowest run here, at least 250 ms. */
  readonly p99LatencyMs?: number;
  readonly tolerance: { readonly absolute: number; readonly relative: number };
}

/** What was drafted, and what the person should know. */
export interface Drafted {
  readonly manifest: Manifest;
  readonly vectors: number;
  readonly cases: number;
  /** Sentences: what was assumed, left out, or could not be done. */
  readonly notes: readonly string[];
}

/** What a model and a history say before anything is asked. */
export interface Inspection {
  readonly model: CheckedModel;
  readonly header?: HistoryHeader;
}

const GOLDEN_CASES = 16;
/** A golden file stays small: windows of many rows make fewer cases. */
const GOLDEN_VALUES_MAX = 100_000;
/** Vectors the reference profile is made of at most, and those the model is run over for the score's profile. */
const PROFILE_VALUES_MAX = 8_000_000;
const SCORED_MAX = 5_000;
const BATCH = 32;
/** A small board that loads another model beside this one answers late without being broken. */
const LATENCY_MS_MIN = 250;
const SAMPLE_ROWS = 50;

/** Reads the model without running it, and the head of a history. */
export async function inspectModel(modelFile: string, historyFile?: string): Promise<Result<Inspection>> {
  const bytes = await readOrRefuse(modelFile);
  if (!bytes.ok) return bytes;
  const model = checkOnnx(bytes.value);
  if (!model.ok) return model;
  if (historyFile === undefined) return ok({ model: model.value });
  const head: string[][] = [];
  const read = await eachLine(historyFile, (cells) => head.push(cells) <= SAMPLE_ROWS);
  if (!read.ok) return read;
  const [header, ...sample] = head;
  if (header === undefined || sample.length === 0) {
    return err("HISTORY_UNUSABLE", { file: historyFile, reason: "it has no row below its header" });
  }
  return ok({ model: model.value, header: readHeader(header, sample) });
}

/** Drafts a whole package: manifest.json, model.onnx, golden.json, reference.json in `outDir`. */
export async function draftPackage(task: DraftTask): Promise<Result<Drafted>> {
  const bytes = await readOrRefuse(task.modelFile);
  if (!bytes.ok) return bytes;
  const model = checkOnnx(bytes.value);
  if (!model.ok) return model;
  const inputs = draftInputs(model.value, task.options);
  if (!inputs.ok) return inputs;
  const program = compileFeatures(inputs.value);
  if (!program.ok) return program;
  const history = await collect(task, program.value);
  if (!history.ok) return history;
  const opened = await openModel(bytes.value, { model: task.name, version: 1 });
  if (!opened.ok) return opened;
  try {
    return await write(
      task,
      { bytes: bytes.value, model: model.value, inputs: inputs.value, program: program.value },
      opened.value,
      history.value,
    );
  } finally {
    await opened.value.close();
  }
}

interface Known {
  readonly bytes: Buffer;
  readonly model: CheckedModel;
  readonly inputs: DraftedInputs;
  readonly program: FeatureProgram;
}

async function write(task: DraftTask, known: Known, session: OpenModel, history: History): Promise<Result<Drafted>> {
  const notes = [...history.notes];
  const chosen = await windowsOf(task, known.program, history);
  const outputs = await firstOutputs(task, known, session, chosen);
  if (!outputs.ok) return outputs;
  const draft = draftManifest(task, known, outputs.value);
  const scored = await score(draft, session, chosen);
  if (!scored.ok) return scored;
  if (scored.value.failed > 0) {
    notes.push(
      `${scored.value.failed} of ${chosen.length} vectors gave no usable output; devices would count them as errors.`,
    );
  }
  const { good } = scored.value;
  const rows = Math.max(1, (good[0]?.vector.window?.rows.length ?? 0) * draft.channels.length + draft.features.length);
  const cases = spread(
    good,
    Math.min(GOLDEN_CASES, GOLDEN_CASES_MAX, Math.max(2, Math.floor(GOLDEN_VALUES_MAX / rows))),
  );
  const maxBatch = await batchSize(draft, session, cases, notes);
  const golden = goldenBytes(
    cases.map(({ vector }) => vector),
    cases.map(({ outputs: one }) => one.outputs),
  );
  const reference = referenceBytes(
    referenceProfile(
      known.program.names,
      history.vectors,
      good.map(({ outputs: one }) => one.primary),
    ),
  );
  const named = (file: Uint8Array) => ({ digest: digestOf(file), length: file.byteLength });
  const files = { model: named(known.bytes), golden: named(golden), reference: named(reference) };
  const p99LatencyMs = task.p99LatencyMs ?? Math.max(LATENCY_MS_MIN, Math.ceil(20 * scored.value.slowestMs));
  const manifest: Manifest = { ...draft, files, maxBatch, limits: { ...draft.limits, p99LatencyMs } };
  const checked = checkManifest(manifest);
  if (!checked.ok) return checked;
  await writeDurably(join(task.outDir, "golden.json"), golden, 0o644);
  await writeDurably(join(task.outDir, "reference.json"), reference, 0o644);
  await copyFile(task.modelFile, join(task.outDir, "model.onnx"));
  // The manifest last: a folder that has one is whole.
  await writeDurably(join(task.outDir, "manifest.json"), manifestBytes(manifest), 0o644);
  return ok({ manifest, vectors: history.count, cases: cases.length, notes });
}

function draftManifest(task: DraftTask, { model, inputs, bytes }: Known, outputs: OutputBinding[]): Manifest {
  const { batches: _, ...bound } = inputs;
  const none = { digest: digestOf(bytes), length: bytes.byteLength };
  return {
    v: 1,
    model: task.name,
    version: 1,
    ...(task.description === undefined ? {} : { description: task.description }),
    files: { model: none, golden: none, reference: none },
    ...bound,
    outputs,
    ...(task.alert === undefined ? {} : { alert: task.alert }),
    compatibility: { opset: model.opset, executionProviders: ["cpu"], architectures: ["x64", "arm64"] },
    limits: { p99LatencyMs: LATENCY_MS_MIN, memoryMb: 256 + Math.ceil((4 * bytes.byteLength) / 2 ** 20) },
    tolerance: task.tolerance,
    maxBatch: inputs.batches ? BATCH : 1,
    lineage: { trainer: model.producer === "" ? "unknown" : model.producer.slice(0, 128) },
  };
}

/** What a history holds, thinned so that it fits the memory: every `stride`-th vector. */
interface History {
  readonly vectors: readonly Float64Array[];
  readonly stride: number;
  /** Vectors there were. */
  readonly count: number;
  readonly notes: readonly string[];
}

/** Reads the whole history once, for its features. */
async function collect(task: DraftTask, program: FeatureProgram): Promise<Result<History>> {
  let vectors: Float64Array[] = [];
  let stride = 1;
  const read = await eachVector(task, program, (features, index) => {
    if (index % stride !== 0) return;
    vectors.push(features.slice());
    if (vectors.length * (features.length + 1) <= PROFILE_VALUES_MAX) return;
    vectors = vectors.filter((_, i) => i % 2 === 0);
    stride *= 2;
  });
  if (!read.ok) return read;
  const { count, unusable, unreadable, rows } = read.value;
  const file = task.historyFile;
  if (count === 0) {
    const reason =
      rows === 0 ? "it has no rows" : `none of its ${rows} rows completes a window with a time and an asset`;
    return err("HISTORY_UNUSABLE", { file, reason });
  }
  const notes: string[] = [];
  if (unusable > 0) notes.push(`${unusable} of ${rows} rows have no readable time or asset and were left out.`);
  if (unreadable > 0) notes.push(`${unreadable} cells are no numbers and count as missing.`);
  if (stride > 1) notes.push(`The reference profile is made of every ${stride}th vector.`);
  return ok({ vectors, stride, count, notes });
}

/** Vectors the model will be run over, with their windows where the model reads them: a second reading of the history. */
async function windowsOf(task: DraftTask, program: FeatureProgram, history: History): Promise<TensorVector[]> {
  const skip = Math.max(1, Math.ceil(history.vectors.length / SCORED_MAX)) * history.stride;
  const chosen: TensorVector[] = [];
  await eachVector(task, program, (features, index, asset) => {
    if (index % skip === 0) chosen.push({ features: features.slice(), window: { rows: asset.copyRows() } });
  });
  return chosen;
}

interface ReadCounts {
  readonly count: number;
  readonly rows: number;
  readonly unusable: number;
  readonly unreadable: number;
}

/** Every vector of a history, by the agent's own code. One that is kept is to be copied: it holds its neighbours' memory. */
async function eachVector(
  { historyFile, columns }: DraftTask,
  program: FeatureProgram,
  take: (features: Float64Array, index: number, asset: AssetFeatures) => void,
): Promise<Result<ReadCounts>> {
  const conversion = { scale: 1, offset: 0, same: true };
  const sources = program.channels.map((channel) => ({ channel, conversion }));
  const assets = new Map<string, AssetFeatures>();
  const scratch = new Float64Array(sources.length);
  let reader: ReturnType<typeof historyReader> | undefined;
  let count = 0;
  const push = (row: TelemetryRow) => {
    const asset = assets.get(row.asset) ?? new AssetFeatures(program);
    assets.set(row.asset, asset);
    readRow(row, sources, scratch);
    const features = asset.push(row.observedAtMs, scratch);
    if (features !== undefined) take(features, count++, asset);
  };
  const read = await eachLine(historyFile, (cells) => {
    if (reader === undefined) {
      reader = historyReader(historyFile, cells, columns);
      return reader.ok;
    }
    const row = reader.ok ? reader.value.read(cells) : undefined;
    if (row !== undefined) push(row);
    return true;
  });
  if (!read.ok) return read;
  if (reader === undefined) return err("HISTORY_UNUSABLE", { file: historyFile, reason: "it is empty" });
  return reader.ok ? ok({ count, ...reader.value.counts }) : reader;
}

/** Calls `take` with the cells of each line until it says false. */
async function eachLine(file: string, take: (cells: string[]) => boolean): Promise<Result<void>> {
  const stream = createReadStream(file);
  const delimiter = /\.tsv$/i.test(file) ? "\t" : [",", ";", "\t"];
  const lines = stream.pipe(
    parse({
      delimiter,
      bom: true,
      trim: true,
      relax_column_count: true,
      skip_empty_lines: true,
      max_record_size: 1_048_576,
    }),
  );
  stream.once("error", (cause) => lines.destroy(cause));
  try {
    for await (const cells of lines) if (!take(cells as string[])) break;
    return ok(undefined);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    return err("HISTORY_UNUSABLE", { file, reason: code === "ENOENT" ? "it does not exist" : message });
  } finally {
    stream.destroy();
  }
}

/** Runs one vector over all tensor outputs, to see how wide they are. */
async function firstOutputs(
  task: DraftTask,
  { model, inputs }: Known,
  session: OpenModel,
  vectors: readonly TensorVector[],
): Promise<Result<OutputBinding[]>> {
  const fetchable = model.outputs.filter((output) => output.fetchable).map(({ name }) => name);
  const manifest = { model: task.name, outputs: [], ...inputs };
  let reason = "";
  // A vector with missing values may be one the model cannot take; another one can.
  for (const vector of spread(vectors, GOLDEN_CASES)) {
    try {
      return draftOutputs(model, await session.run(buildTensors(manifest, [vector]), fetchable), task.options);
    } catch (cause) {
      reason = runtimeReason(cause);
    }
  }
  return err("GOLDEN_RUN_FAILED", { case: 0, batch: 1, reason });
}

interface Scored {
  readonly vector: TensorVector;
  readonly outputs: VectorOutputs;
}

/** Runs the model over vectors one by one, as golden outputs are defined. */
async function score(manifest: Manifest, session: OpenModel, vectors: readonly TensorVector[]) {
  const outputs = [...new Set(manifest.outputs.map(({ output }) => output))];
  const needsWindow = manifest.tensors.some(({ source }) => source.kind === "window");
  const good: Scored[] = [];
  let failed = 0;
  let slowestMs = 0;
  let refusal: Result<never> | undefined;
  for (const { features, window } of vectors) {
    const vector = needsWindow && window ? { features, window } : { features };
    try {
      const startMs = performance.now();
      const results = await session.run(buildTensors(manifest, [vector]), outputs);
      if (good.length > 0) slowestMs = Math.max(slowestMs, performance.now() - startMs);
      const read = readOutputs(manifest, results, 1)[0]!;
      if (read.ok) good.push({ vector, outputs: read.value });
      else refusal ??= read;
    } catch (cause) {
      refusal ??= err("GOLDEN_RUN_FAILED", {
        case: good.length + failed,
        batch: 1,
        reason: runtimeReason(cause),
      });
    }
    failed = vectors.length;
  }
  failed -= good.length;
  return good.length === 0 && refusal !== undefined ? refusal : ok({ good, failed, slowestMs });
}

/** The largest batch whose outputs are those of single runs; some models that declare a free batch fail at 2. */
async function batchSize(
  manifest: Manifest,
  session: OpenModel,
  cases: readonly Scored[],
  notes: string[],
): Promise<number> {
  if (manifest.maxBatch === 1 || cases.length < 2) return 1;
  const outputs = [...new Set(manifest.outputs.map(({ output }) => output))];
  try {
    const results = await session.run(
      buildTensors(
        manifest,
        cases.map(({ vector }) => vector),
      ),
      outputs,
    );
    for (const [i, read] of readOutputs(manifest, results, cases.length).entries()) {
      const same = read.ok
        ? compareGolden(manifest, read.value.outputs, cases[i]!.outputs.outputs, i, cases.length)
        : read;
      if (!same.ok) {
        notes.push(`The model answers otherwise in batches, so maxBatch is 1: ${same.error.message}`);
        return 1;
      }
    }
  } catch (cause) {
    notes.push(`The model cannot run batches, so maxBatch is 1: ${runtimeReason(cause)}`);
    return 1;
  }
  return manifest.maxBatch;
}

/** At most `count` of them, evenly, the first and the last included. */
function spread<T>(all: readonly T[], count: number): T[] {
  if (all.length <= count) return [...all];
  return Array.from({ length: count }, (_, i) => all[Math.round((i * (all.length - 1)) / (count - 1))]!);
}

async function readOrRefuse(file: string): Promise<Result<Buffer>> {
  try {
    return ok(await readFile(file));
  } catch (cause) {
    return err("FILE_UNREADABLE", { file, reason: (cause as NodeJS.ErrnoException).code ?? String(cause) });
  }
}
