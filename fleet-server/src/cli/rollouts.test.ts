import { expect, it } from "vitest";
import { picture } from "./rollouts.ts";

it("draws a rollout as a bar per wave, and no control characters of a device", () => {
  const text = picture({
    id: "r1",
    model: "pump-rul",
    version: 2,
    phase: "running",
    selector: "",
    waveIndex: 1,
    incompatible: 2,
    devicesTouched: 3,
    createdAtMs: 0,
    waves: [
      { name: "canary", phase: "passed", devices: 1, executions: { succeeded: 1 }, reason: "every gate passed" },
      {
        name: "rest",
        phase: "deploying",
        devices: 4,
        executions: { queued: 2, succeeded: 1, failed: 1 },
        reason: "\u001b[31m",
      },
    ],
  });
  expect(text.split("\n")).toEqual([
    "pump-rul 2  running",
    `  canary  ${"█".repeat(24)}  1/1  passed: every gate passed`,
    `  rest    ${"█".repeat(6)}${"░".repeat(18)}  1/4  deploying: 1 failed; \\u001b[31m`,
    '  2 left out: "bellwether rollouts incompatible r1" says why',
    "",
  ]);
});
