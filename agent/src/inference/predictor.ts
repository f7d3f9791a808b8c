import {
  AssetFeatures,
  type AssetFeaturesSnapshot,
  type ChannelSource,
  readRow,
} from "@bellwether/protocol/features/asset.ts";
import { compileFeatures, type FeatureProgram } from "@bellwether/protocol/features/program.ts";
import type { FrozenBaseline } from "@bellwether/protocol/messages/baseline.ts";
import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type { EventRecord, InferenceRecord, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { createDebounce, type Debounce } from "./debounce.ts";
import { AssetDrift, type SavedDrift } from "./drift.ts";
import { CANDIDATES_MAX, candidates, occluded, strongest, type Usual, usualOf } from "./explanation.ts";
import { LatencyHistogram } from "./latency.ts";
import type { InputTensor, ModelSession, OutputTensor } from "./session.ts";

/** While no alert stands, every so many inferences of an asset are explained; while one stands, ten times as often. */
const EXPLAIN_EVERY = 100;
const EXPLAIN_EVERY_ALERTING = 10;
/** Native runs are synchronous: the event loop waits for so much of their time at most, and for so many of them. */
const TURN_US = 2_000;
const RUNS_PER_TURN_MAX = 64;
/** A model that cannot batch is explained by so many single runs. */
const SINGLE_RUNS_MAX = 16;

/** One vector as tensors are built from it. */
export interface TensorVector {
  readonly features: Float64Array;
  readonly window?: { readonly rows: readonly Float64Array[] };
}

/** Between feature vectors and tensors, by the manifest's bindings. */
export interface TensorCodec {
  build(manifest: Manifest, vectors: readonly TensorVector[]): readonly InputTensor[];
  read(
    manifest: Manifest,
    outputs: Readonly<Record<string, OutputTensor>>,
    batch: number,
  ): readonly Result<{ readonly primary: number; readonly outputs: NonNullable<InferenceRecord["outputs"]> }>[];
}

/** What a predictor needs of the world. */
export interface PredictorOptions {
  readonly tensors: TensorCodec;
  /** The device's wall clock: rows that are ahead of it carry a wrong time. */
  readonly nowMs: () => number;
}

/** What one flush gave. Records of one asset are in the order of its rows. */
export interface Predictions {
  readonly records: InferenceRecord[];
  readonly events: EventRecord[];
  readonly drift: DriftRecord[];
}

/** What a predictor counted since it was made or `resetFigures` was called. */
export interface PredictorFigures {
  /** Vectors that gave a prediction; those that did not are `errors`. */
  readonly inferences: number;
  readonly errors: number;
  readonly alerts: number;
  readonly medianLatencyUs: number;
  readonly p99LatencyUs: number;
}

/** What a model remembers of one asset, as it is saved; plain JSON. */
export interface AssetMemory {
  readonly features: AssetFeaturesSnapshot;
  readonly standing: boolean;
  readonly drift?: SavedDrift;
}

interface AssetState {
  readonly asset: string;
  readonly sources: readonly ChannelSource[];
  readonly features: AssetFeatures;
  readonly debounce: Debounce | undefined;
  /** The alert as it was announced. */
  standing: boolean;
  sinceExplained: number;
  /** Made with the first row, when all assets are bound; absent where the reference says nothing of drift. */
  drift: AssetDrift | undefined;
  savedDrift: SavedDrift | undefined;
}

interface Due extends TensorVector {
  readonly state: AssetState;
  readonly observedAtMs: number;
  readonly quality: NonNullable<InferenceRecord["quality"]>;
  readonly restarts: number;
}

/** What the model said of one vector. */
type Answer = Result<{ readonly primary: number; readonly outputs: NonNullable<InferenceRecord["outputs"]> }>;

/** One native run. */
interface Run {
  readonly answers: readonly Answer[];
  readonly latencyUs: number;
}

type Draft = { -readonly [Member in keyof InferenceRecord]: InferenceRecord[Member] };

/** Compiles a session's feature list into a predictor. */
export function createPredictor(session: ModelSession, options: PredictorOptions): Result<Predictor> {
  const program = compileFeatures(session.manifest);
  return program.ok ? ok(new Predictor(session, program.value, options)) : program;
}

/**
 * One model over all its assets: rows go in, and the vectors that came due together run as micro-batches. Only vectors
 * made from rows count as inferences.
 */
export class Predictor {
  readonly session: ModelSession;
  /** A predecessor or a shadow only gives values for comparison: no alerts, no explanations. */
  quiet = false;
  readonly #program: FeatureProgram;
  readonly #options: PredictorOptions;
  readonly #assets = new Map<string, AssetState>();
  readonly #usual: readonly (Usual | undefined)[];
  readonly #rawWindow: boolean;
  readonly #scratch: Float64Array;
  #due: Due[] = [];
  #latency = new LatencyHistogram();
  /** What a native run took lately; none yet, so the first runs alone. */
  #lastRunUs = Number.POSITIVE_INFINITY;
  #inferences = 0;
  #errors = 0;
  #alerts = 0;

  constructor(session: ModelSession, program: FeatureProgram, options: PredictorOptions) {
    this.session = session;
    this.#program = program;
    this.#options = options;
    this.#usual = usualOf(session.reference, program.names);
    this.#rawWindow = session.manifest.tensors.some(({ source }) => source.kind === "window");
    this.#scratch = new Float64Array(program.channels.length);
  }

  /** Assets bound so far. */
  get assets(): readonly string[] {
    return [...this.#assets.keys()];
  }

  /** Binds an asset: where each of the model's channels comes from. */
  bind(asset: string, sources: readonly ChannelSource[]): void {
    const { alert } = this.session.manifest;
    this.#assets.set(asset, {
      asset,
      sources,
      features: new AssetFeatures(this.#program),
      debounce: alert && createDebounce(alert),
      standing: false,
      // The first inference of an asset is explained: people look at a new model at once.
      sinceExplained: EXPLAIN_EVERY,
      drift: undefined,
      savedDrift: undefined,
    });
  }

  /** Takes a row of a bound asset; its vector, when one is due, waits for `flush`. False when the asset is not bound. */
  push(row: TelemetryRow): boolean {
    const state = this.#assets.get(row.asset);
    if (state === undefined) return false;
    readRow(row, state.sources, this.#scratch);
    this.#driftOf(state)?.row(row.observedAtMs, this.#options.nowMs(), this.#scratch);
    const vector = state.features.push(row.observedAtMs, this.#scratch);
    if (vector === undefined) return true;
    const { observedAtMs } = row;
    const { features } = state;
    const due: Due = {
      state,
      observedAtMs,
      features: vector,
      quality: features.quality(),
      restarts: features.restarts,
    };
    this.#due.push(this.#rawWindow ? { ...due, window: { rows: features.copyRows() } } : due);
    return true;
  }

  /** Runs what is due, at most `maxBatch` vectors per native run. */
  async flush(): Promise<Predictions> {
    const predictions: Predictions = { records: [], events: [], drift: [] };
    const due = this.#due;
    if (due.length === 0) return predictions;
    this.#due = [];
    for (let from = 0; from < due.length; ) {
      const some = due.slice(from, from + this.#vectorsPerTurn());
      from += some.length;
      let at = 0;
      for (const { answers, latencyUs } of await this.#runs(some)) {
        for (const answer of answers) {
          const explaining = this.#record(some[at++]!, answer, latencyUs, predictions);
          // A promise for each record would cost as much as the record.
          if (explaining !== undefined) await explaining;
        }
      }
    }
    return predictions;
  }

  figures(): PredictorFigures {
    return {
      inferences: this.#inferences,
      errors: this.#errors,
      alerts: this.#alerts,
      medianLatencyUs: this.#latency.quantileUs(0.5),
      p99LatencyUs: this.#latency.quantileUs(0.99),
    };
  }

  /** Counting begins again: this session now serves in another role. */
  resetFigures(): void {
    this.#latency = new LatencyHistogram();
    this.#inferences = 0;
    this.#errors = 0;
    this.#alerts = 0;
  }

  /** What the model remembers of a bound asset, to be saved or handed to the version after it. */
  memoryOf(asset: string): AssetMemory | undefined {
    const state = this.#assets.get(asset);
    if (state === undefined) return undefined;
    const drift = state.drift?.save() ?? state.savedDrift;
    return {
      features: state.features.snapshot(),
      standing: state.standing,
      ...(drift === undefined ? {} : { drift }),
    };
  }

  /** Takes over the alert that stands, so that a new version neither repeats nor forgets it. */
  inheritAlert(asset: string, standing: boolean): void {
    const state = this.#assets.get(asset);
    if (state?.debounce !== undefined) state.standing = standing;
  }

  /** Goes on with a saved memory of a bound asset; one of another form is refused and the asset begins anew. */
  recall(asset: string, memory: AssetMemory): Result<void> {
    this.inheritAlert(asset, memory.standing);
    const state = this.#assets.get(asset);
    if (state !== undefined) state.savedDrift = memory.drift;
    return this.#assets.get(asset)?.features.restore(memory.features) ?? ok(undefined);
  }

  /** What is normal for an asset so far, as another device could take it up; undefined where nothing is kept of that. */
  baselineOf(asset: string): Pick<FrozenBaseline, "features" | "drift"> | undefined {
    const memory = this.memoryOf(asset);
    const features = memory?.features.baseline;
    const drift = memory?.drift;
    if (features === undefined && drift === undefined) return undefined;
    return { ...(features === undefined ? {} : { features }), ...(drift === undefined ? {} : { drift }) };
  }

  /** Takes up what another device knew of a bound asset, instead of what this one has gathered. */
  adopt(asset: string, { features, drift }: Pick<FrozenBaseline, "features" | "drift">): Result<void> {
    const state = this.#assets.get(asset);
    if (state === undefined) return err("NOT_FOUND", { what: "asset", name: asset });
    const restored = features === undefined ? ok(undefined) : state.features.baseline?.restore(features);
    if (restored !== undefined && !restored.ok) return restored;
    // The detector judges what it is given when it takes it up: one of another reference leaves it as it is.
    const saved = drift as SavedDrift | undefined;
    if (saved === undefined) return ok(undefined);
    if (state.drift !== undefined) return state.drift.restore(saved);
    state.savedDrift = saved;
    return ok(undefined);
  }

  /** How many vectors may run before the event loop turns: as many as their time allows, one batch at least. */
  #vectorsPerTurn(): number {
    const runs = Math.min(RUNS_PER_TURN_MAX, Math.floor(TURN_US / this.#lastRunUs));
    return Math.max(1, runs) * this.session.manifest.maxBatch;
  }

  /**
   * Runs these vectors, at most `maxBatch` in one native run. A run alone costs a turn of the event loop, half as much
   * again as a small model takes; runs that were asked for together share it, one after the other.
   */
  async #runs(vectors: readonly TensorVector[]): Promise<readonly Run[]> {
    const { maxBatch } = this.session.manifest;
    if (vectors.length <= maxBatch) return [await this.#run(vectors)];
    const runs: Promise<Run>[] = [];
    for (let from = 0; from < vectors.length; from += maxBatch) {
      runs.push(this.#run(vectors.slice(from, from + maxBatch)));
    }
    return Promise.all(runs);
  }

  async #run(batch: readonly TensorVector[]): Promise<Run> {
    const { manifest } = this.session;
    const { tensors } = this.#options;
    let answers: readonly Answer[];
    try {
      answers = tensors.read(manifest, await this.session.run(tensors.build(manifest, batch)), batch.length);
    } catch (cause) {
      answers = await this.#answersOneByOne(batch, cause);
    }
    const latencyUs = Math.round(this.session.lastRunUs);
    this.#lastRunUs = Math.max(1, latencyUs);
    return { answers, latencyUs };
  }

  /** After a run that threw: one vector that the model cannot take must not cost the others of its batch. */
  async #answersOneByOne(batch: readonly TensorVector[], cause: unknown): Promise<readonly Answer[]> {
    // The thrown text is ONNX Runtime's and differs by version; records carry the stable code.
    const { model } = this.session.manifest;
    if (batch.length === 1) return [err("INFERENCE_FAILED", { model, reason: String(cause).slice(0, 300) })];
    const singles: Answer[] = [];
    for (const vector of batch) singles.push(...(await this.#run([vector])).answers);
    return singles;
  }

  /** Takes an answer into the records; a promise where the record waits for its explanation. */
  #record(due: Due, answer: Answer, latencyUs: number, into: Predictions): Promise<void> | undefined {
    const { state, quality } = due;
    const value = answer.ok ? answer.value.primary : undefined;
    this.#latency.add(latencyUs);
    this.#watch(due, value ?? Number.NaN, into);
    const changed = this.#judge(state, value);
    const record = this.#draftOf(due);
    if (answer.ok) {
      this.#inferences++;
      record.value = answer.value.primary;
      record.outputs = answer.value.outputs;
    } else {
      this.#errors++;
      record.error = answer.error.code;
    }
    record.latencyUs = latencyUs;
    record.quality = quality;
    if (state.debounce !== undefined && !this.quiet) record.alert = state.standing;
    into.records.push(record);
    if (value === undefined) return undefined;
    if (this.#wantsExplanation(state, changed)) return this.#explained(due, record, value, changed, into);
    if (changed) this.#announce(record, value, into);
    return undefined;
  }

  #draftOf({ state, observedAtMs }: Due): Draft {
    const { manifest, digest } = this.session;
    return { asset: state.asset, observedAtMs, model: manifest.model, version: manifest.version, digest };
  }

  async #explained(due: Due, record: Draft, value: number, changed: boolean, into: Predictions): Promise<void> {
    const explanation = await this.#explain(due, value);
    if (explanation.length > 0) record.explanation = explanation;
    if (changed) this.#announce(record, value, into);
  }

  /** The alert of the record's asset has changed with this value. */
  #announce({ asset, observedAtMs, alert = false, explanation = [] }: Draft, value: number, into: Predictions): void {
    if (alert) this.#alerts++;
    into.events.push(alertEvent(this.session.manifest, asset, observedAtMs, value, alert, explanation));
  }

  /** The asset's drift detector; a predecessor watches nothing, its successor does. */
  #driftOf(state: AssetState): AssetDrift | undefined {
    const reference = this.session.reference?.drift;
    if (reference === undefined || this.quiet) return undefined;
    if (state.drift === undefined) {
      state.drift = new AssetDrift({
        reference,
        digest: this.session.manifest.files.reference.digest,
        names: this.#program.names,
        channels: this.#program.channels,
        assets: this.#assets.size,
      });
      // One that does not fit leaves the asset to warm up again.
      if (state.savedDrift !== undefined) state.drift.restore(state.savedDrift);
      state.savedDrift = undefined;
    }
    return state.drift;
  }

  #watch({ state, observedAtMs, features, restarts }: Due, score: number, into: Predictions): void {
    const closed = this.#driftOf(state)?.vector(observedAtMs, features, score, restarts);
    if (closed === undefined) return;
    const { manifest, digest } = this.session;
    into.drift.push({ asset: state.asset, model: manifest.model, version: manifest.version, digest, ...closed });
  }

  /**
   * Steps the alert; whether it changed. A version that took over a standing alert clears it only once it has seen n
   * outputs itself.
   */
  #judge(state: AssetState, value: number | undefined): boolean {
    if (state.debounce === undefined) return false;
    const { active, settled } = state.debounce.next(value);
    if (this.quiet) return false;
    const before = state.standing;
    state.standing = active || (before && !settled);
    return state.standing !== before;
  }

  #wantsExplanation(state: AssetState, changed: boolean): boolean {
    if (this.quiet) return false;
    state.sinceExplained++;
    const every = state.standing ? EXPLAIN_EVERY_ALERTING : EXPLAIN_EVERY;
    if (!(changed && state.standing) && state.sinceExplained < every) return false;
    state.sinceExplained = 0;
    return true;
  }

  async #explain(due: Due, value: number): Promise<NonNullable<InferenceRecord["explanation"]>> {
    const { maxBatch } = this.session.manifest;
    const limit = maxBatch === 1 ? SINGLE_RUNS_MAX : Math.min(maxBatch, CANDIDATES_MAX);
    const chosen = candidates(due.features, this.#usual, limit);
    if (chosen.length === 0) return [];
    const vectors = occluded(due.features, this.#usual, chosen).map((features) => ({ ...due, features }));
    const answers: Answer[] = [];
    for (let from = 0; from < vectors.length; ) {
      const some = vectors.slice(from, from + this.#vectorsPerTurn());
      from += some.length;
      for (const run of await this.#runs(some)) answers.push(...run.answers);
    }
    return strongest(
      value,
      this.#program.names,
      chosen,
      answers.map((answer) => (answer.ok ? answer.value.primary : undefined)),
    );
  }
}

function alertEvent(
  manifest: ModelSession["manifest"],
  asset: string,
  atMs: number,
  value: number,
  active: boolean,
  explanation: NonNullable<InferenceRecord["explanation"]>,
): EventRecord {
  const rule = manifest.alert!;
  const primary = manifest.outputs.find((output) => output.primary === true)?.name ?? "output";
  const crossing = `${rule.k} of the last ${rule.n} were ${rule.direction} ${rule.threshold}`;
  const because = explanation.map(({ feature }) => feature).slice(0, 3);
  return {
    atMs,
    kind: "alert",
    severity: active ? "warning" : "info",
    code: active ? "ALERT_RAISED" : "ALERT_CLEARED",
    text: active
      ? `${asset}: ${primary} is ${Number(value.toPrecision(6))}; ${crossing}${because.length > 0 ? `; mostly by ${because.join(", ")}` : ""}.`
      : `${asset}: ${primary} is ${Number(value.toPrecision(6))}; no longer ${crossing}.`,
    asset,
    model: manifest.model,
    detail: { value, threshold: rule.threshold, direction: rule.direction, k: rule.k, n: rule.n, explanation },
  };
}
