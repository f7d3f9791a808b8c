import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import { runProcess } from "../kit/processes.ts";
import { updateDevice } from "../kit/release.ts";

const RELATIVE = testPackage(timesModel(1), [1, 2, 3], {
  features: [{ name: "x.last", function: "last", channel: "x", relativeToBaseline: true }],
  baseline: { vectors: 5 },
});

/** A gateway that reads `x` of pump-1 as it is: between `from` and 50 more. */
function gateway(folder: string, from: number): string {
  const file = join(folder, `rows-${from}.csv`);
  writeFileSync(file, ["x", ...Array.from({ length: 20_000 }, (_, i) => String(from + (i % 50))), ""].join("\n"));
  return `
heartbeatMs: 500
assets: [{id: pump-1}]
inputs: [{id: rec, type: replay, file: ${file}, asset: pump-1, rowsPerSecond: 50, points: [{name: x, channel: x, unit: mm/s}]}]
`;
}

test("a gateway is replaced by another: labels, asset, models and the machine's frozen baseline go over", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  const [oldDir, newDir] = [join(folder, "old"), join(folder, "new")];
  await enrolDevice(fleet, oldDir, "gw-old");
  const first = startAgentProcess(folder, oldDir, gateway(folder, 0));
  await updateDevice(fleet, "gw-old", RELATIVE);
  await fleet.call("PUT /v1/devices/gw-old/labels", { line: "7" });
  const frozen = await runProcess("bellwether-agent", ["status", "--state", oldDir, "-o", "json"]);
  expect(frozen.ended).toBe(0);
  expect((await first.stop()).ended).toBe(0);

  // The machine has worn: what its new gateway reads is far from what it read when it was new.
  await enrolDevice(fleet, newDir, "gw-new");
  const second = startAgentProcess(folder, newDir, gateway(folder, 1_000));
  await snapshotWhere("the new one is online", newDir, ({ link }) => link.phase === "online");
  const env = { BELLWETHER_URL: fleet.url, BELLWETHER_TOKEN_FILE: join(fleet.dir, "admin.token") };
  const replaced = await runProcess("bellwether", ["devices", "replace", "gw-old", "gw-new"], { env });
  expect(replaced).toMatchObject({ ended: 0 });
  const show = (device: string) => fleet.call(`GET /v1/devices/${device}`);
  expect(await show("gw-old")).toMatchObject({ phase: "revoked", replacedBy: "gw-new", labels: {}, assets: [] });
  expect(await show("gw-new")).toMatchObject({ labels: { line: "7" }, assets: [{ asset: "pump-1" }] });

  await eventually(
    "the new one proves the model",
    async () => (await show("gw-new")).models.some(({ outcome }: { outcome: string }) => outcome === "succeeded"),
    90_000,
  );
  const predictions = await fleet.call("GET /v1/predictions?device=gw-new&limit=20");
  // Without the old baseline the first would be 0, for the machine would pass for a new one.
  for (const { value } of predictions.items) expect(value).toBeGreaterThan(900);
  expect(predictions.items.length).toBeGreaterThan(10);
  expect((await second.stop()).ended).toBe(0);
  const again = await runProcess("bellwether", ["devices", "replace", "gw-old", "gw-x"], { env });
  expect(again).toMatchObject({ ended: 1, stderr: expect.stringContaining("NOT_FOUND") });
  const notes = await fleet.call("GET /v1/audit?caller=device:gw-new");
  expect(notes.items.map(({ code }: { code: string }) => code)).toContain("DEVICE_REPLACED");
});
