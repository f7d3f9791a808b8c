import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { hungryModel, slowModel, testPackage, timesModel } from "../../../test/kit/packages.ts";
import { writeSlot } from "../../../test/kit/slots.ts";
import { selfTest } from "./selftest.io.ts";

const spawner = roleSpawner<"selftest">(new URL("../main.ts", import.meta.url));
const ENOUGH = { cpuMs: 60_000, wallMs: 60_000, memoryBytes: 256 * 1024 * 1024 };
const TIMEOUT = { timeout: 90_000 };

/** A slot of `model`, whose golden vectors say what `answers` says. */
function slotOf(model: Uint8Array, answers: number[], p99LatencyMs = 10_000): string {
  const { slotDir } = writeSlot(join(temporaryFolder(), "slot"), model, { limits: { p99LatencyMs, memoryMb: 256 } });
  writeFileSync(join(slotDir, "golden.json"), testPackage(model, answers).files.golden);
  return slotDir;
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
