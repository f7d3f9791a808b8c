import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { sharedModels } from "./shared.ts";

/** A tensor as another binding of the runtime wrote it down. */
export interface TheirTensor {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}
/** Inputs and outputs computed elsewhere (Python's binding). Outputs that are no tensors stay unread. */
export interface TheirGolden {
  /** What its maker says to `model init`, where it is not listed below. */
  readonly said?: readonly string[];
  readonly inputs: Readonly<Record<string, TheirTensor>>;
  readonly outputs: Readonly<Record<string, unknown>>;
}

export const MODELS_MISSING = "the third-party models are not here (BELLWETHER_MODELS): nothing of this suite was run";

/** Names of the files of a kind; none on a machine without them. */
export function theirModels(kind: "good" | "odd" | "bad"): string[] {
  const folder = sharedModels(kind);
  return folder === undefined ? [] : readdirSync(folder);
}

export function theirModel(kind: "good" | "odd" | "bad", name: string): string {
  return join(sharedModels(kind)!, name);
}

export function theirGolden(name: string): TheirGolden | undefined {
  const file = sharedModels("golden", `${name}.json`);
  return file === undefined ? undefined : (JSON.parse(readFileSync(file, "utf8")) as TheirGolden);
}

/** What each bad one is refused with, wherever it comes in and whatever its name. */
export const BAD: Readonly<Record<string, string>> = {
  "lfs_pointer.onnx": "ONNX_LFS_POINTER",
  "ort_add_opset_314159.onnx": "ONNX_OPSET_TOO_NEW",
  "ort_custom_op_test.onnx": "ONNX_DOMAIN_UNKNOWN",
  "ort_model_with_external_initializers.onnx": "ONNX_EXTERNAL_DATA",
  "ort_mul_1.noopset.onnx": "ONNX_OPSET_MISSING",
  "ort_test_arbitrary_external_file.onnx": "ONNX_EXTERNAL_DATA",
  "ort_test_evil_weights.onnx": "ONNX_MEMORY_ADDRESS",
  "ort_trt_plugin_custom_op_test.onnx": "ONNX_DOMAIN_UNKNOWN",
  "winml_corrupt-model.onnx": "ONNX_CORRUPT",
  "winml_foo_truncated.onnx": "ONNX_OPERATOR_REFUSED",
};

/** What each model's maker would say of it, where the model itself does not. */
const SAID: Readonly<Record<string, readonly string[]>> = {
  "ankane_lightgbm.onnx": ["--meaning", "class"],
  "ankane_randomforest.onnx": ["--meaning", "class"],
  "jaiswal_anomaly_detector.onnx": ["--meaning", "score"],
  "melvinmark_lstm_rul.onnx": ["--meaning", "rul", "--unit", "1"],
  "onnxmltools_test_xgb.onnx": ["--meaning", "value"],
  "ort_dynamic_quantize_matmul_int8.onnx": ["--dim", "K=3", "--dim", "N=1", "--dim", "C=1", "--meaning", "value"],
  "skl_treecl2.onnx": ["--meaning", "class"],
  "subramani_lstm_model.onnx": ["--meaning", "rul"],
  "tract_keras_example.onnx": ["--meaning", "probability"],
  "tribuo_pytorch_cnn_mnist.onnx": ["--meaning", "score", "--primary", "output_probs:3"],
  "tribuo_skl_lr_mnist.onnx": ["--meaning", "class"],
  "windguard_isolation_forest.onnx": ["--meaning", "score"],
  "yalue_sklearn_randomforest.onnx": ["--meaning", "class"],
  "ort_java-three-output-matmul.onnx": ["--meaning", "value", "--primary", "output-1:2"],
  "ort_abs_free_dimensions.onnx": ["--dim", "Dim2=2", "--meaning", "value", "--primary", "y:0"],
  "ort_invalid_dim_param_value_repetition.onnx": [...["--dim", "Symbolic=2", "--meaning", "value", "--primary", "Y:0"]],
  "yalue_example_0_dim_output.onnx": ["--meaning", "value", "--primary", "y:0"],
};

/** What its maker would say; undefined where nobody wrote it down. */
export function saidOf(name: string): readonly string[] | undefined {
  return SAID[name] ?? theirGolden(name)?.said;
}

/** Channels of models whose makers left no vectors with them. */
const WIDTHS: Readonly<Record<string, number>> = {
  "ort_dynamic_quantize_matmul_int8.onnx": 3 + 3 + 1 + 1,
  "skl_treecl2.onnx": 20,
  "triton_simple_string.onnx": 32,
};

/** Their input as rows of assets: one asset for each vector of the batch, a window's rows one after another. */
export function theirRows(name: string): { readonly asset: string; readonly values: readonly number[] }[] {
  const theirs = saidOf(name) ? theirGolden(name) : undefined;
  const width = WIDTHS[name] ?? 1;
  const tensors = theirs
    ? Object.values(theirs.inputs)
    : [{ shape: [6, width], data: Array.from({ length: 6 * width }, (_, i) => ((i * 37) % 11) / 4) }];
  // These two take the whole of what was written down as one vector.
  const whole = name.startsWith("yalue_example_0") || name.startsWith("ort_invalid");
  const batch = whole ? 1 : tensors[0]!.shape[0]!;
  const rows: { asset: string; values: number[] }[] = [];
  for (let row = 0; row < batch; row++) {
    const parts = tensors.map(({ shape, data }) => {
      const each = data.slice((row * data.length) / batch, ((row + 1) * data.length) / batch);
      const channels = shape.length === 3 ? shape[2]! : each.length;
      return Array.from({ length: each.length / channels }, (_, t) => each.slice(t * channels, (t + 1) * channels));
    });
    for (let t = 0; t < parts[0]!.length; t++)
      rows.push({ asset: `a${row}`, values: parts.flatMap((part) => part[t]!) });
  }
  return rows;
}

/** A CSV of those rows, all of them so many times. */
export function theirHistory(name: string, times = 1): string {
  const rows = theirRows(name);
  const header = ["asset", "cycle", ...rows[0]!.values.map((_, c) => `c${c}`)].join(",");
  const lines: string[] = [header];
  for (let time = 0; time < times; time++) {
    for (const [i, { asset, values }] of rows.entries())
      lines.push([asset, time * rows.length + i, ...values].join(","));
  }
  return `${lines.join("\n")}\n`;
}

/** What they computed for one vector, by our output names. */
export function theirOutputs(
  theirs: TheirGolden,
  manifest: Manifest,
  row: number,
  rows: number,
): Record<string, number[]> {
  const expected: Record<string, number[]> = {};
  for (const { name, output, index } of manifest.outputs) {
    const { data } = theirs.outputs[output] as TheirTensor;
    const width = data.length / rows;
    const own = data.slice(row * width, (row + 1) * width);
    expected[name] = index === undefined ? own : [own[index]!];
  }
  return expected;
}

/** The largest difference in units of 1e-4 (absolute, and relative above 1): at most 1 is as good as equal. */
export function difference(ours: unknown, theirs: readonly number[]): number {
  const got = [ours].flat() as number[];
  if (got.length !== theirs.length) return Number.POSITIVE_INFINITY;
  return Math.max(...theirs.map((value, i) => Math.abs(got[i]! - value) / (1e-4 * Math.max(1, Math.abs(value)))));
}
