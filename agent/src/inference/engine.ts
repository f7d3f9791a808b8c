import { createHash } from "node:crypto";
import { type AssetFeaturesSnapshot, bindChannels } from "@bellwether/protocol/features/asset.ts";
import type { CarriedBaseline, FrozenBaseline } from "@bellwether/protocol/messages/baseline.ts";
import type { ChannelBirth } from "@bellwether/protocol/messages/device.ts";
import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type { EventRecord, InferenceRecord, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import type { ModelBindingConfig } from "../config/config.ts";
import type { ModelFigures } from "./pipeline.ts";
import { type AssetMemory, createPredictor, type Predictor, type TensorCodec } from "./predictor.ts";
import type { ModelSession } from "./session.ts";
import { Shadow } from "./shadow.ts";

/** One model as it is to run. */
export interface Serving {
  readonly session: ModelSession;
  readonly predecessor?: ModelSession;
  readonly shadow?: ModelSession;
}

export interface EngineOptions {
  /** What the inputs feed: channels with their units, by asset. */
  readonly channels: ReadonlyMap<string, readonly ChannelBirth[]>;
  readonly bindings: readonly ModelBindingConfig[];
  readonly tensors: TensorCodec;
  readonly nowMs: () => number;
}

/** What one pass gave, in the order of the rows for each asset and model. */
export interface Pass {
  readonly inference: InferenceRecord[];
  readonly events: EventRecord[];
  readonly drift: DriftRecord[];
}

/** A model's memory of its assets as it is saved, with the definitions that it is a memory of. */
export interface SavedMemory {
  readonly v: 1;
  readonly form: string;
  readonly memory: AssetMemory;
}

interface Served {
  readonly predictor: Predictor;
  predecessor: Predictor | undefined;
  shadow: Shadow | undefined;
  sinceMs: number;
  firstAtMs: number | undefined;
  lastAtMs: number | undefined;
}

/**
 * All models of the device over all its assets. `serve` and `process` must not overlap: the pipeline runs them one
 * after another.
 */
export class Engine {
  readonly #options: EngineOptions;
  #served = new Map<string, Served>();
  #saved = new Map<string, SavedMemory[]>();
  /** Baselines of a replaced device that wait for a version of their form, and devices whose baselines were taken up. */
  readonly #carried = new Map<string, Pick<CarriedBaseline, "from" | "baseline">>();
  readonly #adopted = new Map<string, string>();

  constructor(options: EngineOptions) {
    this.#options = options;
  }

  /** Offers a saved memory; it is used when a version of the same form is first served. */
  remember(model: string, asset: string, saved: SavedMemory): void {
    const key = memoryKey(model, asset);
    this.#saved.set(key, [...(this.#saved.get(key) ?? []), saved]);
  }

  /** Sessions in use. */
  sessions(): ModelSession[] {
    return [...this.#served.values()].flatMap(({ predictor, predecessor, shadow }) =>
      [predictor, predecessor, shadow?.predictor].flatMap((one) => (one === undefined ? [] : [one.session])),
    );
  }

  /**
   * Serves exactly these models from the next row on. A session that served before, in either role, keeps its windows;
   * a new version of the same form takes over the windows and baselines of the one before it.
   */
  serve(servings: readonly Serving[]): Result<void> {
    const next = new Map<string, Served>();
    for (const { session, predecessor, shadow } of servings) {
      const { model } = session.manifest;
      const before = this.#served.get(model);
      const predictor = this.#predictorOf(session, before);
      if (!predictor.ok) return predictor;
      const earlier = predecessor && this.#predictorOf(predecessor, before);
      if (earlier && !earlier.ok) return earlier;
      const candidate = shadow && this.#predictorOf(shadow, before);
      if (candidate && !candidate.ok) return candidate;
      next.set(model, {
        predictor: predictor.value,
        predecessor: earlier?.value,
        shadow: candidate && (before?.shadow?.of(candidate.value) ?? new Shadow(candidate.value)),
        sinceMs: before?.predictor === predictor.value ? before.sinceMs : this.#options.nowMs(),
        firstAtMs: before?.predictor === predictor.value ? before.firstAtMs : undefined,
        lastAtMs: before?.predictor === predictor.value ? before.lastAtMs : undefined,
      });
    }
    for (const [model, { predictor, predecessor, shadow }] of next) {
      for (const asset of predictor.assets) this.#takeUp(predictor, asset);
      if (shadow !== undefined) shadow.predictor.quiet = true;
      if (predecessor !== undefined) predecessor.quiet = true;
      const before = this.#served.get(model)?.predictor;
      if (before === predictor) continue;
      predictor.quiet = false;
      // It may have run as predecessor: what it did then is no evidence for it now.
      predictor.resetFigures();
      for (const asset of before?.assets ?? []) {
        predictor.inheritAlert(asset, before!.memoryOf(asset)?.standing === true);
      }
    }
    this.#served = next;
    return ok(undefined);
  }

  /** Runs every model on these rows. */
  async process(rows: readonly TelemetryRow[]): Promise<Pass> {
    const pass: Pass = { inference: [], events: [], drift: [] };
    for (const served of this.#served.values()) {
      for (const row of rows) {
        served.predictor.push(row);
        served.predecessor?.push(row);
        served.shadow?.predictor.push(row);
      }
      const { predictor } = served;
      const { records, events, drift } = await predictor.flush();
      if (records.length > 0) {
        served.lastAtMs = this.#options.nowMs();
        served.firstAtMs ??= served.lastAtMs;
      }
      const compared =
        served.predecessor === undefined
          ? records
          : withPredecessor(records, (await served.predecessor.flush()).records);
      pass.inference.push(...((await served.shadow?.compare(predictor.session.manifest, compared)) ?? compared));
      pass.events.push(...events);
      pass.drift.push(...drift);
    }
    return pass;
  }

  /** What is normal for each asset under each model that serves, as a device in this one's place could take it up. */
  *baselines(): Generator<{ model: string; asset: string; adopted?: string; baseline: FrozenBaseline }> {
    for (const [model, { predictor }] of this.#served) {
      const form = formOf(predictor.session.manifest);
      for (const asset of predictor.assets) {
        const baseline = predictor.baselineOf(asset);
        const adopted = this.#adopted.get(memoryKey(model, asset));
        if (baseline === undefined) continue;
        yield { model, asset, ...(adopted === undefined ? {} : { adopted }), baseline: { form, ...baseline } };
      }
    }
  }

  /**
   * Takes up what a device that this one replaces knew of an asset: now, or when a version of that form serves. False
   * where it does not fit what serves.
   */
  adopt({ model, asset, from, baseline }: CarriedBaseline): boolean {
    const key = memoryKey(model, asset);
    if (this.#adopted.get(key) === from) return true;
    this.#carried.set(key, { from, baseline });
    const served = this.#served.get(model);
    return served === undefined || this.#takeUp(served.predictor, asset);
  }

  #takeUp(predictor: Predictor, asset: string): boolean {
    const { manifest } = predictor.session;
    const key = memoryKey(manifest.model, asset);
    const carried = this.#carried.get(key);
    if (carried === undefined || carried.baseline.form !== formOf(manifest)) return false;
    this.#carried.delete(key);
    if (!predictor.adopt(asset, carried.baseline).ok) return false;
    this.#adopted.set(key, carried.from);
    return true;
  }

  figures(): ModelFigures[] {
    return [...this.#served.entries()].map(([model, { predictor, shadow, sinceMs, firstAtMs, lastAtMs }]) => ({
      model,
      version: predictor.session.manifest.version,
      digest: predictor.session.digest,
      slotDir: predictor.session.slotDir,
      assets: predictor.assets,
      ...predictor.figures(),
      sinceMs,
      ...(firstAtMs === undefined ? {} : { firstAtMs }),
      ...(lastAtMs === undefined ? {} : { lastAtMs }),
      ...(shadow === undefined ? {} : { shadow: shadow.figures() }),
    }));
  }

  /** What the models remember, to be saved: by model, asset and role. */
  *memories(): Generator<{ model: string; asset: string; role: "serving" | "predecessor"; saved: SavedMemory }> {
    for (const [model, { predictor, predecessor }] of this.#served) {
      yield* memoriesOf(model, "serving", predictor);
      if (predecessor !== undefined) yield* memoriesOf(model, "predecessor", predecessor);
    }
  }

  #predictorOf(session: ModelSession, before: Served | undefined): Result<Predictor> {
    const running = [before?.predictor, before?.predecessor, before?.shadow?.predictor];
    const existing = running.find((predictor) => predictor?.session === session);
    if (existing !== undefined) return ok(existing);
    const { tensors, nowMs } = this.#options;
    const created = createPredictor(session, { tensors, nowMs });
    if (!created.ok) return created;
    this.#bind(created.value, before?.predictor);
    return created;
  }

  #bind(predictor: Predictor, before: Predictor | undefined): void {
    const { manifest } = predictor.session;
    const { model } = manifest;
    const binding = this.#options.bindings.find((candidate) => candidate.model === model);
    const form = formOf(manifest);
    const sameForm = before !== undefined && formOf(before.session.manifest) === form;
    for (const [asset, channels] of this.#options.channels) {
      if (binding?.assets !== undefined && !binding.assets.includes(asset)) continue;
      const offered = new Map(channels.map(({ channel, unit }) => [channel, unit]));
      const sources = bindChannels(manifest.channels, offered, binding?.channels);
      if (!sources.ok) continue; // an asset without the model's channels is simply not one of its assets
      predictor.bind(asset, sources.value);
      const saved = this.#saved.get(memoryKey(model, asset))?.find((candidate) => candidate.form === form);
      const memory = sameForm ? before.memoryOf(asset) : saved?.memory;
      // A memory that does not fit leaves the asset new: the window fills again.
      if (memory !== undefined) predictor.recall(asset, memory);
    }
  }
}

function* memoriesOf(model: string, role: "serving" | "predecessor", predictor: Predictor) {
  const form = formOf(predictor.session.manifest);
  for (const asset of predictor.assets) {
    const memory = predictor.memoryOf(asset);
    if (memory !== undefined) yield { model, asset, role, saved: { v: 1, form, memory } satisfies SavedMemory };
  }
}

/** Versions whose rows become vectors in the same way can take over each other's windows and baselines. */
function formOf({ channels, window, features, baseline, restart }: Manifest): string {
  return createHash("sha256")
    .update(JSON.stringify([channels, window, features, baseline, restart]))
    .digest("hex");
}

function memoryKey(model: string, asset: string): string {
  return `${model}/${asset}`;
}

function withPredecessor(records: readonly InferenceRecord[], earlier: readonly InferenceRecord[]): InferenceRecord[] {
  const byVector = new Map(earlier.map((record) => [`${record.asset}/${record.observedAtMs}`, record]));
  return records.map((record) => {
    const other = byVector.get(`${record.asset}/${record.observedAtMs}`);
    if (other?.value === undefined) return record;
    return { ...record, predecessor: { digest: other.digest, value: other.value } };
  });
}

/** Whether a saved document is a memory; its features are judged when it is recalled. */
export function isSavedMemory(value: unknown): value is SavedMemory {
  const { v, form, memory } = (value ?? {}) as Partial<SavedMemory>;
  const { features, standing } = (memory ?? {}) as Partial<AssetMemory>;
  return v === 1 && typeof form === "string" && typeof standing === "boolean" && isSnapshot(features);
}

function isSnapshot(value: unknown): value is AssetFeaturesSnapshot {
  return typeof value === "object" && value !== null && "window" in value;
}
