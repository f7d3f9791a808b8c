import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet, type TestFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage } from "../kit/packages.ts";
import { asOwner, uploadPackage } from "../kit/release.ts";
import { directorBytes } from "../kit/tuf.ts";
import { confirmed, startRepository, victims } from "../kit/victims.ts";
import { DELEGATION, INSIDE, OTHER_MODEL, publishRetrained, RETRAINED } from "./table/delegation.ts";
import { named } from "./table/row.ts";

const { expectRefused, start } = victims();
const LONG = { timeout: 180_000 };

test.each(named(DELEGATION))("with every online key: %s", LONG, async (_, row) => await expectRefused(row));

test(
  "what the role released for the device's own cohort is installed, beside a document's refused model",
  LONG,
  async () => {
    const repository = await startRepository();
    publishRetrained(repository, [RETRAINED, OTHER_MODEL]);
    const { device } = await start(repository, { labels: INSIDE });
    device.updater.onDesired(directorBytes(3, [OTHER_MODEL, RETRAINED]));
    await confirmed(device, RETRAINED);
    const { model } = OTHER_MODEL;
    expect(device.reported().refusals).toMatchObject([{ code: "NOT_IN_TARGETS", model, directorVersion: 3 }]);
  },
);

const ROLE = ["pump-rul", "line-3"] as const;
const inCohort = (version: number, selector: string) => ({
  ...{ model: "pump-rul", version: String(version), target: { selector } },
  ...{ waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0 }] },
  confirm: { inferences: 20, soakSeconds: 0, deadlineSeconds: 60, errorFraction: 0 },
});

async function agentOf(fleet: TestFleet, folder: string, device: string, token: object, ...more: string[]) {
  const own = join(folder, device);
  const stateDir = join(own, "state");
  mkdirSync(own);
  await enrolDevice(fleet, stateDir, device, { ...token }, ...more);
  startAgentProcess(own, stateDir, replayOf(own));
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online", 60_000);
}

test("a server that calls a device what it is not cannot bring it a cohort's release", LONG, async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  await agentOf(fleet, folder, "edge-3", { labels: INSIDE });
  await agentOf(fleet, folder, "edge-4", {}, "--label", "line=4");
  await fleet.call("PUT /v1/cohorts/line-3", { selector: "line=3" });
  await asOwner(fleet, "delegations", "grant", ...ROLE);
  const { version } = await uploadPackage(fleet, testPackage());
  await fleet.call(`POST /v1/models/pump-rul/versions/${version}/release/line-3`);
  const planned = (selector: string): Promise<string> =>
    fleet.call("POST /v1/rollouts", inCohort(version, selector)).then(
      () => "it was taken",
      (cause: Error) => cause.message,
    );
  expect(await planned("")).toContain("ROLLOUT_OUTSIDE_COHORT");

  await fleet.call("PUT /v1/devices/edge-4/labels", { line: "3" });
  const { id } = await fleet.call("POST /v1/rollouts", inCohort(version, "line=3"));
  await fleet.call(`POST /v1/rollouts/${id}/start`);
  const shown = (device: string) => fleet.call(`GET /v1/devices/${device}`);
  await eventually(
    "its own cohort runs it",
    async () => (await shown("edge-3")).models[0]?.active?.version === version,
  );
  const { refusals } = await eventually("the other refuses", async () => {
    const one = await shown("edge-4");
    return one.refusals.length > 0 ? one : undefined;
  });
  expect(refusals).toMatchObject([{ code: "RELEASE_OUTSIDE_COHORT" }]);
  // The rollout takes the refusal for an answer, long before the device's time is over.
  const { executions } = await eventually("the rollout heard of it", async () => {
    const { items } = await fleet.call(`GET /v1/rollouts/${id}/executions`);
    const ended = items.every(({ phase }: { phase: string }) => phase !== "queued" && phase !== "inProgress");
    return ended && { executions: items };
  });
  expect(
    executions.map((one: Record<string, unknown>) => [one["device"], one["phase"], one["errorCode"]]).sort(),
  ).toEqual([
    ["edge-3", "succeeded", null],
    ["edge-4", "rejected", "RELEASE_OUTSIDE_COHORT"],
  ]);
  expect((await shown("edge-4")).models).toEqual([]);

  await asOwner(fleet, "delegations", "off", ...ROLE);
  expect(await planned("line=3")).toContain("RETRAINING_ROLE_OFF");
  await asOwner(fleet, "delegations", "revoke", ...ROLE);
  expect((await fleet.call(`GET /v1/models/pump-rul/versions/${version}`)).phase).toBe("withdrawn");
});
