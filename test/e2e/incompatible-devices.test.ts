import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage } from "../kit/packages.ts";
import { runProcess } from "../kit/processes.ts";
import { releasePackage } from "../kit/release.ts";

const MODEL = "pump-rul";
const confirm = { inferences: 20, soakSeconds: 0, deadlineSeconds: 60 };

test("devices that cannot run a version are named when its rollout is planned, and are no part of its waves", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  const stateOf = (device: string) => join(folder, device, "state");
  for (const device of ["fits", "hot", "late"]) {
    mkdirSync(join(folder, device));
    await enrolDevice(fleet, stateOf(device), device);
  }
  /** `hot` has a channel of the right name in a unit that is none; `late` is the same, and has said nothing yet. */
  const start = async (device: string, change = (yaml: string) => yaml) => {
    const own = join(folder, device);
    startAgentProcess(own, stateOf(device), change(replayOf(own)));
    await snapshotWhere(`${device} is online`, stateOf(device), ({ link }) => link.phase === "online", 40_000);
    await eventually(`${device} told its sensors`, async () => {
      return (await fleet.call(`GET /v1/devices/${device}`)).assets.length === 1;
    });
  };
  const inCelsius = (yaml: string) => yaml.replace("unit: mm/s", "unit: Cel");
  await start("fits");
  await start("hot", inCelsius);

  const { version } = await releasePackage(fleet, testPackage());
  const request = (selector: string) => ({
    model: MODEL,
    version: String(version),
    target: { selector },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, gates: [] }],
    confirm,
  });
  const planned = await fleet.call("POST /v1/rollouts", request(""));
  expect(planned).toMatchObject({ incompatible: 1, waves: [{ devices: 2, executions: { queued: 2 } }] });
  const { items } = await fleet.call(`GET /v1/rollouts/${planned.id}/incompatible`);
  expect(items).toMatchObject([{ device: "hot", code: "MODEL_FITS_NO_ASSET" }]);
  expect(items[0].reason).toMatch(/pump-1: .*Cel/);

  const env = { BELLWETHER_URL: fleet.url, BELLWETHER_TOKEN_FILE: join(fleet.dir, "admin.token") };
  const listed = await runProcess("bellwether", ["rollouts", "incompatible", planned.id], { env });
  expect(listed.stdout).toMatch(/^hot +MODEL_FITS_NO_ASSET +.*Cel/m);
  const shown = await runProcess("bellwether", ["rollouts", "show", planned.id], { env });
  expect(shown.stdout).toContain("1 left out");
  const { stdout: json } = await runProcess("bellwether", ["-o", "json", "rollouts", "incompatible", planned.id], {
    env,
  });
  expect(JSON.parse(json)).toEqual(items);

  // Where nobody can run it, nothing is planned.
  await expect(fleet.call("POST /v1/rollouts", request("device=hot"))).rejects.toThrow(
    /422 .*TARGET_INCOMPATIBLE.*Cel/,
  );

  // The one that had said nothing was kept, and gives the same answer itself: refused, and no failure of the wave.
  await fleet.call(`POST /v1/rollouts/${planned.id}/start`);
  await start("late", inCelsius);
  const ended = await eventually(
    "the rollout ends",
    async () => {
      const now = await fleet.call(`GET /v1/rollouts/${planned.id}`);
      if (now.phase === "finished") return now;
      throw new Error(JSON.stringify(now));
    },
    60_000,
    200,
  );
  expect(ended.waves, JSON.stringify(ended.waves)).toMatchObject([
    { phase: "passed", devices: 2, executions: { succeeded: 1, rejected: 1 } },
  ]);
  const executions = (await fleet.call(`GET /v1/rollouts/${planned.id}/executions`)).items;
  expect(executions).toMatchObject([
    { device: "fits", phase: "succeeded" },
    { device: "late", phase: "rejected", errorCode: "MODEL_FITS_NO_ASSET", errorMessage: items[0].reason },
  ]);
  // Nobody ever asked the device that was left out.
  expect(await fleet.call("GET /v1/devices/hot")).toMatchObject({ models: [], directorVersion: 0, refusals: [] });
});
