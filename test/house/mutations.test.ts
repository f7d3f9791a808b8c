import { execFileSync } from "node:child_process";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, it } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const folder = join(root, "test/mutations");
const patches = readdirSync(folder).filter((name) => name.endsWith(".patch"));

it.each(patches)("%s still breaks the code as it is, and names a test that is there", (name) => {
  const file = join(folder, name);
  const test = /^test: (.+)$/m.exec(readFileSync(file, "utf8"))?.[1];
  expect(existsSync(join(root, test ?? "none"))).toBe(true);
  execFileSync("git", ["apply", "--check", file], { cwd: root, stdio: "pipe" });
});

it("guards each promise with at least one", () => {
  const promises = patches.map((name) => /^promise: (.+)$/m.exec(readFileSync(join(folder, name), "utf8"))?.[1]);
  for (let promise = 1; promise <= 10; promise++) expect(promises).toContain(String(promise));
});

/** Rows of the table of promises: patterns of suites and of patches. */
const rows = readFileSync(join(root, "test/PROMISES.md"), "utf8")
  .split("\n")
  .filter((line) => /^\| .*`/.test(line) && line.split("|").length === 5 && !line.startsWith("| promise"))
  .map((line) => line.split("|").slice(1, 4) as [string, string, string])
  .map(([promise, suites, mutations]) => {
    const quoted = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, pattern]) => pattern!);
    return { promise: promise.trim(), suites: quoted(suites), mutations: quoted(mutations) };
  });

it.each(rows)("the table names what guards: $promise", ({ suites, mutations }) => {
  const found = suites.map((pattern) => globSync(`${pattern}.test.ts`, { cwd: root }));
  expect(suites.filter((_, at) => found[at]!.length === 0)).toEqual([]);
  const named = mutations.flatMap((pattern) => globSync(`${pattern}.patch`, { cwd: folder }));
  const tests = named.map((name) => /^test: (.+)$/m.exec(readFileSync(join(folder, name), "utf8"))?.[1] ?? name);
  expect(tests.filter((test) => !found.flat().includes(test))).toEqual([]);
  expect(named.length > 0).toBe(mutations.length > 0);
});

it("leaves no patch out of the table of promises", () => {
  const named = rows.flatMap(({ mutations }) => mutations.flatMap((one) => globSync(`${one}.patch`, { cwd: folder })));
  expect(named.sort()).toEqual(patches.sort());
});
