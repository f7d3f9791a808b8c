/**
 * Shows that the tests guard the promises: applies each patch of this folder to a scratch copy of the project and runs
 * the test it names, which must pass before and fail by an assertion after. A patch begins with
 *
 *     promise: 1
 *     test: path/of/the.test.ts
 *     only: a pattern of test names (optional)
 *
 * `npm run mutations [-- NAME ...]` runs all, or those whose file name contains one of the words. With `--report FILE`, the
 * report of a run of the whole suite on this very tree, that the tests pass unchanged is taken from there.
 *
 * `npm run mutations -- --sim` tries those that say `sim: yes` on simulated fleets instead (test/sim): one of 200 seeds must
 * find each, whatever test it names.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";

interface Mutation {
  readonly name: string;
  readonly file: string;
  readonly promise: string;
  readonly test: string;
  readonly only: string | undefined;
  /** Simulated fleets find it, too. */
  readonly sim: boolean;
}
interface Outcome {
  readonly passed: number;
  /** First lines of what the failed tests said. */
  readonly failures: readonly string[];
  /** The suite could not even be loaded. */
  readonly broken: boolean;
}

const root = resolve(import.meta.dirname, "../..");
const TEST_LIMIT_MS = 300_000;
/** Mutations tried side by side, each in a copy of its own: tests wait more than they compute. */
const COPIES = 3;

function mutations(words: readonly string[]): Mutation[] {
  return readdirSync(import.meta.dirname)
    .filter((name) => name.endsWith(".patch") && (words.length === 0 || words.some((word) => name.includes(word))))
    .sort()
    .map((name) => {
      const file = join(import.meta.dirname, name);
      const text = readFileSync(file, "utf8");
      const header = (key: string) => text.match(new RegExp(`^${key}: (.+)$`, "m"))?.[1]?.trim();
      const [promise, test] = [header("promise"), header("test")];
      if (!promise || !test) throw new Error(`${name}: names no promise or no test`);
      return {
        name: name.replace(/\.patch$/, ""),
        file,
        promise,
        test,
        only: header("only"),
        sim: header("sim") === "yes",
      };
    });
}

/** A copy of the project's own files; packages from the registry are linked, the workspaces point into the copy. */
function scratchCopy(): string {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-mutations-"));
  const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: root }).toString().split("\n");
  for (const file of files.filter(Boolean)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    cpSync(join(root, file), join(folder, file));
  }
  const modules = join(folder, "node_modules");
  mkdirSync(modules);
  for (const entry of readdirSync(join(root, "node_modules"))) {
    if (entry !== "@bellwether") symlinkSync(join(root, "node_modules", entry), join(modules, entry));
  }
  mkdirSync(join(modules, "@bellwether"));
  for (const workspace of ["protocol", "agent", "fleet-server"]) {
    symlinkSync(join(folder, workspace), join(modules, "@bellwether", workspace));
  }
  return folder;
}

/** `untilFailed`: one failure is enough to know. */
async function runTest(folder: string, mutation: Mutation, untilFailed = false): Promise<Outcome> {
  const report = join(folder, ".cache", "mutation-report.json");
  rmSync(report, { force: true });
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  const args = [vitest, "run", mutation.test, "--reporter=json", `--outputFile=${report}`];
  if (mutation.only) args.push("-t", mutation.only);
  if (untilFailed) args.push("--bail=1");
  const { BELLWETHER_TEST_REPORT: _, ...rest } = process.env;
  // What is meant to fail is not waited for as long as what must pass.
  const env = untilFailed ? { ...rest, BELLWETHER_PATIENCE: "1" } : rest;
  await once(spawn(process.execPath, args, { cwd: folder, timeout: TEST_LIMIT_MS, stdio: "ignore", env }), "exit");
  try {
    return outcomeOf(suitesOf(report));
  } catch {
    return { passed: 0, failures: [], broken: true };
  }
}

const SIM_SEEDS = 200;

/** The first seed whose fleet breaks a promise under a mutation, and what broke. */
async function simulate(folder: string): Promise<string> {
  const args = ["test/sim/main.ts", "--seeds", String(SIM_SEEDS), "--first"];
  const child = spawn(process.execPath, args, { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  const said = await child.stdout.setEncoding("utf8").toArray();
  return /^seed \d+: promise \d+ is broken: .*$/m.exec(said.join(""))?.[0] ?? "SURVIVED";
}

interface Suite {
  /** Path of its file. */
  readonly name: string;
  readonly assertionResults: readonly {
    readonly fullName: string;
    readonly status: string;
    readonly failureMessages: readonly string[];
  }[];
}

function suitesOf(report: string): Suite[] {
  return JSON.parse(readFileSync(report, "utf8")).testResults;
}

function outcomeOf(suites: readonly Suite[]): Outcome {
  const tests = suites.flatMap((suite) => suite.assertionResults);
  return {
    passed: tests.filter((test) => test.status === "passed").length,
    failures: tests.filter((test) => test.status === "failed").map((test) => test.failureMessages.join("\n")),
    broken: tests.length === 0,
  };
}

/** What a run of the whole suite found of the tests that a mutation names. */
function reported(suites: readonly Suite[], { test, only }: Mutation): Outcome {
  const own = suites.filter(({ name }) => name === join(root, test));
  const named = (fullName: string) => only === undefined || new RegExp(only).test(fullName);
  return outcomeOf(
    own.map((suite) => ({ ...suite, assertionResults: suite.assertionResults.filter((one) => named(one.fullName)) })),
  );
}

/** Killed by an assertion, and not by a module that no longer loads or a test that ran out of time. */
function verdictOf(before: Outcome, after: Outcome): string {
  if (before.broken || before.passed === 0 || before.failures.length > 0)
    return "INVALID: the test does not pass unchanged";
  if (after.broken) return "INVALID: the changed code does not load";
  if (after.failures.length === 0) return "SURVIVED";
  const asserted = after.failures.some((failure) =>
    /AssertionError|\bexpected\b|Property failed|not within \d+ ms/i.test(failure),
  );
  return asserted ? "killed" : `INVALID: it failed without an assertion: ${after.failures[0]?.split("\n")[0]}`;
}

/** Throws where a patch leaves a file that is no program: whatever starts with it would fail, and show nothing. */
function parse(folder: string, patch: string): void {
  for (const [, path] of readFileSync(patch, "utf8").matchAll(/^\+\+\+ b\/(.+\.ts)$/gm)) {
    stripTypeScriptTypes(readFileSync(join(folder, path!), "utf8"));
  }
}

/** Tries mutations of the queue, one after another, in a copy of the project; answers how many were not killed. */
async function tryAll(
  queue: Mutation[],
  before: Map<string, Promise<Outcome>>,
  suites: readonly Suite[] | undefined,
): Promise<number> {
  const folder = scratchCopy();
  let alive = 0;
  try {
    for (let mutation = queue.shift(); mutation !== undefined; mutation = queue.shift()) {
      const { file } = mutation;
      const apply = (...flags: string[]) => execFileSync("git", ["apply", ...flags, file], { cwd: folder });
      if (values.sim) {
        apply();
        const found = await simulate(folder);
        apply("--reverse");
        if (found === "SURVIVED") alive++;
        console.log(`promise ${mutation.promise.padEnd(3)} ${mutation.name.padEnd(44)} ${found.slice(0, 120)}`);
        continue;
      }
      const key = `${mutation.test}\n${mutation.only ?? ""}`;
      if (!before.has(key)) {
        before.set(key, suites ? Promise.resolve(reported(suites, mutation)) : runTest(folder, mutation));
      }
      const unchanged = (await before.get(key)) as Outcome;
      const startMs = performance.now();
      apply();
      parse(folder, file);
      const verdict = verdictOf(unchanged, await runTest(folder, mutation, true));
      apply("--reverse");
      if (verdict !== "killed") alive++;
      const seconds = ((performance.now() - startMs) / 1_000).toFixed(1).padStart(6);
      console.log(`promise ${mutation.promise.padEnd(8)} ${mutation.name.padEnd(38)} ${seconds} s  ${verdict}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return alive;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { report: { type: "string" }, sim: { type: "boolean", default: false } },
});
const suites = values.report === undefined ? undefined : suitesOf(values.report);
const chosen = mutations(positionals).filter(({ sim }) => sim || !values.sim);
const queue = [...chosen];
const before = new Map<string, Promise<Outcome>>();
const alive = (await Promise.all(Array.from({ length: COPIES }, () => tryAll(queue, before, suites)))).reduce(
  (a, b) => a + b,
  0,
);
console.log(`${chosen.length - alive} killed, ${alive} not`);
process.exitCode = alive === 0 && chosen.length > 0 ? 0 : 1;
