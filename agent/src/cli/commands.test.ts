import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { unwrap } from "@bellwether/protocol/result.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SimulatorInputConfig } from "../config/config.ts";
import { parseConfig } from "../config/parse.ts";
import { SIGNALS } from "../config/signals.ts";
import { Simulator } from "../inputs/simulator/simulator.ts";

const bin = fileURLToPath(new URL("../../bin/bellwether-agent.mjs", import.meta.url));
const yaml = `
assets: [{id: pump-1}, {id: pump-2}]
inputs:
  - id: sim
    type: simulator
    seed: 9
    start: "2026-03-01T00:00:00Z"
    machines: {sensorFaults: 1000}
    points:
      - {name: v, asset: pump-1, channel: vib, source: vibration.de, unit: m/s, resolution: 0.00001}
      - {name: s, asset: pump-1, channel: speed, unit: Hz}
      - {name: t, asset: pump-2, channel: bearing.temperature, unit: "[degF]"}
`;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bellwether-cli-"));
  await writeFile(join(folder, "agent.yaml"), yaml);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function agent(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const options = { cwd: folder, maxBuffer: 64 * 1024 * 1024 };
    execFile(process.execPath, [bin, ...args], options, (cause, out, err) => {
      resolve({ code: typeof cause?.code === "number" ? cause.code : 0, out, err });
    });
  });
}

test("simulate writes the very rows the simulator input sends, missing ones as empty cells", async () => {
  const { code, out } = await agent("simulate", "--config", "agent.yaml", "--from", "50", "--to", "2050");
  expect(code).toBe(0);
  const [header, ...lines] = out.trim().split("\n");
  expect(header).toBe("asset,time,vib,speed,bearing.temperature");
  const config = unwrap(parseConfig(yaml, "agent.yaml")).inputs[0] as SimulatorInputConfig;
  const plant = new Simulator(config, SIGNALS);
  const rows = plant.assets.flatMap((asset) => Array.from({ length: 2_000 }, (_, i) => plant.row(asset, 50 + i)));
  expect(lines).toHaveLength(rows.length);
  for (const [i, line] of lines.entries()) {
    const [asset, time, ...cells] = line.split(",");
    const { values, ...row } = rows[i]!;
    expect([asset, Date.parse(time!)]).toEqual([row.asset, row.observedAtMs]);
    const names = ["vib", "speed", "bearing.temperature"];
    expect(cells.map((cell) => (cell === "" ? null : Number(cell)))).toEqual(names.map((name) => values[name] ?? null));
  }
  expect(rows.some(({ values }) => Object.values(values).includes(null))).toBe(true);
});

test("run-to-failure history: truth beside every row, and the failures at its zeros", async () => {
  const args = ["--seed", "4", "--assets", "3", "--prefix", "past-", "--stagger", "0", "--lives", "2", "--truth"];
  const { code, out } = await agent("simulate", ...args, "--units", "--failures", "failures.csv");
  expect(code).toBe(0);
  const [header, ...lines] = out.trim().split("\n");
  expect(header).toContain(",vibration.de [mm/s],");
  const names = header!.split(",").map((name) => name.replace(/ \[.*\]$/, ""));
  expect(names.slice(-4)).toEqual(["rul", "mode", "life", "sensor_faults"]);
  const cell = (line: string, name: string) => line.split(",")[names.indexOf(name)];
  const zeros = lines
    .filter((line) => cell(line, "rul") === "0")
    .map((line) => ["asset", "time", "mode", "life"].map((name) => cell(line, name)).join(","));
  const failures = (await readFile(join(folder, "failures.csv"), "utf8")).trim().split("\n");
  expect(failures).toEqual(["asset,time,mode,life", ...zeros]);
  expect(zeros).toHaveLength(6);
  expect(lines.filter((line) => cell(line, "service.hours") === "0" && cell(line, "life") === "0")).toHaveLength(3);
});

test("config check: what it declares, or every fault with its line", async () => {
  const good = await agent("config", "check", "agent.yaml");
  expect(good).toMatchObject({ code: 0, err: "" });
  expect(good.out).toContain("pump-1: vib (m/s), speed (Hz)");
  await writeFile(join(folder, "bad.yaml"), yaml.replace("seed: 9", "sed: 9").replace("unit: Hz", "unit: bar"));
  const bad = await agent("config", "check", "bad.yaml");
  expect(bad).toMatchObject({ code: 1, out: "" });
  expect(bad.err).toContain('bad.yaml:6: inputs[0].sed is not a known key; did you mean "seed"?');
  const replay = `assets: [{id: a}]\ninputs: [{id: r, type: replay, format: cmapss, file: gone.txt}]\n`;
  await writeFile(join(folder, "replay.yaml"), replay);
  const gone = await agent("config", "check", "replay.yaml");
  expect(gone.code).toBe(1);
  expect(gone.err).toContain("gone.txt");
  expect((await agent("config", "check", "nowhere.yaml")).err).toContain("nowhere.yaml");
  expect(bad.err).toMatch(/\(CONFIG_KEY_UNKNOWN\)\n$/);
  for (const [file, reason] of [
    [".", "a folder"],
    ["/dev/zero", "a pipe or a device"],
    ["latin.yaml", "UTF-8"],
  ] as const) {
    await writeFile(join(folder, "latin.yaml"), Buffer.from("assets: é\n", "latin1"));
    const unreadable = await agent("config", "check", file);
    expect(unreadable).toMatchObject({ code: 1, out: "" });
    expect(unreadable.err).toMatch(/\(CONFIG_UNREADABLE\)\n$/);
    expect(unreadable.err).toContain(reason);
  }
});

test.each([
  ["--seed", "-1"],
  ["--seed", "1e3"],
  ["--assets", "0"],
  ["--start", "today"],
  ["--start", "1969-12-31T00:00:00Z"],
  ["--stagger", "2"],
  ["--prefix", "a,b", "--to", "3"],
  ["--to", "99999999999999999999"],
  ["--from", "9", "--to", "3"],
  ["--from", "999999", "--to", "1000000", "--step-ms", "99999999999"],
  ["--failures", "nowhere/failures.csv", "--to", "3"],
  ["--config", "nowhere.yaml"],
  ["--config", "agent.yaml", "--input", "x", "--to", "3"],
  [],
])("simulate %s %s is refused with a sentence and a code", async (...args) => {
  const { code, out, err } = await agent("simulate", ...args);
  expect(code).toBe(1);
  expect(out).toBe("");
  expect(err).toMatch(/\((ARGUMENT_INVALID|FILE_UNREADABLE|CONFIG_UNREADABLE)\)\n/);
  expect(err).not.toContain("    at ");
});

test.each([
  ["bogus"],
  ["run"],
  ["run", "--config", "agent.yaml", "--state", ".", "--log-level", "loud"],
  ["status", "--state", ".", "-o", "xml"],
  ["config", "check"],
  ["config", "check", "a", "b"],
  ["enroll", "--url", "http://user:secret@h", "--token-file", "t", "--device", "d", "--state", "."],
])("the command line %s %s is refused with a sentence and a code", async (...args) => {
  const { code, out, err } = await agent(...args);
  expect(code).toBe(1);
  expect(out).toBe("");
  expect(err).toMatch(/\(ARGUMENT_INVALID\)\n/);
  expect(err).not.toContain("secret");
});
