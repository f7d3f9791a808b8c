import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { expect, test } from "vitest";
import { replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, rowsBehind, startFleet, type TestFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import { releasePackage } from "../kit/release.ts";

const MODEL = "pump-rul";

/** An agent whose only input is a broker that nobody runs. */
const deaf = `
heartbeatMs: 500
assets: [{id: pump-1}]
inputs: [{id: site, type: mqtt, url: "mqtt://127.0.0.1:9", points: [{name: x, asset: pump-1, channel: x, unit: mm/s, topic: x}]}]
`;

async function rollOut(fleet: TestFleet, version: number, confirm: Record<string, number>): Promise<string> {
  const { id } = await fleet.call("POST /v1/rollouts", {
    model: MODEL,
    version: String(version),
    target: { selector: "" },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, errorAction: "PAUSE" }],
    confirm,
  });
  await fleet.call(`POST /v1/rollouts/${id}/start`);
  return id;
}

/** The server's disk rots, or somebody writes to it: one bit of a stored file. */
function flipBit({ dir }: TestFleet, digest: string): void {
  const names = readdirSync(dir, { recursive: true, encoding: "utf8" });
  const path = join(dir, names.find((name) => name.endsWith(digest.replace("sha256:", "")))!);
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path, bytes);
}

function reportedWhere(fleet: TestFleet, device: string, what: string, judge: (model: ReportedModel) => boolean) {
  return eventually(
    what,
    async () => {
      const { models } = (await fleet.call(`GET /v1/devices/${device}`)) as { models: ReportedModel[] };
      const model = models.find((one) => one.model === MODEL);
      return model !== undefined && judge(model) ? model : undefined;
    },
    40_000,
    200,
  );
}

const confirm = { inferences: 50, soakSeconds: 1, deadlineSeconds: 30, errorFraction: 0.1 };

test("a released model reaches the device, proves itself on live rows, and its predictions reach the server", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1");
  const agent = startAgentProcess(folder, stateDir, replayOf(folder));
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online");

  const first = await releasePackage(fleet, testPackage());
  await rollOut(fleet, first.version, confirm);
  const proven = await reportedWhere(fleet, "edge-1", "version 1 succeeded", ({ outcome }) => outcome === "succeeded");
  expect(proven).toMatchObject({ phase: "idle", active: { version: 1, digest: first.manifestDigest } });
  const { soakedMs, soakStartedAtMs, soakEndedAtMs, firstInferenceAtMs, lastInferenceAtMs } = proven.evidence!;
  expect(proven.evidence).toMatchObject({ goldenMatched: true, goldenMaxError: 0, errors: 0 });
  expect(soakEndedAtMs! - soakStartedAtMs!).toBe(soakedMs);
  expect(firstInferenceAtMs!).toBeLessThan(lastInferenceAtMs!);
  expect(lastInferenceAtMs!).toBeLessThanOrEqual(soakEndedAtMs!);
  expect(Date.now() - soakEndedAtMs!).toBeLessThan(120_000);
  expect(proven.evidence!.inferences).toBeGreaterThanOrEqual(50);
  expect(proven.evidence!.soakedMs).toBeGreaterThanOrEqual(1_000);

  const predictions = await eventually("predictions at the server", async () => {
    const { items } = await fleet.call(`GET /v1/predictions?device=edge-1&model=${MODEL}&limit=50`);
    return items.length >= 50 ? items : undefined;
  });
  const rows = await rowsBehind(fleet, "edge-1", predictions);
  for (const { observedAtMs, value, version, digest } of predictions) {
    expect({ version, digest }).toEqual({ version: 1, digest: first.manifestDigest });
    expect(value).toBe(10 * rows.get(observedAtMs)!["x"]!);
  }

  // A version whose outputs leave its range is rolled back by the device itself, while the one before it answers beside it.
  const bad = await releasePackage(
    fleet,
    testPackage(timesModel(3), [3, 6, 9], {
      outputs: [{ name: "value", output: "out", meaning: "value", primary: true, range: [0, 10] }],
    }),
  );
  await rollOut(fleet, bad.version, confirm);
  const back = await reportedWhere(
    fleet,
    "edge-1",
    "version 2 was rolled back",
    ({ outcome }) => outcome === "rolledBack",
  );
  expect(back).toMatchObject({ active: { version: 1 }, error: { code: "INFERENCE_ERRORS" } });
  await snapshotWhere("version 1 serves again", stateDir, ({ pipeline }) => pipeline?.models[0]?.version === 1);

  // A good one succeeds on the same rows as its predecessor, and the pair travels together.
  const third = await releasePackage(fleet, testPackage(timesModel(20), [20, 40, 60]));
  await rollOut(fleet, third.version, confirm);
  await reportedWhere(fleet, "edge-1", "version 3 succeeded", ({ active, outcome }) => {
    return active?.version === 3 && outcome === "succeeded";
  });
  const pairs = await eventually("pairs at the server", async () => {
    const { items } = await fleet.call(`GET /v1/predictions?device=edge-1&digest=${third.manifestDigest}&limit=20`);
    return items.length === 20 ? items : undefined;
  });
  for (const { value, predecessor } of pairs)
    expect(predecessor).toEqual({ digest: first.manifestDigest, value: value / 2 });

  // A model that was changed on the server's disk is refused by the device, which tells the server's audit log, and
  // version 3 goes on. Once the file is mended, whoever runs the rollout asks for it again.
  const model = timesModel(30);
  const fourth = await releasePackage(fleet, testPackage(model, [30, 60, 90]));
  flipBit(fleet, digestOf(model));
  const rollout = await rollOut(fleet, fourth.version, confirm);
  const refused = await reportedWhere(fleet, "edge-1", "version 4 is refused", ({ phase }) => phase === "failed");
  expect(refused).toMatchObject({ active: { version: 3 }, outcome: "failed", error: { code: "DIGEST_MISMATCH" } });
  const notes = await eventually("the audit log has it", async () => {
    const { items } = await fleet.call("GET /v1/audit?caller=device:edge-1&operation=deviceSecurityEvent");
    return items.length > 0 && items;
  });
  expect(notes).toMatchObject([
    { code: "DIGEST_MISMATCH", target: expect.stringMatching(/^model\.onnx of pump-rul 4 /) },
  ]);
  await snapshotWhere("version 3 serves", stateDir, ({ pipeline }) => pipeline?.models[0]?.version === 3);
  await eventually("its wave failed", async () => (await fleet.call(`GET /v1/rollouts/${rollout}`)).phase === "paused");
  await fleet.putBlob(digestOf(model), model);
  await fleet.call(`POST /v1/rollouts/${rollout}/retry`);
  await reportedWhere(fleet, "edge-1", "version 4 succeeded", ({ active, outcome }) => {
    return active?.version === 4 && outcome === "succeeded";
  });
  expect((await agent.stop()).ended).toBe(0);
  expect((await fleet.process.stop()).ended).toBe(0);
});

test("a device fed no input never reports success, and goes back to what it was", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1");
  const agent = startAgentProcess(folder, stateDir, deaf);
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online");
  const { version } = await releasePackage(fleet, testPackage());
  await rollOut(fleet, version, { inferences: 1, soakSeconds: 0, deadlineSeconds: 4, errorFraction: 0 });
  const phases = new Set<string>();
  const ended = await reportedWhere(fleet, "edge-1", "it gave up", (model) => {
    phases.add(model.phase);
    expect(model.outcome).not.toBe("succeeded");
    return model.phase === "failed";
  });
  expect(phases).toContain("confirming");
  expect(ended).toMatchObject({ outcome: "rolledBack", error: { code: "NO_LIVE_INFERENCES" } });
  expect(ended).not.toHaveProperty("active");
  expect((await agent.stop()).ended).toBe(0);
});

test("killed while a version is being confirmed, the device goes on confirming it and comes to an end by itself", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1");
  const yaml = replayOf(folder);
  const first = startAgentProcess(folder, stateDir, yaml);
  const { version, manifestDigest } = await releasePackage(fleet, testPackage());
  await rollOut(fleet, version, { ...confirm, soakSeconds: 5 });
  await reportedWhere(fleet, "edge-1", "it is being confirmed", ({ phase }) => phase === "confirming");
  first.signal("SIGKILL");
  await first.ended;
  // Nobody answers any more: everything that follows the device does without the network.
  fleet.process.signal("SIGKILL");
  await fleet.process.ended;

  const second = startAgentProcess(folder, stateDir, yaml);
  const { models, pipeline } = await snapshotWhere(
    "it succeeded",
    stateDir,
    (now) => now.models[0]?.outcome === "succeeded",
  );
  expect(models).toMatchObject([{ phase: "idle", active: { version, digest: manifestDigest } }]);
  expect(models[0]!.evidence!.inferences).toBeGreaterThanOrEqual(confirm.inferences);
  expect(pipeline!.models).toMatchObject([{ version, digest: manifestDigest }]);
  expect((await second.stop()).ended).toBe(0);
});
