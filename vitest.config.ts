import { relative } from "node:path";
import { configDefaults, defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const report = process.env["BELLWETHER_TEST_REPORT"];

/** What holds something against the clock: run after everything else, one at a time, so that it measures us and not its neighbours. */
const TIMED = ["test/attacks/{broker,models}.test.ts", "test/e2e/swap-gap.test.ts"];

/** Suites of real processes, the longest first: begun last, one of two minutes is what everybody waits for while a core idles. */
const LONGEST_FIRST = ["test/attacks/", "test/sim/", "test/interop/", "test/crash/", "test/e2e/"];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const place = LONGEST_FIRST.findIndex((folder) => relative(import.meta.dirname, moduleId).startsWith(folder));
      return place === -1 ? LONGEST_FIRST.length : place;
    };
    return (await super.sort(files)).toSorted((one, other) => rank(one) - rank(other));
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: "suites",
          include: ["{protocol,agent,fleet-server}/src/**/*.test.ts", "{demo,test}/**/*.test.ts"],
          exclude: [...configDefaults.exclude, ...TIMED],
          sequence: { groupOrder: 0 },
        },
      },
      { extends: true, test: { name: "timed", include: TIMED, maxWorkers: 1, sequence: { groupOrder: 1 } } },
    ],
    // A backstop against what hangs, and no more: what must be quick is measured, what must happen is awaited.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // Real processes on two cores, which wait a third of their time.
    maxWorkers: 3,
    // As patient as `eventually` (test/kit); a second is what a busy machine takes to start a process.
    expect: { poll: { timeout: 15_000 * Number(process.env["BELLWETHER_PATIENCE"] ?? 4) } },
    env: {
      NODE_COMPILE_CACHE: new URL("./.cache/compile", import.meta.url).pathname,
      // Names this run: what test/kit/programs.ts builds in it serves all of it.
      BELLWETHER_TEST_RUN: `${process.pid} ${Date.now()}`,
    },
    reporters: report ? ["default", ["json", { outputFile: report }]] : ["default"],
  },
});
