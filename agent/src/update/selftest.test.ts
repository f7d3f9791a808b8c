import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../../../test/kit/eventually.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { hungryModel, slowModel, testPackage, timesModel } from "../../../test/kit/packages.ts";
import { programFile, programSpawner } from "../../../test/kit/programs.ts";
import { writeSlot } from "../../../test/kit/slots.ts";
import { selfTest } from "./selftest.io.ts";

const spawner = programSpawner<"selftest">("bellwether-agent");
const ENOUGH = { cpuMs: 60_000, wallMs: 60_000, memoryBytes: 256 * 1024 * 1024 };
const TIMEOUT = { timeout: 90_000 };

/** A slot of `model`, whose golden vectors say what `answers` says. */
function slotOf(model: Uint8Array, answers: number[], p99LatencyMs = 10_000): string {
  const limits = { p99LatencyMs, memoryMb: 256 };
  const { golden } = testPackage(model, answers).files;
  return writeSlot(temporaryFolder(), model, { limits }, undefined, golden).slotDir;
}

const tested = (slotDir: string, limits = ENOUGH) => selfTest(spawner, slotDir, limits, new AbortController().signal);

test("a model that answers as it should is told how far from it", TIMEOUT, async () => {
  const answer = await tested(slotOf(timesModel(10), [10, 20.000_01, 30]));
  expect(answer).toMatchObject({ ok: true });
  expect(answer.ok && answer.value.goldenMaxError).toBeCloseTo(0.000_01, 6);
});

test.each([
  ["answers otherwise", () => slotOf(timesModel(10), [10, 20, 31]), ENOUGH, "GOLDEN_MISMATCH"],
  ["takes longer than it may here", () => slotOf(timesModel(10), [10, 20, 30], 0.000_01), ENOUGH, "SELF_TEST_TOO_SLOW"],
  [
    "computes for ever",
    () => slotOf(slowModel(1_500, 400), [1, 2, 3]),
    { ...ENOUGH, cpuMs: 1_000, wallMs: 85_000 },
    "SELF_TEST_FAILED",
  ],
  [
    "gets no processor on a busy machine",
    () => slotOf(slowModel(1_500, 400), [1, 2, 3]),
    { ...ENOUGH, wallMs: 500 },
    "SELF_TEST_STARVED",
  ],
  ["fills the memory", () => slotOf(hungryModel(3e8), [1, 2, 3]), ENOUGH, "SELF_TEST_FAILED"],
])("a model that %s is refused with a code, and only its process ends", TIMEOUT, async (_, slotOfIt, limits, code) => {
  expect(await tested(slotOfIt(), limits)).toMatchObject({ ok: false, error: { code } });
});

test("a self-test that is given up ends at once", TIMEOUT, async () => {
  const abort = new AbortController();
  const running = selfTest(spawner, slotOf(slowModel(1_500, 400), [1, 2, 3]), ENOUGH, abort.signal);
  abort.abort();
  expect(await running).toMatchObject({ ok: false, error: { code: "SELF_TEST_FAILED" } });
});

/** A process's state and the processor time it has had, by /proc (proc_pid_stat(5)); undefined when it is gone. */
function processOf(pid: string): { readonly state: string; readonly cpuMs: number } | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)!.split(" ");
    return { state: fields[0]!, cpuMs: 10 * (Number(fields[11]) + Number(fields[12])) };
  } catch {
    return undefined;
  }
}

test("a self-test ends with its agent, even in native code that never returns", TIMEOUT, async () => {
  const script = join(temporaryFolder(), "agent.mjs");
  const program = JSON.stringify(pathToFileURL(programFile("bellwether-agent")));
  const sources = ["./selftest.io.ts", "../../../protocol/src/process/roles.io.ts"];
  const [selfTestFile, rolesFile] = sources.map((path) => JSON.stringify(new URL(path, import.meta.url)));
  const slotDir = JSON.stringify(slotOf(slowModel(1_500, 400), [1, 2, 3]));
  writeFileSync(
    script,
    `import { selfTest } from ${selfTestFile};
     import { roleSpawner } from ${rolesFile};
     const spawner = roleSpawner(new URL(${program}));
     selfTest(spawner, ${slotDir}, ${JSON.stringify(ENOUGH)}, new AbortController().signal);`,
  );
  const agent = spawn(process.execPath, [script], { stdio: "inherit" });
  onTestFinished(() => void agent.kill("SIGKILL"));
  const childOf = (pid: number) => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  const computes = () => {
    const pid = childOf(agent.pid!);
    return pid !== "" && processOf(pid)!.cpuMs > 1_500 && pid;
  };
  const child = await eventually("the self-test computes", computes, 60_000);
  onTestFinished(() => {
    if (processOf(child)) process.kill(Number(child), "SIGKILL");
  });
  agent.kill("SIGKILL");
  // Whoever inherits it may leave it a zombie, which computes nothing.
  await eventually("it ended", () => [undefined, "Z", "X"].includes(processOf(child)?.state));
});
