import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { goldenBytes } from "@bellwether/protocol/package/golden.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import type { ReferenceProfile } from "@bellwether/protocol/reference/profile.ts";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { modelOf, timesModel } from "../../../test/kit/packages.ts";
import { createSandbox, DRAFT_LIMITS, type SandboxRole } from "../registry/sandbox.io.ts";
import { addModelFileCommands } from "./model.ts";
import { runCli } from "./program.ts";

const spawner = roleSpawner<SandboxRole>(new URL("../main.ts", import.meta.url));
const commands = addModelFileCommands(async () => createSandbox(spawner, DRAFT_LIMITS));

/** Runs a command line; `answers` are typed at a terminal, one for each question. */
async function run(args: readonly string[], answers?: readonly string[]) {
  let stdout = "";
  let said = "";
  const out = new Writable({
    write(chunk, _, done) {
      stdout += String(chunk);
      done();
    },
  });
  // A person answers when asked, not before.
  const typed = [...(answers ?? [])];
  const stdin = new Readable({ read: () => undefined });
  const stderr = new Writable({
    write(chunk, _, done) {
      said += String(chunk);
      if (String(chunk).endsWith(": ")) stdin.push(`${typed.shift() ?? ""}\n`);
      done();
    },
  });
  const world = {
    ...{ env: {}, stdin, stdout: out, stderr, interactive: answers !== undefined, nowMs: Date.now },
    columns: () => 80,
    signal: new AbortController().signal,
  };
  const exitCode = await runCli(["-o", "json", "model", ...args], world, "0.0.0", [commands]);
  return { exitCode, stdout, stderr: said, left: typed };
}

/** A folder with a model of one input and a history of two assets. */
function maker(history = rows(40), model = timesModel(10)) {
  const dir = temporaryFolder("maker-");
  writeFileSync(join(dir, "pump one.onnx"), model);
  writeFileSync(join(dir, "history.csv"), history);
  const out = join(dir, "package");
  const read = <T>(name: string) => JSON.parse(readFileSync(join(out, name), "utf8")) as T;
  const init = (more: readonly string[] = [], answers?: readonly string[]) =>
    run(["init", join(dir, "pump one.onnx"), "--history", join(dir, "history.csv"), "--out", out, ...more], answers);
  return { dir, out, read, init };
}
const rows = (count: number, header = "asset,time,vib") =>
  [header, ...Array.from({ length: count }, (_, i) => `p${i % 2},${new Date(i * 60_000).toISOString()},${i / 8}`)].join(
    "\n",
  );
const SAID = ["--units", "mm/s", "--meaning", "score"];

describe("model init", () => {
  test("drafts a package without a question when everything is said", async () => {
    const { init, read, out } = maker();
    const done = await init([...SAID, "--alert", "above:30:2/3", "--description", "vibration, tenfold"]);
    expect(done).toMatchObject({ exitCode: 0 });
    expect(done.stderr).toBe("Note: the history's columns are taken as channels in their order: vib.\n");
    const manifest = read<Manifest>("manifest.json");
    expect(manifest).toMatchObject({
      model: "pump-one",
      channels: [{ channel: "vib", unit: "mm/s" }],
      window: { kind: "count", length: 1 },
      features: [{ name: "vib.last" }],
      outputs: [{ name: "out", meaning: "score", primary: true }],
      alert: { direction: "above", threshold: 30, k: 2, n: 3 },
      maxBatch: 32,
    });
    const { features, score } = read<ReferenceProfile>("reference.json");
    expect(features["vib.last"]).toMatchObject({ n: 40, min: 0, max: 39 / 8 });
    expect(score).toMatchObject({ n: 40, max: expect.closeTo(390 / 8, 4) });
    const checked = await run(["check", out]);
    expect(checked).toMatchObject({ exitCode: 0, stderr: "" });
    expect(JSON.parse(checked.stdout)).toMatchObject({ cases: 16, runs: 17 });
  });

  test("asks a person on a terminal for exactly what nobody said", async () => {
    const { init, read } = maker(rows(20, "asset,time,vib").replaceAll(/$/gm, ",1").replace("vib,1", "vib,temp"));
    const done = await init([], ["vib", "mm/s", "rul"]);
    expect(done).toMatchObject({ exitCode: 0, left: [] });
    expect(done.stderr).toContain("takes 1 channels, and 2 were given");
    expect(read<Manifest>("manifest.json")).toMatchObject({
      channels: [{ channel: "vib", unit: "mm/s" }],
      outputs: [{ meaning: "rul" }],
    });
  });

  test("windows, features and channel names of their own", async () => {
    const { init, read, dir } = maker(rows(40, "Unit No,when,Vib. (mm/s)"));
    const features = [{ name: "v.rms", function: "rms", channel: "v" }];
    writeFileSync(join(dir, "features.json"), JSON.stringify(features));
    const more = [
      "--asset-column",
      "Unit No",
      "--time-column",
      "when",
      "--channels",
      "v=Vib. (mm/s)",
      "--window",
      "8m/2m",
    ];
    const done = await init([...SAID, ...more, "--features", join(dir, "features.json")]);
    expect(done).toMatchObject({ exitCode: 0, stderr: "" });
    expect(read<Manifest>("manifest.json")).toMatchObject({
      channels: [{ channel: "v", unit: "mm/s" }],
      window: { kind: "time", lengthMs: 480_000, hopMs: 120_000, minRows: 1 },
      features,
      tensors: [{ source: { kind: "features", features: ["v.rms"] } }],
    });
  });

  test("a model that cannot run batches gets a batch of 1, and the person is told", async () => {
    // Over the batch, every vector changes what the others get.
    const softmax = {
      operator: "Softmax",
      domain: "",
      inputs: ["in"],
      outputs: ["soft"],
      attributes: { axis: { int: 0 } },
    };
    const add = { operator: "Add", domain: "", inputs: ["in", "soft"], outputs: ["out"], attributes: {} };
    const { init, read } = maker(rows(20), modelOf({ nodes: [softmax, add], constants: [] }));
    const done = await init(SAID);
    expect(done.exitCode).toBe(0);
    expect(done.stderr).toContain("The model answers otherwise in batches, so maxBatch is 1");
    expect(read<Manifest>("manifest.json").maxBatch).toBe(1);
  });

  test("rows and cells that cannot be read are counted and told", async () => {
    const { init } = maker(`${rows(20)}\np1,yesterday,1\np1,2026-01-01T00:00:00Z,broken\n`);
    const { exitCode, stderr } = await init([...SAID, "--channels", "vib"]);
    expect(exitCode).toBe(0);
    expect(stderr).toContain("1 of 22 rows have no readable time or asset and were left out.");
    expect(stderr).toContain("1 cells are no numbers and count as missing.");
  });

  test.each<[string, string[], string | undefined, string, string]>([
    ["nobody to ask for units", ["--meaning", "rul"], undefined, "NOT_SAID", "--units"],
    ["nobody to ask for the meaning", ["--units", "1"], undefined, "NOT_SAID", "--meaning"],
    ["a unit that is none", ["--units", "furlong", "--meaning", "rul"], undefined, "ARGUMENT_INVALID", "furlong"],
    ["units for other channels", ["--units", "1,1", "--meaning", "rul"], undefined, "ARGUMENT_INVALID", "--units"],
    [
      "a column that is not there",
      [...SAID, "--channels", "vibb"],
      undefined,
      "HISTORY_UNUSABLE",
      'did you mean "vib"?',
    ],
    ["too many channels", [...SAID, "--channels", "vib,time"], undefined, "DRAFT_CHANNELS_WRONG", "takes 1 channels"],
    ["no rows", SAID, "asset,time,vib\n", "HISTORY_UNUSABLE", "no row below its header"],
    ["an empty file", SAID, "", "HISTORY_UNUSABLE", "no row below its header"],
    ["a quote that never ends", SAID, `asset,time,vib\na,1,2\n"a,1,2\n`, "HISTORY_UNUSABLE", "Quote"],
    [
      "windows longer than the history",
      [...SAID, "--window", "500", "--channels", "vib"],
      undefined,
      "HISTORY_UNUSABLE",
      "completes a window",
    ],
    [
      "an output that is not there",
      [...SAID, "--primary", "other"],
      undefined,
      "DRAFT_OUTPUT_UNCLEAR",
      "out (1 of float32)",
    ],
  ])("refuses %s", async (_, more, history, code, words) => {
    const { init } = maker(history);
    const done = await init(more);
    // 2: the command line itself is wrong.
    expect(done.exitCode).toBe(code === "ARGUMENT_INVALID" ? 2 : 1);
    expect(done.stderr).toContain(`${code}: `);
    expect(done.stderr).toContain(words);
  });

  test.each([
    [["--window", "soon"], "30m"],
    [["--alert", "over:3"], "below:30:2/3"],
    [["--channels", "a b"], "no channel name"],
    [["--meaning", "mood"], "Allowed choices"],
  ])("an option that cannot be read, %j, ends with 2", async (more, words) => {
    const { init } = maker();
    const done = await init(more);
    expect(done).toMatchObject({ exitCode: 2 });
    expect(done.stderr).toContain(words);
  });
});

describe("model check", () => {
  test("a folder without a package, a changed file, and golden outputs that are wrong", async () => {
    const { init, out, dir, read } = maker();
    expect((await run(["check", dir])).stderr).toContain("FILE_UNREADABLE");
    await init(SAID);
    const manifest = read<Manifest>("manifest.json");
    const wrong = goldenBytes([{ features: Float64Array.of(1) }], [{ out: 11 }]);
    writeFileSync(join(out, "golden.json"), wrong);
    expect((await run(["check", out])).stderr).toMatch(/^BLOB_DIGEST_MISMATCH: /);
    mkdirSync(join(dir, "empty"));
    expect((await run(["check", join(dir, "empty")])).exitCode).toBe(1);
    expect(manifest.files.golden.length).toBeGreaterThan(wrong.byteLength);
  });
});
