import { readableHalves } from "@bellwether/protocol/onnx/half.ts";
import { runtimeReason } from "@bellwether/protocol/onnx/runtime-reason.ts";
import type { RunTensors } from "@bellwether/protocol/package/golden.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import type { OutputTensor } from "@bellwether/protocol/package/tensors.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { InferenceSession, Tensor } from "onnxruntime-node";

// The agent's own options: what is proven here is what devices do.
const SESSION_OPTIONS = {
  executionProviders: ["cpu"],
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: "sequential",
  graphOptimizationLevel: "all",
  logSeverityLevel: 3,
} as const satisfies InferenceSession.SessionOptions;

/** A loaded model. */
export interface OpenModel {
  readonly loadMs: number;
  /** One run that fetches these graph outputs. Throws what ONNX Runtime throws. */
  run(inputs: Parameters<RunTensors>[0], outputs: readonly string[]): Promise<Record<string, OutputTensor>>;
  close(): Promise<void>;
}

/** Loads a model from its bytes, never from a path: nothing beside it can be read. Only in a limited child. */
export async function openModel(
  bytes: Uint8Array,
  { model, version }: Pick<Manifest, "model" | "version">,
): Promise<Result<OpenModel>> {
  const startMs = performance.now();
  let session: InferenceSession;
  try {
    session = await InferenceSession.create(bytes, SESSION_OPTIONS);
  } catch (cause) {
    return err("MODEL_NOT_LOADABLE", { model, version, reason: runtimeReason(cause) });
  }
  return ok({
    loadMs: performance.now() - startMs,
    async run(inputs, outputs) {
      const feeds: Record<string, Tensor> = {};
      // The typings want one overload per element type; the manifest's check has matched type and elements.
      for (const { name, type, data, dims } of inputs) {
        feeds[name] = readableHalves(new Tensor(type as "float32", data as Float32Array, dims));
      }
      return (await session.run(feeds, outputs)) as Record<string, OutputTensor>;
    },
    close: () => session.release(),
  });
}
