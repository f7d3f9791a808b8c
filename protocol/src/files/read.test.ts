import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readStart, readText, unreadable } from "./read.io.ts";

let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bellwether-files-"));
  writeFileSync(at("text"), "wärme\n");
  writeFileSync(at("latin"), Buffer.from("wärme\n", "latin1"));
  execFileSync("mkfifo", [at("pipe")]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each([
  ["a folder", ".", "it is a folder"],
  ["no file", "nowhere", "there is no such file"],
  // Nobody ever writes to it: whoever simply opened it would wait for ever.
  ["a pipe", "pipe", "it is a pipe or a device"],
  ["below a file", "text/x", "a part of its path is no folder"],
])("%s is told from a file, at once", (_, name, reason) => {
  expect(unreadable(at(name))).toBe(reason);
  expect(readText(at(name), 10)).toEqual({ reason });
  expect(readStart(at(name), 10)).toEqual({ reason });
});

test("a device without end is no file", () => {
  expect(readText("/dev/zero", 10)).toEqual({ reason: "it is a pipe or a device" });
});

test("a text is read whole or not at all", () => {
  expect(unreadable(at("text"))).toBeUndefined();
  expect(readText(at("text"), 7)).toBe("wärme\n");
  expect(readText(at("text"), 6)).toEqual({ reason: "it has more than 6 bytes" });
  expect(readText(at("latin"), 100)).toEqual({ reason: "it is not text in UTF-8" });
  expect(readStart(at("text"), 3)).toEqual(Buffer.from("wärme").subarray(0, 3));
});
