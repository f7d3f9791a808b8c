import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/kit/folder.ts";
import { makeFolder, writeDurably } from "./durable.io.ts";

test("a file is replaced whole, private, and leaves no temporary file", () => {
  const folder = temporaryFolder();
  const path = join(folder, "state.json");
  writeDurably(path, "a".repeat(100_000));
  writeDurably(path, Buffer.from("b"));
  expect(readFileSync(path, "utf8")).toBe("b");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(["state.json"]);
});

test("parents are made, and what cannot be made is refused instead of tried for ever", () => {
  const folder = join(temporaryFolder(), "a", "b");
  makeFolder(folder);
  makeFolder(folder);
  expect(statSync(folder).isDirectory()).toBe(true);
  expect(() => makeFolder("/proc/nowhere/b")).toThrow();
});
