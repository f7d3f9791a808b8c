import type { FeatureSpec, Manifest } from "../package/manifest.ts";
import { err, ok, type Result } from "../result.ts";
import { Slab } from "../slab.ts";
import { nearest } from "../text.ts";
import type { AssetBaseline } from "./baseline.ts";
import { type ChannelFunction, FEATURE_FUNCTIONS, type FeatureFunction } from "./catalogue.ts";
import { Column } from "./column.ts";
import { checkWindow, type RowWindow } from "./windows.ts";

/** The members of a manifest that say how rows become feature vectors. */
export type FeatureManifest = Pick<Manifest, "channels" | "features" | "window"> &
  Partial<Pick<Manifest, "baseline" | "restart">>;

interface ChannelStep {
  readonly feature: number;
  readonly compute: ChannelFunction["compute"];
  readonly parameters: Readonly<Record<string, number>>;
  readonly whenEmpty: number;
}

interface ChannelPlan {
  readonly channel: number;
  readonly steps: readonly ChannelStep[];
}

/**
 * A model's feature list compiled for the agent's hot path: one pass per channel, no object per row. Not reentrant (it
 * reuses one column), which is right for a thread that computes one vector after another.
 */
export class FeatureProgram {
  readonly manifest: FeatureManifest;
  /** Feature names in the order of the vector. */
  readonly names: readonly string[];
  /** Channel names in the order of a row. */
  readonly channels: readonly string[];
  readonly #plans: readonly ChannelPlan[];
  readonly #assetSteps: readonly { feature: number; compute: (window: RowWindow) => number }[];
  /** Features that are a channel's newest value, and their channels: read straight from the window. */
  readonly #lasts: Int32Array;
  readonly #lastChannels: Int32Array;
  readonly #relative: Int32Array;
  readonly #column = new Column();
  readonly #vectors = new Slab();

  constructor(
    manifest: FeatureManifest,
    plans: readonly ChannelPlan[],
    lasts: readonly { feature: number; channel: number }[],
    assetSteps: readonly { feature: number; compute: (window: RowWindow) => number }[],
  ) {
    this.manifest = manifest;
    this.names = manifest.features.map(({ name }) => name);
    this.channels = manifest.channels.map(({ channel }) => channel);
    this.#plans = plans;
    this.#lasts = Int32Array.from(lasts, ({ feature }) => feature);
    this.#lastChannels = Int32Array.from(lasts, ({ channel }) => channel);
    this.#assetSteps = assetSteps;
    this.#relative = Int32Array.from(
      manifest.features.flatMap((feature, i) => (feature.relativeToBaseline === true ? [i] : [])),
    );
  }

  /**
   * The feature vector of a window, in the manifest's order; NaN where every value was missing. Call it once per due
   * window: the first vectors also build the asset's baseline. It shares a block of memory with the vectors before
   * and after it: who keeps a few of many keeps copies.
   */
  vector(window: RowWindow, baseline?: AssetBaseline): Float64Array {
    const vector = this.#vectors.float64(this.names.length);
    window.lastsInto(this.#lastChannels, this.#lasts, vector);
    for (const { channel, steps } of this.#plans) this.#channelSteps(window, channel, steps, vector);
    for (const { feature, compute } of this.#assetSteps) vector[feature] = compute(window);
    if (baseline !== undefined) {
      for (const feature of this.#relative) vector[feature] = baseline.distance(feature, vector[feature]!);
    }
    return vector;
  }

  #channelSteps(window: RowWindow, channel: number, steps: readonly ChannelStep[], vector: Float64Array): void {
    const column = this.#column;
    column.load(window, channel);
    for (const { feature, compute, parameters, whenEmpty } of steps) {
      const figure = column.n === 0 ? whenEmpty : compute(column, parameters);
      // An overflow (1e300 squared) is as good as missing; a model must not meet an infinity.
      vector[feature] = Number.isFinite(figure) ? figure : Number.NaN;
    }
  }
}

/** The usual name of a feature: `{channel}.{function}`, a band with its edges, `_vs_baseline` where it is relative. */
export function featureName(spec: Omit<FeatureSpec, "name">): string {
  const values = Object.entries(spec.parameters ?? {}).filter(([name]) => name !== "rate_hz");
  const head = spec.channel === undefined ? spec.function : `${spec.channel}.${spec.function}`;
  const tail = values.map(([, value]) => `_${value}`).join("");
  return `${head}${tail}${spec.relativeToBaseline === true ? "_vs_baseline" : ""}`;
}

/** Compiles a manifest's features; names the feature that cannot be computed and why. */
export function compileFeatures(manifest: FeatureManifest): Result<FeatureProgram> {
  const window = checkWindow(manifest.window, manifest.channels.length);
  if (!window.ok) return window;
  const channelIndex = new Map(manifest.channels.map(({ channel }, i) => [channel, i]));
  const counter = manifest.restart?.counter;
  if (counter !== undefined && !channelIndex.has(counter)) {
    return err("FEATURE_CHANNEL_UNKNOWN", { feature: "restart.counter", channel: counter });
  }
  const plans = new Map<number, { channel: number; steps: ChannelStep[] }>();
  const lasts: { feature: number; channel: number }[] = [];
  const assetSteps: { feature: number; compute: (window: RowWindow) => number }[] = [];
  const names = new Set<string>();
  for (const [index, feature] of manifest.features.entries()) {
    if (names.has(feature.name)) return err("FEATURE_NAME_TWICE", { feature: feature.name });
    names.add(feature.name);
    const resolved = resolveFeature(feature, channelIndex, manifest.baseline !== undefined);
    if (!resolved.ok) return resolved;
    const { definition, channel, parameters } = resolved.value;
    if (definition.over === "asset") {
      assetSteps.push({ feature: index, compute: definition.compute });
      continue;
    }
    if (feature.function === "last") {
      lasts.push({ feature: index, channel });
      continue;
    }
    const plan = plans.get(channel) ?? { channel, steps: [] };
    plans.set(channel, plan);
    const { compute, whenEmpty = Number.NaN } = definition;
    plan.steps.push({ feature: index, compute, parameters, whenEmpty });
  }
  return ok(new FeatureProgram(manifest, [...plans.values()], lasts, assetSteps));
}

interface ResolvedFeature {
  readonly definition: FeatureFunction;
  readonly channel: number;
  readonly parameters: Readonly<Record<string, number>>;
}

function resolveFeature(
  feature: FeatureSpec,
  channelIndex: ReadonlyMap<string, number>,
  hasBaseline: boolean,
): Result<ResolvedFeature> {
  const definition = Object.hasOwn(FEATURE_FUNCTIONS, feature.function)
    ? FEATURE_FUNCTIONS[feature.function]
    : undefined;
  if (definition === undefined) {
    const close = nearest(feature.function, Object.keys(FEATURE_FUNCTIONS));
    const hint = close === undefined ? "" : `; did you mean "${close}"?`;
    return err("FEATURE_FUNCTION_UNKNOWN", { feature: feature.name, function: feature.function, hint });
  }
  if (feature.relativeToBaseline === true && !hasBaseline) {
    return err("FEATURE_BASELINE_MISSING", { feature: feature.name });
  }
  const parameters = resolveParameters(feature, definition);
  if (!parameters.ok) return parameters;
  if (definition.over === "asset") return ok({ definition, channel: -1, parameters: parameters.value });
  if (feature.channel === undefined) {
    return err("FEATURE_CHANNEL_MISSING", { feature: feature.name, function: feature.function });
  }
  const channel = channelIndex.get(feature.channel);
  if (channel === undefined) {
    return err("FEATURE_CHANNEL_UNKNOWN", { feature: feature.name, channel: feature.channel });
  }
  return ok({ definition, channel, parameters: parameters.value });
}

function resolveParameters(
  feature: FeatureSpec,
  definition: FeatureFunction,
): Result<Readonly<Record<string, number>>> {
  const given = feature.parameters ?? {};
  const wrong = (parameter: string, expected: string) =>
    err("FEATURE_PARAMETER_WRONG", { feature: feature.name, parameter, expected });
  for (const parameter of Object.keys(given)) {
    if (!Object.hasOwn(definition.parameters, parameter)) {
      return wrong(parameter, `${feature.function} takes ${Object.keys(definition.parameters).join(", ") || "none"}`);
    }
  }
  const parameters: Record<string, number> = {};
  for (const [parameter, { min, max, fallback }] of Object.entries(definition.parameters)) {
    const value = given[parameter];
    if (value === undefined) {
      if (fallback === undefined) return wrong(parameter, `${feature.function} needs it`);
      parameters[parameter] = fallback;
      continue;
    }
    if (!(value >= min && value <= max)) return wrong(parameter, `a number from ${min} to ${max}, not ${value}`);
    parameters[parameter] = value;
  }
  const { lo_hz: lo, hi_hz: hi } = parameters;
  if (lo !== undefined && hi !== undefined && lo >= hi) return wrong("hi_hz", `more than lo_hz ${lo}, not ${hi}`);
  return ok(parameters);
}
