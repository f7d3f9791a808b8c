import { type Static, Type } from "typebox";
import { err, ok, type Result } from "../result.ts";
import { integer, mapOf, validator } from "../schema.ts";
import { canonicalBytes } from "../trust/canonical.ts";
import { checkDrift, DriftReference } from "./drift-reference.ts";

/** Bins of equal mass in the reference. */
export const PROFILE_BINS = 32;
/** Largest reference.json: 10,000 features of 32 bins. */
export const REFERENCE_BYTES_MAX = 32 * 1024 * 1024;

const closed = { additionalProperties: false } as const;
const Count = integer({ minimum: 0 });

/**
 * How one feature (or the score) was distributed where the model was made. Bin i holds edges[i-1] < x <= edges[i]; the
 * first is open below, the last above. Values that occur often make one edge, so there may be fewer bins.
 */
export const ValueProfile = Type.Object(
  {
    /** Values that were there, and vectors where it was missing. */
    n: Count,
    missing: Count,
    mean: Type.Number(),
    /** Of the sample (n - 1). */
    std: Type.Number({ minimum: 0 }),
    min: Type.Number(),
    max: Type.Number(),
    /** What is usual: occlusion sets a feature to it. */
    median: Type.Number(),
    edges: Type.Array(Type.Number(), { maxItems: PROFILE_BINS - 1 }),
    counts: Type.Array(Count, { minItems: 1, maxItems: PROFILE_BINS }),
  },
  closed,
);
export type ValueProfile = Static<typeof ValueProfile>;

/** reference.json: what is normal, frozen when the model was made. */
export const ReferenceProfile = Type.Object(
  {
    v: Type.Literal(1),
    /** By feature name. A feature that was always missing has no profile. */
    features: mapOf(Type.String({ maxLength: 200 }), ValueProfile),
    /** The primary output over the same vectors. */
    score: Type.Optional(ValueProfile),
    /** What a device watches for drift; absent where the history had too few windows in a row. */
    drift: Type.Optional(DriftReference),
  },
  closed,
);
export type ReferenceProfile = Static<typeof ReferenceProfile>;

const shape = validator("reference.json", ReferenceProfile);

/** Profiles of all features over these vectors (rows in the order of `names`, NaN = missing) and of their scores. */
export function referenceProfile(
  names: readonly string[],
  vectors: readonly Float64Array[],
  scores: ArrayLike<number> = [],
  drift?: DriftReference,
): ReferenceProfile {
  const features: Record<string, ValueProfile> = {};
  const column = new Float64Array(vectors.length);
  for (const [feature, name] of names.entries()) {
    for (let i = 0; i < vectors.length; i++) column[i] = vectors[i]![feature]!;
    const profile = valueProfile(column);
    // Own member, whatever the name: "__proto__" is a text like any other.
    if (profile !== undefined) Object.defineProperty(features, name, { value: profile, enumerable: true });
  }
  const score = valueProfile(Float64Array.from(scores));
  return { v: 1, features, ...(score === undefined ? {} : { score }), ...(drift === undefined ? {} : { drift }) };
}

/** The profile of these values (not changed); undefined when none of them is a finite number. */
export function valueProfile(values: Float64Array): ValueProfile | undefined {
  // Plus 0 makes one of both zeros: files know only one.
  const sorted = values
    .filter(Number.isFinite)
    .map((value) => value + 0)
    .sort();
  const n = sorted.length;
  if (n === 0) return undefined;
  const { mean, std } = momentsOf(sorted);
  const edges: number[] = [];
  for (let bin = 1; bin < PROFILE_BINS; bin++) {
    const edge = sorted[Math.ceil((bin * n) / PROFILE_BINS) - 1]!;
    // The largest value as an edge would leave the last bin empty for ever.
    if (edge < sorted[n - 1]! && (edges.length === 0 || edge > edges.at(-1)!)) edges.push(edge);
  }
  const counts = new Array<number>(edges.length + 1).fill(0);
  for (const value of sorted) counts[binOf(edges, value)]! += 1;
  const middle = n >> 1;
  const median = n % 2 === 1 ? sorted[middle]! : sorted[middle - 1]! / 2 + sorted[middle]! / 2;
  return { n, missing: values.length - n, mean, std, min: sorted[0]!, max: sorted[n - 1]!, median, edges, counts };
}

/** Mean and standard deviation of the sample; values so large that their squares overflow count as far apart. */
function momentsOf(values: Float64Array): { mean: number; std: number } {
  let mean = 0;
  let squares = 0;
  // Welford's running moments, on halves so that the difference of two finite numbers stays finite.
  for (let i = 0; i < values.length; i++) {
    const half = values[i]! / 2 - mean / 2;
    mean += (half / (i + 1)) * 2;
    squares += 4 * half * (values[i]! / 2 - mean / 2);
  }
  const std = values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0;
  return { mean, std: Number.isFinite(std) ? std : Number.MAX_VALUE };
}

/** The bin of a value: how many edges lie below it. */
export function binOf(edges: readonly number[], value: number): number {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The bytes of a reference.json. */
export function referenceBytes(profile: ReferenceProfile): Uint8Array {
  return canonicalBytes(profile);
}

/** Reads reference.json; edges must rise and counts must fit them. */
export function parseReference(bytes: Uint8Array): Result<ReferenceProfile> {
  const parsed = shape.parse(bytes, REFERENCE_BYTES_MAX);
  if (!parsed.ok) return parsed;
  const { features, score } = parsed.value;
  const profiles = Object.entries(features);
  for (const [name, profile] of score === undefined ? profiles : [...profiles, ["(score)", score] as const]) {
    const { edges, counts, n } = profile;
    if (edges.some((edge, i) => i > 0 && !(edge > edges[i - 1]!))) {
      return err("REFERENCE_WRONG", { name, expected: "edges that rise" });
    }
    if (counts.length !== edges.length + 1 || counts.reduce((sum, count) => sum + count, 0) !== n) {
      return err("REFERENCE_WRONG", { name, expected: "one count for each bin, n in all" });
    }
  }
  const wrong = parsed.value.drift === undefined ? undefined : checkDrift(parsed.value.drift);
  return wrong === undefined ? ok(parsed.value) : err("REFERENCE_WRONG", wrong);
}
