import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Golden } from "@bellwether/protocol/package/golden.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { describe, expect, test } from "vitest";
import { addModelFileCommands } from "../../fleet-server/src/cli/model.ts";
import { createSandbox, DRAFT_LIMITS, type SandboxRole } from "../../fleet-server/src/registry/sandbox.io.ts";
import { cli } from "../kit/cli.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { programSpawner } from "../kit/programs.ts";
import {
  BAD,
  difference,
  MODELS_MISSING,
  saidOf,
  theirGolden,
  theirHistory,
  theirModel,
  theirModels,
  theirOutputs,
} from "../kit/third-party.ts";

const spawner = programSpawner<SandboxRole>("bellwether");
const commands = addModelFileCommands(async () => createSandbox(spawner, DRAFT_LIMITS));
const model = (...args: string[]) => cli(["-o", "json", "model", ...args], {}, [commands]);

async function init(kind: "good" | "odd", name: string) {
  const dir = temporaryFolder("third-party-");
  const history = join(dir, "history.csv");
  writeFileSync(history, theirHistory(name));
  const out = join(dir, "package");
  mkdirSync(out);
  const said = saidOf(name) ?? ["--meaning", "value"];
  const run = await model("init", theirModel(kind, name), "--history", history, "--out", out, "--units", "1", ...said);
  return { run, out };
}

/** Our golden cases against what another binding of the runtime computed from the same numbers; how many it compared. */
function compare(name: string, out: string): number {
  const theirs = theirGolden(name);
  if (theirs === undefined) return 0;
  const manifest = JSON.parse(readFileSync(join(out, "manifest.json"), "utf8")) as Manifest;
  const { cases } = JSON.parse(readFileSync(join(out, "golden.json"), "utf8")) as Golden;
  for (const [row, { outputs }] of cases.entries()) {
    for (const [output, expected] of Object.entries(theirOutputs(theirs, manifest, row, cases.length))) {
      expect(difference(outputs[output], expected), `${output} of case ${row}`).toBeLessThanOrEqual(1);
    }
  }
  return cases.length;
}

describe("models of others", () => {
  const good = theirModels("good");
  if (good.length === 0) test("are missing", () => expect(MODELS_MISSING).toContain("BELLWETHER_MODELS"));

  test.each(good)("good %s: drafted without a question, proven, and answers as for its maker", async (name) => {
    const { run, out } = await init("good", name);
    expect(run).toMatchObject({ exitCode: 0 });
    expect(await model("check", out)).toMatchObject({ exitCode: 0, stderr: "" });
    const untold = ["ort_dynamic_quantize_matmul_int8.onnx", "skl_treecl2.onnx"];
    expect(compare(name, out) > 0).toBe(!untold.includes(name));
  });

  test("odd ones work, or are refused with a code and a reason", async () => {
    const outcomes: Record<string, string> = {};
    for (const name of theirModels("odd")) {
      const { run, out } = await init("odd", name);
      outcomes[name] = run.exitCode === 0 ? "works" : (/^([A-Z_]+): \S.*\.$/m.exec(run.stderr)?.[1] ?? run.stderr);
      if (run.exitCode !== 0) continue;
      expect(compare(name, out)).toBeGreaterThan(0);
      expect(await model("check", out)).toMatchObject({ exitCode: 0 });
    }
    if (good.length > 0) expect(outcomes).toEqual(ODD);
  });

  test("bad ones are refused with a code of their content, of five or more, and a sentence, whatever their names", async () => {
    const dir = temporaryFolder("bad-");
    const history = join(dir, "history.csv");
    writeFileSync(history, "x,y\n1,2\n");
    const refusal = async (path: string) => {
      const run = await model("init", path, "--history", history, "--units", "1", "--meaning", "value");
      expect(run.exitCode).toBe(1);
      expect(run.stderr).toMatch(/^[A-Z_]+: [A-Z].*\.\n$/);
      return run.stderr.replaceAll(path, "THE FILE");
    };
    const codes: Record<string, string> = {};
    for (const name of theirModels("bad")) {
      const renamed = join(dir, theirModels("good")[0] as string);
      writeFileSync(renamed, readFileSync(theirModel("bad", name)));
      const said = await refusal(theirModel("bad", name));
      expect(await refusal(renamed), name).toBe(said);
      codes[name] = said.split(":")[0] as string;
    }
    if (good.length > 0) expect(codes).toEqual(BAD);
    expect(new Set(Object.values(BAD)).size).toBeGreaterThanOrEqual(5);
  });
});

const ODD: Readonly<Record<string, string>> = {
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
};
