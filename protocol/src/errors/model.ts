import type { ErrorTable } from "./entry.ts";

/** Errors of ONNX models and model packages. */
export const MODEL_ERRORS = {
  MANIFEST_WRONG: {
    http: 422,
    sentence: "The manifest contradicts itself at {path}: {reason}.",
    remedy: "Correct that member; `bellwether model init` drafts manifests that agree with their model.",
  },
  GOLDEN_WRONG: {
    http: 422,
    sentence: "Case {case} of golden.json does not fit the manifest: {expected} is expected.",
    remedy: "Make it again with `bellwether model init`.",
  },
  GOLDEN_RUN_FAILED: {
    http: 422,
    sentence: "The model failed on golden case {case} in a batch of {batch}: {reason}.",
    remedy: "Check the model's shapes; a model that cannot batch needs maxBatch 1.",
  },
  GOLDEN_MISMATCH: {
    http: 422,
    sentence:
      "The model does not give its golden outputs: case {case} in a batch of {batch}, output {output} is {actual}, not {expected}.",
    remedy: "The model, its golden vectors or this machine's arithmetic is wrong; widen the tolerance only on purpose.",
  },
  REFERENCE_WRONG: {
    http: 422,
    sentence: "reference.json is wrong for {name}: {expected} are expected.",
    remedy: "Make it again with `bellwether model init`.",
  },
  OUTPUT_SHAPE_WRONG: {
    http: 422,
    sentence: "The output {output} of {model} has not the shape that is needed: {expected}.",
    remedy: "Bind an element of it by index, another output, or set maxBatch to 1 for a model that cannot batch.",
  },
} as const satisfies ErrorTable;
