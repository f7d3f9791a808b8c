import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { parseOptions } from "./options.ts";
import { compareRows, type RowSource, rowOf } from "./truth.ts";

const run = promisify(execFile);
const MAIN = new URL("./main.ts", import.meta.url).pathname;

test("ten devices with the agent's own link and outbox: everything they make is stored once, two take a new model", async () => {
  const args = [
    "--devices",
    "10",
    "--rate",
    "20",
    "--minutes",
    "0.05",
    "--downloads",
    "0.2",
    "--model-mb",
    "0",
    "-o",
    "json",
  ];
  const running = run(process.execPath, [MAIN, ...args]);
  // It ends its own server when it is asked to end.
  onTestFinished(() => void running.child.kill("SIGTERM"));
  const { stdout } = await running;
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ devices: 10, connected: 10, lost: 0, duplicated: 0, updates: 2, updated: 2 });
  expect(result.acked).toBe(result.produced);
  expect(result.produced).toBeGreaterThan(10 * 20 * 0.05 * 60);
  expect(result.ackMsP50).toBeGreaterThan(0);
  expect(result.ackMsP99).toBeGreaterThanOrEqual(result.ackMsP50);
  expect(result.serverRssMb).toBeGreaterThan(50);
});

const source: RowSource = { seed: 3, device: 7, asset: "pump", fromMs: 1_000, rate: 20 };
const made = Array.from({ length: 50 }, (_, n) => rowOf(source, n));
async function* stored(rows: readonly (typeof made)[number][]) {
  yield* rows;
}

test.each([
  ["as it was made", made, { lost: 0, duplicated: 0 }],
  ["in any order", made.toReversed(), { lost: 0, duplicated: 0 }],
  ["without two", made.filter((_, n) => n !== 3 && n !== 49), { lost: 2, duplicated: 0 }],
  ["one of them twice", [...made, made[9]!], { lost: 0, duplicated: 1 }],
  ["with one never made", [...made, rowOf(source, 50)], { lost: 0, duplicated: 1 }],
  [
    "with another value",
    made.map((row, n) => (n === 5 ? { ...row, values: { ...row.values, load: 0 } } : row)),
    { lost: 1, duplicated: 0 },
  ],
  [
    "at another time",
    made.map((row, n) => (n === 5 ? { ...row, observedAtMs: row.observedAtMs + 1 } : row)),
    { lost: 1, duplicated: 0 },
  ],
] as const)("rows stored %s are counted", async (_, rows, counted) => {
  expect(await compareRows(source, made.length, stored(rows))).toEqual(counted);
});

test.each([
  [["--devices", "0"], "--devices must be a whole number from 1 to 100000"],
  [["--rate", "x"], "--rate must be a number from 0.001 to 1000"],
  [["--rate", ""], "--rate must be a number from 0.001 to 1000"],
  [["--url", "http://127.0.0.1:1"], "--url and --token-file belong together"],
  [["--url", "ftp://x", "--token-file", "t"], "--url must begin with http:// or https://"],
  [["--url", "http://x", "--token-file", "t", "--roll-out", "pump"], "--roll-out must be MODEL@VERSION"],
  [["-o", "xml"], "--output must be text or json"],
])("%j is refused", (args, wrong) => {
  expect(parseOptions(args)).toEqual({ wrong });
});

test("a server that runs is named with its token's file", () => {
  const args = ["--url", "http://x:1", "--token-file", "t", "--roll-out", "pump-rul@3", "--devices", "5"];
  const server = { url: "http://x:1", tokenFile: "t", rollOut: { model: "pump-rul", version: "3" } };
  expect(parseOptions(args)).toMatchObject({ devices: 5, rate: 1, minutes: 1, server });
});
