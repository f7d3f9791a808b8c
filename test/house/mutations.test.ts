import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
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
