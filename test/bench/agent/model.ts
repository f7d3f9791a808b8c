import { calibrateDrift } from "@bellwether/protocol/drift/calibration.ts";
import { writeModel } from "@bellwether/protocol/onnx/write.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { seededRandom } from "@bellwether/protocol/random.ts";
import { type ReferenceProfile, referenceProfile } from "@bellwether/protocol/reference/profile.ts";

export const CHANNELS: readonly string[] = Array.from({ length: 24 }, (_, i) => `c${i}`);
export const UNIT = "A";
export const RESOLUTION = 0.001;
/** Source time between two rows of an asset. */
export const STEP_MS = 1_000;
export const FEATURES = CHANNELS.map((channel) => `${channel}.last`);

/** The network of all figures on inference: 24-64-32-1 with ReLU. */
export function network(): Uint8Array {
  const sizes = [24, 64, 32, 1];
  const layers = sizes.slice(1).map((out, i) => ({ from: sizes[i]!, out, i }));
  return writeModel({
    name: "mlp",
    producer: "bench",
    opsets: { "": 17 },
    inputs: [{ name: "in", type: "float32", shape: ["batch", 24] }],
    outputs: [{ name: "out", type: "float32", shape: ["batch", 1] }],
    constants: layers.map(({ from, out, i }) => ({
      name: `w${i}`,
      dims: [from, out],
      values: Float32Array.from({ length: from * out }, (_, k) => Math.sin(k + i) / from),
    })),
    nodes: layers.flatMap(({ i }) => {
      const last = i === layers.length - 1;
      const product = { operator: "MatMul", domain: "", inputs: [i === 0 ? "in" : `h${i}`, `w${i}`], attributes: {} };
      if (last) return [{ ...product, outputs: ["out"] }];
      const relu = { operator: "Relu", domain: "", inputs: [`p${i}`], outputs: [`h${i + 1}`], attributes: {} };
      return [{ ...product, outputs: [`p${i}`] }, relu];
    }),
  });
}

/** Window of one row, its newest values as features; `maxBatch` vectors share a run. */
export function manifestOf(maxBatch: number): Partial<Manifest> {
  return {
    model: "bench",
    channels: CHANNELS.map((channel) => ({ channel, unit: UNIT })),
    features: CHANNELS.map((channel, i) => ({ name: FEATURES[i]!, function: "last", channel })),
    window: { kind: "count", length: 1, hop: 1, minRows: 1 },
    tensors: [{ input: "in", type: "float32", shape: ["batch", 24], source: { kind: "features", features: FEATURES } }],
    maxBatch,
  };
}

/** What is usual, and what drift is measured against: the same signals as {@link valuesAt} gives. */
export function reference(): ReferenceProfile {
  const lives = Array.from({ length: 8 }, (_, life) => {
    const vectors = Array.from({ length: 600 }, (_, i) => Float64Array.from(Object.values(valuesAt(life, i))));
    return { vectors, scores: Float64Array.from(vectors, (vector) => vector[0]!) };
  });
  const drift = calibrateDrift(lives, {
    names: FEATURES,
    windowVectors: 60,
    rowMs: STEP_MS,
    channels: CHANNELS.map((channel) => ({ channel, unit: UNIT, min: -9, max: 9, missing: 0, stuckRows: 2 })),
    seed: 1,
  });
  if (drift === undefined) throw new Error("no reference for drift came of the bench's signals");
  const all = lives.flatMap(({ vectors }) => vectors);
  return referenceProfile(
    FEATURES,
    all,
    Float64Array.from(all, (vector) => vector[0]!),
    drift,
  );
}

/** One row of an asset: a slow wave and noise on every channel, on the channel's grid and without -0, as inputs give them. */
export function valuesAt(asset: number, i: number): Record<string, number> {
  const random = seededRandom(asset * 1_000_003 + i, 0);
  return Object.fromEntries(
    CHANNELS.map((channel, k) => {
      const value = Math.sin(i * 0.01 + k) + random.next() - 0.5;
      return [channel, Math.round(value / RESOLUTION) / (1 / RESOLUTION) + 0];
    }),
  );
}
