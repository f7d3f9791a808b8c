import { compileFeatures, type FeatureManifest, featureName } from "@bellwether/protocol/features/program.ts";
import { Name } from "@bellwether/protocol/ids.ts";
import { type FeatureSpec, RestartRule } from "@bellwether/protocol/package/manifest.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import type { HistorySnapshot } from "./history/snapshot.ts";
import { livesOf } from "./targets.ts";

const Functions = Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { maxItems: 16 });

/** What may be said about the features; what is absent is chosen by {@link planFeatures}. */
export const FeatureOptions = Type.Object(
  {
    channels: Type.Optional(Type.Array(Name, { minItems: 1, maxItems: 1_024, description: "Learn from these only." })),
    windowRows: Type.Optional(integer({ minimum: 1, maximum: 10_000 })),
    functions: Type.Optional(Functions),
    /** Functions whose distance from the asset's own healthy baseline is a feature. */
    relative: Type.Optional(Functions),
    baselineVectors: Type.Optional(integer({ minimum: 1, maximum: 10_000 })),
    age: Type.Optional(Type.Boolean({ description: "Rows of the asset so far." })),
    restart: Type.Optional(RestartRule),
  },
  { additionalProperties: false },
);
export type FeatureOptions = Static<typeof FeatureOptions>;

/** Chosen together with the trees: docs/decisions/0080. */
export const FEATURE_DEFAULTS = {
  windowRows: 15,
  functions: ["mean", "slope"],
  relative: ["mean"],
  baselineVectors: 40,
  age: true,
} as const;

/** What features were chosen and why. */
export interface FeaturePlan {
  readonly manifest: FeatureManifest;
  /** Channel of the history behind each channel of the manifest. */
  readonly sources: readonly number[];
  readonly notes: readonly string[];
}

/**
 * Channels that vary, and per channel the functions asked for. Features that remember an asset's youth (age, distance
 * from its healthy baseline) need to see a repaired machine begin anew; where assets failed more than once and nothing
 * in the rows shows it, they are left out, because a device could not compute them as training did.
 */
export function planFeatures(
  history: string,
  snapshot: HistorySnapshot,
  options: FeatureOptions,
  learnt: ReadonlySet<string>,
): Result<FeaturePlan> {
  const chosen = chooseChannels(history, snapshot, options, learnt);
  if (!chosen.ok) return chosen;
  const { sources, notes } = chosen.value;
  const channels = sources.map((source) => snapshot.channels[source]!);
  const restart = restartOf(snapshot, options, notes);
  const remembers = restart.known;
  const relative = remembers ? (options.relative ?? FEATURE_DEFAULTS.relative) : [];
  const functions = options.functions ?? FEATURE_DEFAULTS.functions;
  const features: FeatureSpec[] = channels.flatMap(({ channel }) => [
    ...functions.map((name) => named({ function: name, channel })),
    ...relative.map((name) => named({ function: name, channel, relativeToBaseline: true })),
  ]);
  if ((options.age ?? FEATURE_DEFAULTS.age) && remembers) features.push(named({ function: "age_rows" }));
  const length = options.windowRows ?? FEATURE_DEFAULTS.windowRows;
  const manifest: FeatureManifest = {
    channels,
    window: { kind: "count", length, hop: 1, minRows: 1 },
    features,
    ...(relative.length > 0
      ? { baseline: { vectors: options.baselineVectors ?? FEATURE_DEFAULTS.baselineVectors } }
      : {}),
    ...(restart.rule === undefined ? {} : { restart: restart.rule }),
  };
  const compiled = compileFeatures(manifest);
  return compiled.ok ? ok({ manifest, sources, notes }) : compiled;
}

function named(spec: Omit<FeatureSpec, "name">): FeatureSpec {
  return { name: featureName(spec), ...spec };
}

function chooseChannels(
  history: string,
  snapshot: HistorySnapshot,
  options: FeatureOptions,
  learnt: ReadonlySet<string>,
): Result<{ sources: number[]; notes: string[] }> {
  const names = snapshot.channels.map(({ channel }) => channel);
  for (const channel of options.channels ?? []) {
    if (!names.includes(channel)) return err("NOT_FOUND", { what: `channel of ${history}`, name: channel });
  }
  const notes: string[] = [];
  const sources: number[] = [];
  const constant: string[] = [];
  for (const [c, channel] of names.entries()) {
    if (options.channels !== undefined && !options.channels.includes(channel)) continue;
    if (varies(snapshot, c, learnt)) sources.push(c);
    else constant.push(channel);
  }
  if (constant.length > 0) notes.push(`Channels that never change were left out: ${constant.join(", ")}.`);
  if (sources.length === 0) {
    return err("TRAINING_CHANNELS_UNUSABLE", { history, reason: "none of them ever changes" });
  }
  return ok({ sources, notes });
}

function varies(snapshot: HistorySnapshot, channel: number, learnt: ReadonlySet<string>): boolean {
  let first = Number.NaN;
  for (const { asset, channels } of snapshot.assets) {
    if (!learnt.has(asset)) continue;
    for (const value of channels[channel]!) {
      if (Number.isNaN(value) || value === first) continue;
      if (!Number.isNaN(first)) return true;
      first = value;
    }
  }
  return false;
}

/** How a device will see that an asset is new: by the rule given, by a counter found, or because no asset ever is. */
function restartOf(
  snapshot: HistorySnapshot,
  options: FeatureOptions,
  notes: string[],
): { readonly known: boolean; readonly rule: RestartRule | undefined } {
  if (options.restart !== undefined) return { known: true, rule: options.restart };
  const repaired = snapshot.assets.filter((asset) => livesOf(asset).length > 1);
  if (repaired.length === 0) return { known: true, rule: undefined };
  const used = options.channels;
  const counter = snapshot.channels.findIndex(
    ({ channel }, c) => (used === undefined || used.includes(channel)) && isCounter(snapshot, c),
  );
  if (counter >= 0) {
    const { channel } = snapshot.channels[counter]!;
    notes.push(`${channel} falls only when an asset was repaired: window, age and baseline begin again with it.`);
    return { known: true, rule: { counter: channel } };
  }
  notes.push(
    "Assets were repaired and no channel shows when: age and distance from the healthy baseline were left out " +
      "(features.restart names a counter or a pause that shows it).",
  );
  return { known: false, rule: undefined };
}

/** A channel that never falls within a life and falls at every repair; missing values say nothing. */
function isCounter(snapshot: HistorySnapshot, channel: number): boolean {
  return snapshot.assets.every((asset) => {
    const values = asset.channels[channel]!;
    let before = Number.NaN;
    for (const { from, last } of livesOf(asset)) {
      let seen = false;
      for (let row = from; row <= last; row += 1) {
        const value = values[row]!;
        if (Number.isNaN(value)) continue;
        const fell = value < before;
        if (seen ? fell : from > 0 && !fell) return false;
        seen = true;
        before = value;
      }
      if (!seen) return false;
    }
    return true;
  });
}
