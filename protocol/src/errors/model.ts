import type { ErrorTable } from "./entry.ts";

/** Errors of ONNX models and model packages. */
export const MODEL_ERRORS = {
  ONNX_LFS_POINTER: {
    http: 422,
    sentence: "The file is a Git LFS pointer, not the model itself.",
    remedy: "Run `git lfs pull` where it comes from and upload the real file.",
  },
  ONNX_RUNTIME_FORMAT: {
    http: 422,
    sentence: "The file is in ONNX Runtime's own format, which cannot be checked.",
    remedy: "Upload the ONNX file it was made from.",
  },
  ONNX_CORRUPT: {
    http: 422,
    sentence: "The file is no ONNX model, or was cut off: {reason}.",
    remedy: "Export or copy it again.",
  },
  ONNX_TOO_LARGE: {
    http: 422,
    sentence: "The ONNX {what} is too large: {actual}, and the limit is {limit}.",
    remedy: "Use a smaller model.",
  },
  ONNX_TOO_MANY_PARTS: {
    http: 422,
    sentence: "The ONNX graph has more than {limit} {parts}.",
    remedy: "Use a smaller model, or fold its constants into fewer.",
  },
  ONNX_TOO_MANY_NODES: {
    http: 422,
    sentence: "The ONNX graph has more than {limit} nodes.",
    remedy: "Simplify the model; a tree ensemble is one node when exported with ai.onnx.ml.",
  },
  ONNX_TOO_DEEP: {
    http: 422,
    sentence: "The ONNX graph nests graphs more than {limit} deep.",
    remedy: "Flatten the model's control flow.",
  },
  ONNX_PART_REFUSED: {
    http: 422,
    sentence: "The ONNX file brings {part}, which are not accepted.",
    remedy: "Inline its functions (onnx.inliner) and export the inference graph only.",
  },
  ONNX_OPSET_MISSING: {
    http: 422,
    sentence: "The ONNX file does not say which operator sets it uses.",
    remedy: "Export it again; every model has to import the operator sets of its nodes.",
  },
  ONNX_OPSET_TOO_NEW: {
    http: 422,
    sentence: "The ONNX file uses operator set {version} of {domain}; the newest that devices run is {limit}.",
    remedy: "Export it for an older operator set.",
  },
  ONNX_DOMAIN_UNKNOWN: {
    http: 422,
    sentence: "The node {node} uses the custom operator {operator} of the domain {domain}, which devices do not have.",
    remedy: "Express it in standard ONNX operators.",
  },
  ONNX_OPERATOR_REFUSED: {
    http: 422,
    sentence: "The node {node} uses the operator {operator}, which is not on the list of allowed ones{hint}.",
    remedy: "Express it in other operators; docs/MODELS.md says which are refused and why.",
  },
  ONNX_LOOP_REFUSED: {
    http: 422,
    sentence: "The node {node} is a {operator}: how long it runs cannot be known before it runs.",
    remedy:
      "Unroll it when exporting, or use LSTM, GRU or RNN operators; skl2onnx exports distances without one by the option optim=cdist.",
  },
  ONNX_MEMORY_ADDRESS: {
    http: 422,
    sentence: "The tensor {tensor} claims to lie at an address in the runtime's own memory.",
    remedy: "This is an attack or a broken export; do not use the file.",
  },
  ONNX_EXTERNAL_DATA: {
    http: 422,
    sentence: "The tensor {tensor} lies outside the file, at {location}.",
    remedy: "Save the model with all its weights inside (onnx.save with save_as_external_data=False).",
  },
  ONNX_TENSOR_TOO_LARGE: {
    http: 422,
    sentence: "The tensor {tensor} of shape {dims} is larger than {limitMb} MB.",
    remedy: "Use a smaller model.",
  },
  ONNX_TENSOR_WRONG: {
    http: 422,
    sentence: "The tensor {tensor} cannot be right: {reason}.",
    remedy: "Export the model again.",
  },
  ONNX_INPUT_UNSUPPORTED: {
    http: 422,
    sentence: "The graph input {input} cannot be fed: it is {kind}.",
    remedy: "Inputs are tensors of numbers, booleans or texts; leave conversions to the model.",
  },
  ONNX_INPUT_TOO_LARGE: {
    http: 422,
    sentence: "The graph input {input} takes {elements} elements for each vector; the limit is {limit}.",
    remedy: "Use a model with a smaller input.",
  },
  ONNX_OUTPUT_UNSUPPORTED: {
    http: 422,
    sentence: "None of the graph outputs is a tensor that can be read: {outputs}.",
    remedy: "Export with a tensor output (scikit-learn: options={'zipmap': False}).",
  },
  BINDING_WRONG: {
    http: 422,
    sentence: "The manifest does not fit its model at {path}: {reason}.",
    remedy: "Correct the binding; `bellwether model init` drafts bindings from the model itself.",
  },
  DRAFT_CHANNELS_WRONG: {
    http: 422,
    sentence: "The model's input {input} takes {expected} {what}, and {actual} were given.",
    remedy:
      "Name exactly those the model was trained with, in that order (--channels), or bind inputs one by one (--input). A fixed first dimension above 1 is part of the vector: export it free where it is the batch.",
  },
  DRAFT_SHAPE_OPEN: {
    http: 422,
    sentence: "The input {input} has the shape {shape}, and nothing says how large the dimension {dimension} is.",
    remedy: "Give its size (--dim NAME=SIZE), or the window's rows (--window).",
  },
  DRAFT_OUTPUT_UNCLEAR: {
    http: 422,
    sentence: "No output of the model is clearly the {meaning} to watch: {outputs}.",
    remedy: "Name a number among them (--primary NAME or NAME:INDEX).",
  },
  HISTORY_UNUSABLE: {
    http: 422,
    sentence: "The history {file} cannot be used: {reason}.",
    remedy: "Give a CSV with a header, one row for each asset and time, one column for each channel.",
  },
  BLOB_DIGEST_MISMATCH: {
    http: 422,
    sentence: "The bytes have the digest {actual}, not {expected}.",
    remedy: "They were changed or cut off on their way; send them again.",
  },
  BLOB_MISSING: {
    http: 422,
    sentence: "The file {file} ({digest}, {length} bytes) has not been uploaded.",
    remedy: "PUT it to /v1/blobs/{digest} first.",
  },
  BLOB_NOT_STORED: {
    http: 507,
    sentence: "The file could not be stored: {reason}.",
    remedy: "Free space on the server's disk and send it again.",
  },
  VERSION_EXISTS: {
    http: 409,
    sentence: "The model {model} has a version {version} already.",
    remedy: "A version never changes: leave the number out to get the next one.",
  },
  ALIAS_IS_NUMBER: {
    http: 400,
    sentence: "The alias {alias} would be taken for a version number.",
    remedy: "Choose a name that is no whole number.",
  },
  CHILD_MEMORY_EXCEEDED: {
    http: 422,
    sentence: "The model took more than the {limitMb} MB it may have while it was loaded or run.",
    remedy: "Use a smaller model, or one that computes in smaller pieces.",
  },
  CHILD_TIME_EXCEEDED: {
    http: 422,
    sentence: "The model did not come back within {limitMs} ms of processor time while it was loaded or run.",
    remedy: "Use a faster model.",
  },
  CHILD_STARVED: {
    http: 503,
    sentence: "The machine is too busy to try the model: in {wallMs} ms it had {cpuMs} ms of processor time.",
    remedy: "Nothing is known of the model; try again when the machine is less busy.",
  },
  CHILD_DIED: {
    http: 422,
    sentence: "The process that tried the model ended without an answer: {reason}.",
    remedy: "Try again; when it happens again, the model crashes the runtime and must not go to devices.",
  },
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
