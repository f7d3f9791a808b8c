import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { enrolledFolder, replayOf, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { hangingModel } from "../kit/onnx.ts";
import { largeModel, slowModel, testPackage } from "../kit/packages.ts";
import { installSlot, writeUpdateState } from "../kit/state.ts";
import { directorBytes, releaseOf } from "../kit/tuf.ts";
import { startLane } from "../kit/update-lane.ts";

const STOP_MS_MAX = 5_000;

test("told to stop while it downloads a model, an agent is gone within 5 s, and the next one goes on", async () => {
  const lane = await startLane("edge-1");
  const large = releaseOf(testPackage(largeModel(20, 1), [20, 40, 60]), 1);
  lane.repository.publish(1, [large]);
  const [path, whole] = [...lane.repository.files].toSorted(([, a], [, b]) => b.length - a.length)[0]!;
  lane.repository.answers.set(path, (_request, response) => {
    response.writeHead(200, { "content-length": whole.length });
    response.write(whole.subarray(0, whole.length / 2));
  });
  lane.wish = directorBytes(1, [large]);
  const agent = lane.start();
  await lane.until("half of it", agent, ({ models: [model] }) => (model?.progress ?? 0) > 0.1);
  const { ended, ms } = await agent.stop();
  expect(ended).toBe(0);
  expect(ms).toBeLessThan(STOP_MS_MAX);
  lane.repository.answers.delete(path);
  const next = lane.start();
  await lane.until("the model", next, ({ models: [model] }) => model?.phase === "confirming" || model?.active);
  expect(lane.repository.asked).toContain(`${path} bytes=${whole.length / 2}-`);
  expect((await next.stop()).ended).toBe(0);
});

test("told to stop while a child tests a model, an agent is gone within 5 s, and so is the child", async () => {
  const lane = await startLane("edge-1");
  const slow = releaseOf(testPackage(slowModel(1_500, 2_000), [1, 2, 3]), 1);
  lane.repository.publish(1, [slow]);
  lane.wish = directorBytes(1, [slow]);
  const agent = lane.start();
  await lane.until("the self-test", agent, ({ models: [model] }) => model?.phase === "selfTesting");
  const child = await eventually("the child", () => childOf(agent.pid));
  // Should the agent be killed instead, nobody watches it: the kernel does.
  expect(readFileSync(`/proc/${child}/limits`, "utf8")).toMatch(/^Max cpu time +62 /m);
  const { ended, ms } = await agent.stop();
  expect(ended).toBe(0);
  expect(ms).toBeLessThan(STOP_MS_MAX);
  expect(() => process.kill(child, 0)).toThrow("ESRCH");
});

test("told to stop while a model hangs in native code, an agent is gone within 5 s", async () => {
  const folder = temporaryFolder();
  const stateDir = enrolledFolder(join(folder, "state"));
  const { digest, version } = installSlot(stateDir, hangingModel(100));
  writeUpdateState(stateDir, { model: "pump-rul", active: { version, digest } });
  const agent = startAgentProcess(folder, stateDir, replayOf(folder));
  // A row every 10 ms: the one that it hangs at comes after a second.
  await eventually("it runs", () => agent.log().some(({ msg }) => msg === "the agent runs"), 60_000);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  const { ms } = await agent.stop();
  expect(ms).toBeLessThan(STOP_MS_MAX);
});

/** The child of a process, by /proc, once the shell that limited it is Node. */
function childOf(pid: number): number | undefined {
  const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  return child && readFileSync(`/proc/${child}/cmdline`, "utf8").includes("role=selftest\0")
    ? Number(child)
    : undefined;
}
