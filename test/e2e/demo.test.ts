import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { startProcess, type TestProcess } from "../kit/processes.ts";

const main = resolve(import.meta.dirname, "../../demo/main.ts");

/** The demo, its temporary files in a folder of their own. */
function startDemo(...args: string[]): { demo: TestProcess; folder: string } {
  const folder = temporaryFolder("bellwether-stage-");
  const { PATH = "", HOME = "" } = process.env;
  return {
    folder,
    demo: startProcess(`/${process.execPath.slice(1)}`, [main, ...args], { env: { PATH, HOME, TMPDIR: folder } }),
  };
}

/** Pids of processes that have a text in their command line. */
function processesWith(text: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text);
      } catch {
        return false; // gone meanwhile
      }
    })
    .map(Number);
}

function nothingLeft(folder: string): void {
  expect(processesWith(folder)).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
}

test.each([
  [["--seed", "many"], "--seed is a whole number"],
  [["--json", "/nowhere/report.json"], "the folder /nowhere cannot be written to"],
  [["--cmapss", "/nowhere"], "/nowhere/train_FD001.txt"],
])("%j is refused before anything is started", async (args, why) => {
  const { demo, folder } = startDemo(...args);
  expect(await demo.ended).toBe(2);
  expect(demo.stderr.join("\n")).toContain(why);
  expect(demo.stdout).toEqual([]);
  nothingLeft(folder);
});

test.each([
  ["SIGTERM while its server starts", "SIGTERM", 143, "1. A fleet server"],
  ["SIGINT while its agents run", "SIGINT", 130, "2. A first model"],
] as const)("%s ends it, twice no worse than once, and nothing is left behind", async (_, signal, code, chapter) => {
  const { demo, folder } = startDemo();
  await demo.line("the chapter", (line) => line.includes(chapter), 60_000);
  await eventually("processes run", () => processesWith(folder).length > 0);
  demo.signal(signal);
  demo.signal(signal);
  expect(await demo.ended).toBe(code);
  nothingLeft(folder);
});

test("a server that dies ends it with 1 and its last words, and nothing is left behind", async () => {
  const { demo, folder } = startDemo();
  const server = await eventually("the server runs", () => processesWith(`up\0--dir\0${folder}`)[0], 30_000);
  process.kill(server, "SIGKILL");
  expect(await demo.ended).toBe(1);
  expect(demo.stderr.join("\n")).toMatch(/The story broke off: bellwether .* ended by itself \(SIGKILL\)/);
  nothingLeft(folder);
});
