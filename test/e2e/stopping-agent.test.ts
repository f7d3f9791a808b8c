import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { enrolledFolder, replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { hangingModel } from "../kit/onnx.ts";
import { largeModel, slowModel, testPackage } from "../kit/packages.ts";
import { installSlot, writeUpdateState } from "../kit/state.ts";
import { directorBytes, releaseOf } from "../kit/tuf.ts";
import { startLane } from "../kit/update-lane.ts";

const STOP_MS_MAX = 5_000;
/** Beyond what a busy machine keeps a thread from its turn. */
const SILENT_MS = 3_000;

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
  await lane.until("some of it", agent, ({ models: [model] }) => (model?.progress ?? 0) > 0.1);
  const { ended, ms } = await agent.stop();
  expect(ended).toBe(0);
  expect(ms).toBeLessThan(STOP_MS_MAX);
  lane.repository.answers.delete(path);
  const next = lane.start();
  await lane.until("the model", next, ({ models: [model] }) => model?.phase === "confirming" || model?.active);
  const ranges = lane.repository.asked.flatMap((asked) => asked.split(`${path} bytes=`)[1] ?? []).map(parseFloat);
  // What had arrived by then: half of it at most.
  expect(ranges).toEqual([expect.any(Number)]);
  expect(ranges[0]).toBeGreaterThan(0);
  expect(ranges[0]).toBeLessThanOrEqual(whole.length / 2);
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
  // Its call counts as a hang after 50 times this: until then it hangs, and nothing but the stop ends the agent.
  const limits = { p99LatencyMs: 2_000, memoryMb: 256 };
  // A hundred rows a second: it hangs after its thread has told its figures once or more.
  const { digest, version } = installSlot(stateDir, hangingModel(300), { limits });
  writeUpdateState(stateDir, { model: "pump-rul", active: { version, digest } });
  const agent = startAgentProcess(folder, stateDir, replayOf(folder));
  // The pipeline's thread tells its figures every second; from the row on that the model hangs at, it tells nothing.
  await snapshotWhere("the thread hangs", stateDir, ({ atMs, pipeline }) => {
    return pipeline !== undefined && atMs - pipeline.atMs > SILENT_MS;
  });
  const { ended, ms } = await agent.stop();
  expect(ms).toBeLessThan(STOP_MS_MAX);
  // A thread that came back would have been closed in order, and the process have ended with 0.
  expect(ended).toBe("SIGKILL");
  expect(agent.log().at(-1)).toMatchObject({ msg: expect.stringMatching(/^stopping took too long/) });
});

/** The child of a process, by /proc, once the shell that limited it is Node. */
function childOf(pid: number): number | undefined {
  const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  return child && readFileSync(`/proc/${child}/cmdline`, "utf8").includes("role=selftest\0")
    ? Number(child)
    : undefined;
}
