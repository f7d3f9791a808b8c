import { type Static, Type } from "typebox";
import type { TelemetryRow } from "../messages/stream.ts";
import { err, ok, type Result } from "../result.ts";
import { validator } from "../schema.ts";
import { type Conversion, conversionOf } from "../units.ts";
import { AssetBaseline, BaselineSnapshot } from "./baseline.ts";
import type { FeatureProgram } from "./program.ts";
import { RowWindow, type WindowQuality, WindowSnapshot } from "./windows.ts";

const Snapshot = Type.Object({
  v: Type.Literal(1),
  counter: Type.Union([Type.Number(), Type.Null()]),
  window: WindowSnapshot,
  baseline: Type.Optional(BaselineSnapshot),
});
/** Everything a model remembers of one asset, as it is saved; plain JSON. */
export type AssetFeaturesSnapshot = Static<typeof Snapshot>;
const snapshotShape = validator("The saved window", Snapshot);

/**
 * One asset as one model sees it: window, baseline and the sign of a restart. The only way from rows to vectors: the
 * agent pushes rows as they come, trainer and tests push history.
 */
export class AssetFeatures {
  readonly program: FeatureProgram;
  readonly window: RowWindow;
  readonly baseline: AssetBaseline | undefined;
  readonly #counterChannel: number;
  readonly #gapMs: number;
  #counter = Number.NaN;
  #restarts = 0;

  constructor(program: FeatureProgram) {
    const { window, channels, features, baseline, restart } = program.manifest;
    this.program = program;
    this.window = new RowWindow(window, channels.length);
    this.baseline = baseline === undefined ? undefined : new AssetBaseline(baseline.vectors, features.length);
    this.#counterChannel = restart?.counter === undefined ? -1 : program.channels.indexOf(restart.counter);
    this.#gapMs = restart?.gapMs ?? Number.POSITIVE_INFINITY;
  }

  /** How often the asset began anew since this was made: what watches it beside the model begins anew with it. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Takes a row (model channel order, NaN = missing; copied) and gives the feature vector if one is due now. */
  push(observedAtMs: number, row: Float64Array): Float64Array | undefined {
    if (this.#isNew(observedAtMs, row)) this.restart();
    if (!this.window.push(observedAtMs, row)) return undefined;
    return this.program.vector(this.window, this.baseline);
  }

  /** What the newest vector's window held. */
  quality(): WindowQuality {
    return this.window.quality();
  }

  /** Copies of the newest vector's rows, oldest first, in model channel order. */
  copyRows(): Float64Array[] {
    return this.window.copyRows();
  }

  /** The asset is new (repaired, replaced): window, age and baseline begin again. */
  restart(): void {
    this.#restarts += 1;
    this.window.restart();
    this.baseline?.restart();
  }

  snapshot(): AssetFeaturesSnapshot {
    return {
      v: 1,
      counter: Number.isNaN(this.#counter) ? null : this.#counter,
      window: this.window.snapshot(),
      ...(this.baseline === undefined ? {} : { baseline: this.baseline.snapshot() }),
    };
  }

  /** Goes on where a snapshot was taken; on a refusal the asset begins anew. */
  restore(given: unknown): Result<void> {
    const shape = snapshotShape.check(given);
    if (!shape.ok) return err("FEATURE_STATE_WRONG", { reason: shape.error.message });
    const saved = shape.value;
    if ((saved.baseline === undefined) !== (this.baseline === undefined)) {
      return err("FEATURE_STATE_WRONG", { reason: "it is of another form" });
    }
    const window = this.window.restore(saved.window);
    const baseline = saved.baseline === undefined ? ok(undefined) : this.baseline!.restore(saved.baseline);
    if (!window.ok || !baseline.ok) {
      this.restart();
      return window.ok ? baseline : window;
    }
    this.#counter = saved.counter ?? Number.NaN;
    return ok(undefined);
  }

  #isNew(observedAtMs: number, row: Float64Array): boolean {
    const lastAtMs = this.window.lastAtMs;
    // A late row is no news of the asset.
    if (observedAtMs < lastAtMs) return false;
    // Before the first row there is no gap: a baseline that another device made of this machine goes on.
    let isNew = Number.isFinite(lastAtMs) && observedAtMs - lastAtMs > this.#gapMs;
    if (this.#counterChannel >= 0) {
      const counter = row[this.#counterChannel]!;
      if (!Number.isNaN(counter)) {
        if (counter < this.#counter) isNew = true;
        this.#counter = counter;
      }
    }
    return isNew;
  }
}

/** Where a model's channel comes from in a telemetry row, and how its unit becomes the model's. */
export interface ChannelSource {
  readonly channel: string;
  readonly conversion: Conversion;
}

/**
 * Sources for a model's channels out of what a device offers (`channel -> unit`), with the binding's renames
 * (`model channel -> device channel`).
 */
export function bindChannels(
  required: readonly { readonly channel: string; readonly unit: string }[],
  offered: ReadonlyMap<string, string>,
  renames: Readonly<Record<string, string>> = {},
): Result<ChannelSource[]> {
  const sources: ChannelSource[] = [];
  for (const { channel, unit } of required) {
    const source = Object.hasOwn(renames, channel) ? renames[channel]! : channel;
    const offeredUnit = offered.get(source);
    if (offeredUnit === undefined) return err("NOT_FOUND", { what: "channel", name: source });
    const conversion = conversionOf(offeredUnit, unit);
    if (!conversion.ok) return conversion;
    sources.push({ channel: source, conversion: conversion.value });
  }
  return ok(sources);
}

/** Writes a telemetry row's values in model channel order; NaN for what is absent, bad or not finite. */
export function readRow(
  row: Pick<TelemetryRow, "values">,
  sources: readonly ChannelSource[],
  into: Float64Array,
): void {
  for (let i = 0; i < sources.length; i += 1) {
    const { channel, conversion } = sources[i]!;
    const value = row.values[channel];
    into[i] =
      typeof value === "number" && Number.isFinite(value)
        ? conversion.same
          ? value
          : value * conversion.scale + conversion.offset
        : Number.NaN;
  }
}
