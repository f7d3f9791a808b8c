import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { agentSnapshot, enrolledFolder, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { runProcess } from "../kit/processes.ts";

const config = `
heartbeatMs: 1000
assets: [{id: pump-1}, {id: pump-2}]
inputs:
  - {id: sim, type: simulator, seed: 7, stepMs: 60000, start: "2026-01-01T00:00:00Z", rowsPerSecond: 200}
`;

test("without a server an agent takes rows, keeps them, says so, and stops in good order", async () => {
  const folder = temporaryFolder();
  const stateDir = enrolledFolder(join(folder, "state"));
  const agent = startAgentProcess(folder, stateDir, config);
  const snapshot = await snapshotWhere(
    "rows are kept",
    stateDir,
    ({ pipeline }) => (pipeline?.outbox.unacked ?? 0) > 100,
  );
  expect(snapshot).toMatchObject({ site: "plant", device: "edge-1", pid: agent.pid, phase: "running" });
  expect(snapshot.link.phase).not.toBe("online");
  expect(snapshot.pipeline?.inputs).toMatchObject([{ id: "sim" }]);
  expect(snapshot.pipeline?.models).toEqual([]);

  const text = await runProcess("bellwether-agent", ["status", "--state", stateDir]);
  expect(text).toMatchObject({ ended: 0, stdout: expect.stringContaining("input     sim:") });

  const { ended, ms } = await agent.stop();
  expect(ended).toBe(0);
  expect(ms).toBeLessThan(5_000);
  expect(await agentSnapshot(stateDir)).toBeUndefined();
  const after = await runProcess("bellwether-agent", ["status", "--state", stateDir]);
  expect(after).toMatchObject({ ended: 1, stderr: expect.stringContaining("AGENT_NOT_RUNNING") });
  expect(agent.log().every(({ at, level, msg }) => at && level && msg)).toBe(true);
});

test("it stops in good order while it still starts, whatever the start waits for", async () => {
  const folder = temporaryFolder();
  const stateDir = enrolledFolder(join(folder, "state"));
  const file = join(folder, "long.csv");
  // Its assets are named by its rows: all of them are read before the first is played.
  writeFileSync(file, Buffer.concat([Buffer.from("m,x\n"), Buffer.alloc(200_000_000, "a,1\n")]));
  const point = `{name: x, channel: x, unit: "1"}`;
  const yaml = `assets: [{id: a}]\ninputs: [{id: r, type: replay, file: ${file}, assetColumn: m, points: [${point}]}]\n`;
  const agent = startAgentProcess(folder, stateDir, yaml);
  await eventually("the outbox is open", () => existsSync(join(stateDir, "outbox.sqlite-wal")) || undefined);
  const { ended, ms } = await agent.stop();
  expect(ended).toBe(0);
  expect(ms).toBeLessThan(5_000);
  expect(agent.log().map(({ msg }) => msg)).not.toContain("the agent runs");
});

test("a pipe is no file to replay: it is named, and the other inputs run", async () => {
  const folder = temporaryFolder();
  const stateDir = enrolledFolder(join(folder, "state"));
  const pipe = join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  const replay = `  - {id: r, type: replay, file: ${pipe}, asset: pump-1, points: [{name: x, channel: x, unit: "1"}]}\n`;
  const agent = startAgentProcess(folder, stateDir, config + replay);
  await snapshotWhere("rows are kept", stateDir, ({ pipeline }) => (pipeline?.outbox.unacked ?? 0) > 10);
  expect(agent.log()).toContainEqual(expect.objectContaining({ code: "INPUT_FILE_UNREADABLE", where: "r" }));
  expect((await agent.stop()).ended).toBe(0);
});

test("a restart goes on where rows were durable: none twice, none lost", async () => {
  const folder = temporaryFolder();
  const stateDir = enrolledFolder(join(folder, "state"));
  const first = startAgentProcess(folder, stateDir, config);
  await snapshotWhere("rows are kept", stateDir, ({ pipeline }) => (pipeline?.outbox.unacked ?? 0) > 100);
  first.signal("SIGKILL");
  await first.ended;
  const second = startAgentProcess(folder, stateDir, config);
  const { pipeline } = await snapshotWhere("more rows", stateDir, (now) => (now.pipeline?.rows ?? 0) > 100);
  expect(pipeline!.outbox.unacked).toBeGreaterThan(pipeline!.rows);
  expect((await second.stop()).ended).toBe(0);
});

test("a second agent on the same state directory is refused, and the first runs on", async () => {
  const folder = temporaryFolder();
  const stateDir = enrolledFolder(join(folder, "state"));
  const first = startAgentProcess(folder, stateDir, config);
  await snapshotWhere("it runs", stateDir, () => true);
  const second = startAgentProcess(folder, stateDir, config);
  expect(await second.ended).toBe(1);
  expect(second.log()).toContainEqual(expect.objectContaining({ code: "STATE_DIRECTORY_IN_USE", level: "error" }));
  expect(await agentSnapshot(stateDir)).toMatchObject({ pid: first.pid });
  await first.stop();
});

test("an agent that is not enrolled, or has a wrong configuration, says so and ends", async () => {
  const folder = temporaryFolder();
  const unenrolled = startAgentProcess(folder, join(folder, "nowhere"), config);
  expect(await unenrolled.ended).toBe(1);
  expect(unenrolled.stderr.join("\n")).toContain("AGENT_NOT_ENROLLED");
  expect(existsSync(join(folder, "nowhere"))).toBe(false);
  const wrong = startAgentProcess(
    folder,
    enrolledFolder(join(folder, "state")),
    "assets: [{id: pump-1}]\ninputz: []\n",
  );
  expect(await wrong.ended).toBe(1);
  expect(wrong.stderr.join("\n")).toMatch(/inputz/);
});

test("enrolling says what is wrong: address, token file, server", async () => {
  const folder = temporaryFolder();
  const enroll = (...args: string[]) =>
    runProcess("bellwether-agent", ["enroll", "--device", "edge-1", "--state", join(folder, "state"), ...args]);
  const token = join(folder, "token");
  const [noUrl, noToken] = await Promise.all([
    enroll("--url", "ftp://x", "--token-file", token),
    enroll("--url", "http://127.0.0.1:9", "--token-file", token),
  ]);
  expect(noUrl).toMatchObject({ ended: 1, stderr: expect.stringContaining("http://") });
  expect(noToken).toMatchObject({ ended: 1, stderr: expect.stringContaining("TOKEN_UNREADABLE") });
  writeFileSync(token, "a-token-of-enough-characters");
  const nobody = await enroll("--url", "http://127.0.0.1:9", "--token-file", token);
  expect(nobody).toMatchObject({ ended: 1, stderr: expect.stringContaining("SERVER_UNREACHABLE") });
  expect(nobody.stderr).not.toContain("a-token-of-enough-characters");
});
