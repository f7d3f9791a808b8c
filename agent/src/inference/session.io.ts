import { readableHalves } from "@bellwether/protocol/onnx/half.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { VerifiedModel } from "../trust/verified-model.ts";
import { LOAD_LIMIT_MS, type ModelSession, type NativeGuard, type OutputTensor, runLimitMs } from "./session.ts";

// ONNX Runtime's default pools spin: 100 runs/s took 104 % of a core, against 4.5 % with one thread each.
const SESSION_OPTIONS = {
  executionProviders: ["cpu"],
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: "sequential",
  graphOptimizationLevel: "all",
  logSeverityLevel: 3,
} as const satisfies InferenceSession.SessionOptions;

/** How to open a model. `index` is the model's place in the heartbeat's list; `guard` marks native calls. */
export interface OpenSessionOptions {
  readonly guard?: NativeGuard;
  readonly index?: number;
}

const unguarded: NativeGuard = { enter: () => undefined, leave: () => undefined };

/**
 * Makes the session of a verified model, on the CPU with one thread: from the bytes that were hashed, never from a path,
 * so that a disk that rots or is changed meanwhile does not choose what runs, and nothing beside them can be read.
 */
export async function openSession(
  verified: VerifiedModel,
  options: OpenSessionOptions = {},
): Promise<Result<ModelSession>> {
  const { guard = unguarded, index = 0 } = options;
  const { slotDir, digest, manifest, reference } = verified;
  const { model, version } = manifest;
  const bytes = VerifiedModel.take(verified);
  let session: InferenceSession;
  const startMs = performance.now();
  guard.enter(index, LOAD_LIMIT_MS);
  try {
    session = await InferenceSession.create(bytes, SESSION_OPTIONS);
  } catch (cause) {
    return err("MODEL_NOT_LOADABLE", { model, version, reason: (cause as Error).message.slice(0, 300) });
  } finally {
    guard.leave();
  }
  const loadMs = performance.now() - startMs;
  const mismatch = bindingProblem(manifest, session);
  if (mismatch !== undefined) {
    await session.release();
    return mismatch;
  }
  const limitMs = runLimitMs(manifest);
  // Only bound outputs are fetched: a ZipMap output beside them is no tensor and would make the run throw.
  const fetches = [...new Set(manifest.outputs.map(({ output }) => output))];
  let lastRunUs = 0;
  let beganMs = 0;
  let asked = 0;
  let entering: NodeJS.Immediate | undefined;
  const begin = () => {
    guard.enter(index, limitMs);
    beganMs = performance.now();
  };
  return ok({
    slotDir,
    manifest,
    digest,
    reference,
    loadMs,
    get lastRunUs() {
      return lastRunUs;
    },
    async run(inputs) {
      const feeds: Record<string, Tensor> = {};
      // The typings want one overload per element type; the manifest's check has matched type and data.
      for (const { name, type, data, dims } of inputs)
        feeds[name] = readableHalves(new Tensor(type as "float32", data as Float32Array, dims));
      // ONNX Runtime defers each native call to an immediate. The first begins in the immediate before its own; of runs
      // that were asked for together each begins when the one before it has ended, so that each has its own time.
      if (asked++ === 0) {
        beganMs = performance.now();
        entering = setImmediate(begin);
      }
      try {
        return (await session.run(feeds, fetches)) as Record<string, OutputTensor>;
      } finally {
        lastRunUs = (performance.now() - beganMs) * 1_000;
        guard.leave();
        if (--asked > 0) begin();
        else clearImmediate(entering); // a run that was refused never came that far
      }
    },
    close: () => session.release(),
  });
}

/** Why the manifest's bindings do not fit the graph, if they do not. */
function bindingProblem(manifest: Manifest, session: InferenceSession): ReturnType<typeof err> | undefined {
  const { model, version } = manifest;
  const bound = new Set(manifest.tensors.map(({ input }) => input));
  for (const name of session.inputNames) {
    if (!bound.has(name))
      return err("MODEL_INPUT_UNBOUND", { model, version, side: "input", name, problem: "is not bound" });
  }
  for (const name of bound) {
    if (!session.inputNames.includes(name)) {
      return err("MODEL_INPUT_UNBOUND", { model, version, side: "input", name, problem: "does not exist" });
    }
  }
  for (const { output: name } of manifest.outputs) {
    if (!session.outputNames.includes(name)) {
      return err("MODEL_INPUT_UNBOUND", { model, version, side: "output", name, problem: "does not exist" });
    }
  }
  return undefined;
}
