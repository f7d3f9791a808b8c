import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundleFile } from "@bellwether/protocol/bundle.ts";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { expect, onTestFinished, test } from "vitest";
import { startProxy } from "../../demo/proxy.io.ts";
import { replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage } from "../kit/packages.ts";
import { runProcess } from "../kit/processes.ts";
import { asOwner, releasePackage } from "../kit/release.ts";

const MODEL = "pump-rul";

/** A line between a port of the server and a device, that can be cut. */
async function lineTo(port: number) {
  const line = await startProxy(port);
  onTestFinished(() => line.close());
  return line;
}

test("a device whose line is cut takes an update from files, through a spoilt copy and a kill, and tells the server when the line is back", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  const http = await lineTo(Number(new URL(fleet.url).port));
  const mqtt = await lineTo(Number(new URL(fleet.mqttUrl).port));
  const stateDir = join(folder, "edge-1");
  await enrolDevice({ ...fleet, publicUrl: `http://127.0.0.1:${http.port}` }, stateDir, "edge-1");
  const yaml = `${replayOf(folder)}server: {mqttUrl: "mqtt://127.0.0.1:${mqtt.port}"}\n`;
  const update = (bundle: string) =>
    runProcess("bellwether-agent", ["update", "--bundle", bundle, "--state", stateDir]);
  const bundle = join(folder, "stick", "bundle:1");
  expect(await update(bundle)).toMatchObject({ ended: 1, stderr: expect.stringContaining("AGENT_NOT_RUNNING") });

  const first = startAgentProcess(folder, stateDir, yaml);
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online");
  for (const line of [http, mqtt]) line.cut();
  await snapshotWhere("its line is cut", stateDir, ({ link }) => link.phase !== "online");

  const one = testPackage();
  const { version, manifestDigest } = await releasePackage(fleet, one);
  const { id } = await fleet.call("POST /v1/rollouts", {
    model: MODEL,
    version: String(version),
    target: { selector: "" },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, errorAction: "PAUSE" }],
    confirm: { inferences: 50, soakSeconds: 1, deadlineSeconds: 30, errorFraction: 0.1 },
  });
  await fleet.call(`POST /v1/rollouts/${id}/start`);
  const exported = await eventually("the device has a document to export", () =>
    asOwner(fleet, "-o", "json", "bundle", "export", "edge-1", "--out", bundle),
  );
  expect(JSON.parse(exported)).toMatchObject({ folder: bundle, devices: [{ device: "edge-1", document: 1 }] });
  expect(JSON.parse(exported).goodUntilMs).toBeGreaterThan(Date.now());
  expect(await update(join(folder, "stick"))).toMatchObject({
    ended: 1,
    stderr: expect.stringContaining("BUNDLE_UNREADABLE"),
  });

  // One byte of the stick is not what it was.
  const blob = join(bundle, bundleFile(`/v1/blobs/${digestOf(one.files.model)}`));
  const bytes = readFileSync(blob);
  bytes[bytes.length >> 1]! ^= 1;
  rmSync(blob);
  writeFileSync(blob, bytes);
  const spoilt = await update(bundle);
  expect(spoilt).toMatchObject({ ended: 1, stderr: expect.stringContaining("DIGEST_MISMATCH") });
  expect(spoilt.stdout).toContain("document 1 was taken");

  // Exported again, the spoilt file is whole; what was under way when the agent was killed goes on from there by itself.
  first.signal("SIGKILL");
  await first.ended;
  await asOwner(fleet, "bundle", "export", "edge-1", "--out", bundle);
  const second = startAgentProcess(folder, stateDir, yaml);
  const proven = await snapshotWhere("it has proved itself", stateDir, ({ models }) => {
    return models[0]?.phase === "idle" && models[0].outcome === "succeeded";
  });
  expect(proven.models).toMatchObject([{ active: { version, digest: manifestDigest } }]);
  expect(proven.pipeline!.models).toMatchObject([{ version, digest: manifestDigest }]);
  expect(proven.link.phase).not.toBe("online");
  // Once more is no news, and no harm.
  expect(await update(bundle)).toMatchObject({
    ended: 0,
    stdout: expect.stringContaining(`${MODEL} ${version}: idle`),
  });

  for (const line of [http, mqtt]) line.heal();
  await eventually(
    "the server hears of it",
    async () => {
      const { models } = await fleet.call("GET /v1/devices/edge-1");
      return models[0]?.outcome === "succeeded" && models[0].active.digest === manifestDigest;
    },
    40_000,
  );
  await eventually("its predictions reach the server", async () => {
    const { items } = await fleet.call(`GET /v1/predictions?device=edge-1&digest=${manifestDigest}&limit=20`);
    return items.length === 20;
  });
  expect((await second.stop()).ended).toBe(0);
});
