import { type Static, Type } from "typebox";
import { err, ok, type Result } from "../result.ts";
import { integer } from "../schema.ts";

/** A baseline as it is saved; plain JSON. */
export const BaselineSnapshot = Type.Object({
  counts: Type.Array(integer({ minimum: 0, maximum: 2 ** 31 - 1 })),
  means: Type.Array(Type.Number()),
});
export type BaselineSnapshot = Static<typeof BaselineSnapshot>;

/**
 * What is normal for one asset: per feature the mean over its first `vectors` values that were not missing. After that
 * it is frozen, so wear shows against it. Until then it says nothing.
 */
export class AssetBaseline {
  readonly vectors: number;
  readonly #counts: Int32Array;
  readonly #means: Float64Array;

  constructor(vectors: number, features: number) {
    this.vectors = vectors;
    this.#counts = new Int32Array(features);
    this.#means = new Float64Array(features);
  }

  /** Whether the feature's baseline is complete. */
  isReady(feature: number): boolean {
    return this.#counts[feature]! >= this.vectors;
  }

  /** Takes a value into the feature's baseline while it is incomplete; then gives the value's distance from it. */
  distance(feature: number, value: number): number {
    const count = this.#counts[feature]!;
    if (count >= this.vectors) return value - this.#means[feature]!;
    if (Number.isNaN(value)) return value;
    this.#counts[feature] = count + 1;
    // Welford's running mean: no sum that grows.
    this.#means[feature]! += (value - this.#means[feature]!) / (count + 1);
    return 0;
  }

  /** The feature's baseline so far, NaN before the first value. */
  mean(feature: number): number {
    return this.#counts[feature] === 0 ? Number.NaN : this.#means[feature]!;
  }

  /** Forgets everything: the asset is new. */
  restart(): void {
    this.#counts.fill(0);
    this.#means.fill(0);
  }

  snapshot(): BaselineSnapshot {
    return { counts: Array.from(this.#counts), means: Array.from(this.#means) };
  }

  /** Takes a snapshot's place; refuses one of another number of features. */
  restore(saved: BaselineSnapshot): Result<void> {
    if (saved.counts.length !== this.#counts.length || saved.means.length !== this.#means.length) {
      return err("FEATURE_STATE_WRONG", {
        reason: `a baseline of ${saved.counts.length} features, the model has ${this.#counts.length}`,
      });
    }
    this.#counts.set(saved.counts);
    this.#means.set(saved.means);
    return ok(undefined);
  }
}
