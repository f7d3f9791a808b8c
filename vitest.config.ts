import { defineConfig } from "vitest/config";

const report = process.env["BELLWETHER_TEST_REPORT"];

export default defineConfig({
  test: {
    include: ["{protocol,agent,fleet-server}/src/**/*.test.ts", "{demo,test}/**/*.test.ts"],
    // A backstop against what hangs, and no more: what must be quick is measured, what must happen is awaited.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Real processes on two cores: more workers than cores only make time limits lie.
    maxWorkers: 2,
    env: { NODE_COMPILE_CACHE: new URL("./.cache/compile", import.meta.url).pathname },
    // Real processes on a busy machine: one slow moment is no verdict there. A person's own run gets no second try.
    retry: report ? 1 : 0,
    reporters: report ? ["default", ["json", { outputFile: report }]] : ["default"],
  },
});
