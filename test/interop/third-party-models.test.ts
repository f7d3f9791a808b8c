import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Golden } from "@bellwether/protocol/package/golden.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { describe, expect, test } from "vitest";
import { addModelFileCommands } from "../../fleet-server/src/cli/model.ts";
import { createSandbox, DRAFT_LIMITS, type SandboxRole } from "../../fleet-server/src/registry/sandbox.io.ts";
import { cli } from "../kit/cli.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { sharedModels } from "../kit/shared.ts";

const folder = sharedModels();
const spawner = roleSpawner<SandboxRole>(new URL("../../fleet-server/src/main.ts", import.meta.url));
const commands = addModelFileCommands(async () => createSandbox(spawner, DRAFT_LIMITS));
const model = (...args: string[]) => cli(["-o", "json", "model", ...args], {}, [commands]);

interface Theirs {
  readonly inputs: Readonly<Record<string, { shape: number[]; data: number[] }>>;
  readonly outputs: Readonly<Record<string, unknown>>;
}
interface Tensor {
  readonly shape: number[];
  readonly data: number[];
}

/** What each model's maker would say of it, where the model itself does not. Anything not here takes a plain table. */
const SAID: Readonly<Record<string, string[]>> = {
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
  "ort_invalid_dim_param_value_repetition.onnx": ["--dim", "Symbolic=2", "--meaning", "value", "--primary", "Y:0"],
  "yalue_example_0_dim_output.onnx": ["--meaning", "value", "--primary", "y:0"],
};
/** Channels of models whose makers left no vectors with them. */
const WIDTHS: Readonly<Record<string, number>> = {
  "ort_dynamic_quantize_matmul_int8.onnx": 3 + 3 + 1 + 1,
  "skl_treecl2.onnx": 20,
  "triton_simple_string.onnx": 32,
};

/** Their input as a history: one asset for each row of the batch, a window's rows one after another. */
function historyOf(name: string, theirs: Theirs | undefined): string {
  const width = WIDTHS[name] ?? 1;
  const tensors = theirs
    ? Object.values(theirs.inputs)
    : [{ shape: [6, width], data: Array.from({ length: 6 * width }, (_, i) => ((i * 37) % 11) / 4) }];
  const fixed = name.startsWith("yalue_example_0") || name.startsWith("ort_invalid");
  const batch = fixed ? 1 : tensors[0]!.shape[0]!;
  const lines: string[] = [];
  for (let row = 0; row < batch; row++) {
    const parts = tensors.map(({ shape, data }) => {
      const each = data.slice((row * data.length) / batch, ((row + 1) * data.length) / batch);
      const channels = shape.length === 3 ? shape[2]! : each.length;
      return Array.from({ length: each.length / channels }, (_, t) => each.slice(t * channels, (t + 1) * channels));
    });
    for (let t = 0; t < parts[0]!.length; t++)
      lines.push([`a${row}`, t, ...parts.flatMap((part) => part[t]!)].join(","));
  }
  const columns = lines[0]!.split(",").length - 2;
  return [["asset", "cycle", ...Array.from({ length: columns }, (_, c) => `c${c}`)].join(","), ...lines].join("\n");
}

async function init(kind: string, name: string) {
  const dir = temporaryFolder("third-party-");
  const goldenFile = join(folder!, "golden", `${name}.json`);
  const known = readdirSync(join(folder!, "golden")).includes(`${name}.json`);
  const theirs = known ? (JSON.parse(readFileSync(goldenFile, "utf8")) as Theirs) : undefined;
  const history = join(dir, "history.csv");
  // The maker's own vectors; a model that is refused unread needs none of them.
  writeFileSync(history, historyOf(name, SAID[name] ? theirs : undefined));
  const out = join(dir, "package");
  mkdirSync(out);
  const run = await model(
    ...["init", join(folder!, kind, name), "--history", history, "--out", out, "--units", "1"],
    ...(SAID[name] ?? ["--meaning", "value"]),
  );
  return { run, out, theirs };
}

/** Our golden cases against what another binding of the runtime computed from the same numbers. */
function compare(out: string, { outputs }: Theirs): number {
  const manifest = JSON.parse(readFileSync(join(out, "manifest.json"), "utf8")) as Manifest;
  const golden = JSON.parse(readFileSync(join(out, "golden.json"), "utf8")) as Golden;
  let compared = 0;
  for (const { name, output, index } of manifest.outputs) {
    const { shape, data } = outputs[output] as Tensor;
    const width = data.length / (golden.cases.length > 1 ? shape[0]! : 1);
    for (const [row, one] of golden.cases.entries()) {
      const ours = [one.outputs[name]].flat();
      const expected = data.slice(row * width, (row + 1) * width);
      for (const [i, value] of (index === undefined ? expected : [expected[index]!]).entries()) {
        expect(Math.abs((ours[i] as number) - value), `${name} ${row} ${i}`).toBeLessThanOrEqual(
          1e-4 * Math.max(1, Math.abs(value)),
        );
        compared += 1;
      }
    }
  }
  return compared;
}

const names = (kind: string) => (folder === undefined ? [] : readdirSync(join(folder, kind)));

describe.runIf(folder !== undefined)("models of others", () => {
  test.each(names("good"))(
    "good %s: a package is drafted without a question, proven, and answers as it did for its maker",
    async (name) => {
      const { run, out, theirs } = await init("good", name);
      expect(run).toMatchObject({ exitCode: 0 });
      const checked = await model("check", out);
      expect(checked).toMatchObject({ exitCode: 0, stderr: "" });
      if (theirs) expect(compare(out, theirs)).toBeGreaterThan(0);
    },
  );

  test("odd ones work, or are refused with a code and a reason", async () => {
    const outcomes: Record<string, string> = {};
    for (const name of names("odd")) {
      const { run, out, theirs } = await init("odd", name);
      outcomes[name] = run.exitCode === 0 ? "works" : (/^([A-Z_]+): /m.exec(run.stderr)?.[1] ?? run.stderr);
      if (run.exitCode === 0 && theirs) expect(compare(out, theirs)).toBeGreaterThan(0);
      if (run.exitCode === 0) expect(await model("check", out)).toMatchObject({ exitCode: 0 });
    }
    expect(outcomes).toEqual({
      "ort_30_nested_loops.onnx": "ONNX_TOO_DEEP",
      "ort_abs_free_dimensions.onnx": "works",
      "ort_invalid_dim_param_value_repetition.onnx": "works",
      "ort_java-three-output-matmul.onnx": "works",
      "ort_loop_sub_one.onnx": "ONNX_LOOP_REFUSED",
      "ort_optional_1.onnx": "ONNX_DOMAIN_UNKNOWN",
      "ort_sequence_construct.onnx": "ONNX_OUTPUT_UNSUPPORTED",
      "ort_zipmap_int64float.onnx": "ONNX_OUTPUT_UNSUPPORTED",
      "ort_zipmap_stringfloat.onnx": "ONNX_OUTPUT_UNSUPPORTED",
      "triton_simple_string.onnx": "DRAFT_OUTPUT_UNCLEAR",
      "yalue_example_0_dim_output.onnx": "works",
      "yalue_example_big_compute.onnx": "ONNX_INPUT_TOO_LARGE",
      "yalue_example_float16.onnx": "ONNX_OUTPUT_UNSUPPORTED",
      "yalue_example_several_inputs_and_outputs.onnx": "ONNX_INPUT_UNSUPPORTED",
      "yalue_example_strings.onnx": "ONNX_OPERATOR_REFUSED",
    });
  });

  test("bad ones are refused with at least five codes, whatever their names", async () => {
    const dir = temporaryFolder("bad-");
    const history = join(dir, "history.csv");
    writeFileSync(history, "x,y\n1,2\n");
    const codes = new Set<string>();
    for (const [i, name] of names("bad").entries()) {
      const renamed = join(dir, `model-${i}.onnx`);
      writeFileSync(renamed, readFileSync(join(folder!, "bad", name)));
      const run = await model(
        "init",
        renamed,
        "--history",
        history,
        "--out",
        join(dir, `${i}`),
        "--units",
        "1",
        "--meaning",
        "value",
      );
      expect(run.exitCode).toBe(1);
      expect(run.stderr).toMatch(/^ONNX_[A-Z_]+: .*\.\n$/);
      codes.add(run.stderr.split(":")[0]!);
    }
    expect(codes.size).toBeGreaterThanOrEqual(5);
  });
});
