import type { InferenceRecord } from "@bellwether/protocol/messages/stream.ts";

type Contribution = NonNullable<InferenceRecord["explanation"]>[number];

/** Features looked at for one explanation, and contributions shown: one extra batch, and what a person reads. */
export const CANDIDATES_MAX = 64;
export const CONTRIBUTIONS_MAX = 8;

/** What is usual for a feature in the reference profile. */
export interface Usual {
  readonly median: number;
  readonly std: number;
}

/**
 * Usual values in the order of `names`, out of a reference profile's `features`. A feature the profile does not know
 * cannot be occluded and stays out.
 */
export function usualOf(
  { features }: { readonly features: Readonly<Record<string, Usual>> },
  names: readonly string[],
): (Usual | undefined)[] {
  return names.map((name) => (Object.hasOwn(features, name) ? features[name] : undefined));
}

/**
 * Which features to occlude, the least usual first: what sits at its median cannot move the output by being set to it.
 * At most `limit`, so that a model of 10,000 features costs one extra batch as well.
 */
export function candidates(vector: Float64Array, usual: readonly (Usual | undefined)[], limit: number): number[] {
  const scored: { feature: number; distance: number }[] = [];
  for (let feature = 0; feature < vector.length; feature++) {
    const profile = usual[feature];
    if (profile === undefined || vector[feature] === profile.median) continue;
    const distance = Math.abs(vector[feature]! - profile.median) / (profile.std > 0 ? profile.std : 1);
    // A missing value is as unusual as can be.
    scored.push({ feature, distance: Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance });
  }
  scored.sort((a, b) => b.distance - a.distance || a.feature - b.feature);
  return scored.slice(0, limit).map(({ feature }) => feature);
}

/** The vector once per candidate, that feature set to its median (occlusion: Zeiler & Fergus 2014, to a baseline). */
export function occluded(
  vector: Float64Array,
  usual: readonly (Usual | undefined)[],
  features: readonly number[],
): Float64Array[] {
  return features.map((feature) => {
    const copy = vector.slice();
    copy[feature] = usual[feature]!.median;
    return copy;
  });
}

/**
 * The strongest contributions: `delta` = the prediction minus the prediction with that feature at its median, so a
 * positive delta is a feature that raises the output. Failed runs and features without effect are left out.
 */
export function strongest(
  value: number,
  names: readonly string[],
  features: readonly number[],
  occludedValues: readonly (number | undefined)[],
): Contribution[] {
  return features
    .map((feature, i) => ({ feature: names[feature]!, delta: value - (occludedValues[i] ?? Number.NaN) }))
    .filter(({ delta }) => Number.isFinite(delta) && delta !== 0)
    .sort((a, b) => Math.abs(b.delta) - Math.abs(a.delta))
    .slice(0, CONTRIBUTIONS_MAX);
}
