import { execFileSync } from "node:child_process";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { lockStateDirectory } from "./lock.io.ts";

/** What another process gets when it tries. */
function fromAnotherProcess(stateDir: string): string {
  const script = `import(${JSON.stringify(new URL("./lock.io.ts", import.meta.url).href)}).then(({ lockStateDirectory }) => {
    const lock = lockStateDirectory(${JSON.stringify(stateDir)});
    console.log(lock.ok ? "taken" : lock.error.code);
  })`;
  return execFileSync(process.execPath, ["-e", script], { encoding: "utf8" }).trim();
}

test("one agent per state directory, and the lock ends with its holder", () => {
  const stateDir = temporaryFolder();
  const lock = unwrap(lockStateDirectory(stateDir));
  expect(fromAnotherProcess(stateDir)).toBe("STATE_DIRECTORY_IN_USE");
  expect(lockStateDirectory(stateDir)).toMatchObject({ ok: false, error: { code: "STATE_DIRECTORY_IN_USE" } });
  lock.release();
  // The other process took it and ended without a release.
  expect(fromAnotherProcess(stateDir)).toBe("taken");
  unwrap(lockStateDirectory(stateDir)).release();
});

test("a directory that cannot be made says why", () => {
  const stateDir = "/proc/nowhere";
  expect(lockStateDirectory(stateDir)).toMatchObject({ ok: false, error: { code: "STATE_DIRECTORY_UNUSABLE" } });
});
