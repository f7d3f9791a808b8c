import { join } from "node:path";
import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import { expect, test } from "vitest";
import { startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, rowsBehind, startFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import { releasePackage } from "../kit/release.ts";

const MODEL = "host-pressure";

/** The device watches itself: processor and memory of the very machine that runs the test. */
const host = `
heartbeatMs: 500
assets: [{id: gateway}]
inputs:
  - id: host
    type: host
    intervalMs: 250
    points:
      - {name: memory, asset: gateway, channel: memory, source: memory.used_fraction, unit: "%"}
      - {name: cpu, asset: gateway, channel: cpu, source: cpu.load, unit: "%"}
`;

test("a model on the device's own memory, no machine's, goes the whole way", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1");
  startAgentProcess(folder, stateDir, host);
  const released = await releasePackage(
    fleet,
    testPackage(timesModel(2), [2, 4, 6], {
      model: MODEL,
      channels: [{ channel: "memory", unit: "1" }],
      features: [{ name: "x.last", function: "last", channel: "memory" }],
    }),
  );
  const { id } = await fleet.call("POST /v1/rollouts", {
    model: MODEL,
    version: String(released.version),
    target: { selector: "" },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, errorAction: "PAUSE" }],
    confirm: { inferences: 5, soakSeconds: 1, deadlineSeconds: 60, errorFraction: 0.1 },
  });
  await fleet.call(`POST /v1/rollouts/${id}/start`);
  await eventually(
    "the device has proven the model on itself",
    async () => {
      const { models } = (await fleet.call("GET /v1/devices/edge-1")) as { models: ReportedModel[] };
      return models.some(({ outcome }) => outcome === "succeeded") || undefined;
    },
    60_000,
    200,
  );
  const predictions = await eventually("predictions at the server", async () => {
    const { items } = await fleet.call(`GET /v1/predictions?device=edge-1&model=${MODEL}&limit=20`);
    return items.length >= 10 ? items : undefined;
  });
  const rows = await rowsBehind(fleet, "edge-1", predictions);
  for (const { asset, observedAtMs, value } of predictions) {
    expect(asset).toBe("gateway");
    const percent = rows.get(observedAtMs)!["memory"]!;
    expect(percent).toBeGreaterThan(0);
    expect(percent).toBeLessThan(100);
    // The model wants a fraction, the input gives per cent: units are converted on the device.
    expect(value).toBeCloseTo((2 * percent) / 100, 5);
  }
});
