import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import type { TensorCodec } from "../../agent/src/inference/predictor.ts";
import type { ModelReference, ModelSession } from "../../agent/src/inference/session.ts";

/** A session over a function of the feature vector, which counts its runs. `NaN` answers stand for refused outputs. */
export function fakeSession(
  manifest: Manifest,
  predict: (features: Float64Array) => number,
  reference: ModelReference = { features: {} },
): ModelSession & { readonly batches: number[]; closed: boolean; lastRunUs: number } {
  const batches: number[] = [];
  const width = manifest.features.length;
  const digest = `sha256:${manifest.version.toString(16).padStart(64, "0")}`;
  return {
    slotDir: `/slots/${manifest.model}/${manifest.version}`,
    manifest,
    digest,
    reference,
    loadMs: 1,
    lastRunUs: 7,
    batches,
    closed: false,
    async run([input]) {
      const rows = input!.dims[0]!;
      batches.push(rows);
      const all = input!.data as Float64Array;
      const data = Array.from({ length: rows }, (_, i) => predict(all.slice(i * width, (i + 1) * width)));
      return { out: { dims: [rows, 1], data } };
    },
    async close() {
      this.closed = true;
    },
  };
}

/** Features as one float64 tensor in, one number per row out. */
export const fakeTensors: TensorCodec = {
  build: (manifest, vectors) => {
    const width = manifest.features.length;
    const data = new Float64Array(vectors.length * width);
    vectors.forEach(({ features }, i) => {
      data.set(features, i * width);
    });
    return [{ name: "in", type: "float64", dims: [vectors.length, width], data }];
  },
  read: (manifest, outputs, batch) =>
    Array.from({ length: batch }, (_, i) => {
      const primary = Number(outputs["out"]!.data[i]);
      if (Number.isNaN(primary)) return err("OUTPUT_NOT_FINITE", { output: "value", model: manifest.model });
      return ok({ primary, outputs: { value: primary } });
    }),
};
