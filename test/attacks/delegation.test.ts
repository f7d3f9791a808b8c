import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet, type TestFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import { asOwner, uploadPackage } from "../kit/release.ts";
import {
  delegations,
  directorBytes,
  KEYS,
  releaseOf,
  retrainedBody,
  sealed,
  type TestRelease,
  type TestRepository,
  targetsBody,
} from "../kit/tuf.ts";
import { type Attack, confirmed, NEW, OLD, startRepository, victims } from "../kit/victims.ts";

const { attacked, expectUnharmed, expectRecovery, start } = victims();
const LONG = { timeout: 180_000 };
const INSIDE = { line: "3" };
const OUTSIDE = { line: "4" };

const RETRAINED: TestRelease = { ...NEW, cohort: "line-3" };
const OTHER_MODEL: TestRelease = {
  ...releaseOf(testPackage(timesModel(20), [20, 40, 60], { model: "fan-rul" }), 2),
  cohort: "line-3",
};

/** Owners who released version 1 to everybody and delegated to the role; all that is online signs what it is given. */
function publish(
  repository: TestRepository,
  retrained: readonly TestRelease[],
  bent: { delegated?: object; more?: object; by?: readonly (typeof KEYS.thief)[] } = {},
): void {
  const { delegated = delegations(), more = {}, by = [KEYS.retraining] } = bent;
  const targets = { ...targetsBody(3, [OLD]), delegations: delegated };
  const body = { ...retrainedBody(1, retrained), ...more };
  // The blobs lie there whatever the metadata say.
  repository.publish(3, [OLD, ...retrained], {
    targets: [3, sealed(targets, KEYS.targets)],
    retrained: [1, sealed(body, ...by)],
  });
}

const ATTACKS: Record<string, [code: string, attack: Attack, labels?: Record<string, string>]> = {
  "a release for another model": [
    "NOT_IN_TARGETS",
    (repository) => {
      publish(repository, [OTHER_MODEL]);
      return directorBytes(3, [OTHER_MODEL]);
    },
  ],
  "another model's manifest under its own path": [
    "NOT_IN_TARGETS",
    (repository) => {
      const disguised = { ...OTHER_MODEL, model: "pump-rul" };
      publish(repository, [disguised]);
      return directorBytes(3, [disguised]);
    },
  ],
  "a release for everybody": [
    "NOT_IN_TARGETS",
    (repository) => {
      publish(repository, [NEW]);
      return directorBytes(3, [NEW]);
    },
  ],
  "a release for another cohort": [
    "NOT_IN_TARGETS",
    (repository) => {
      const elsewhere = { ...NEW, cohort: "line-4" };
      publish(repository, [elsewhere]);
      return directorBytes(3, [elsewhere]);
    },
    OUTSIDE,
  ],
  "its own release, to a device outside the cohort": [
    "RELEASE_OUTSIDE_COHORT",
    (repository) => {
      publish(repository, [RETRAINED]);
      return directorBytes(3, [RETRAINED]);
    },
    OUTSIDE,
  ],
  "its own release, to a device that has no labels": [
    "RELEASE_OUTSIDE_COHORT",
    (repository) => {
      publish(repository, [RETRAINED]);
      return directorBytes(3, [RETRAINED]);
    },
    {},
  ],
  "its own word that the cohort is everybody": [
    "RELEASE_OUTSIDE_COHORT",
    (repository) => {
      publish(repository, [RETRAINED], { more: { delegations: delegations("!retired") } });
      return directorBytes(3, [RETRAINED]);
    },
    OUTSIDE,
  ],
  "a delegation whose selector says nothing": [
    "RELEASE_OUTSIDE_COHORT",
    (repository) => {
      publish(repository, [RETRAINED], { delegated: delegations(" ") });
      return directorBytes(3, [RETRAINED]);
    },
  ],
  "what the owners have withdrawn": [
    "RELEASE_WITHDRAWN",
    (repository) => {
      publish(repository, [RETRAINED], { delegated: delegations("line=3", [RETRAINED.manifestDigest]) });
      return directorBytes(3, [RETRAINED]);
    },
  ],
  "a role that the owners have switched off": [
    "NOT_IN_TARGETS",
    (repository) => {
      publish(repository, [RETRAINED], { delegated: { keys: {}, roles: [] } });
      return directorBytes(3, [RETRAINED]);
    },
  ],
  "metadata of the role under every other online key": [
    "METADATA_NOT_SIGNED",
    (repository) => {
      publish(repository, [RETRAINED], { by: [KEYS.snapshot, KEYS.timestamp, KEYS.director, KEYS.thief] });
      return directorBytes(3, [RETRAINED]);
    },
  ],
  "metadata of the role that have expired": [
    "METADATA_EXPIRED",
    (repository) => {
      publish(repository, [RETRAINED], { more: { expires: "2020-01-01T00:00:00Z" } });
      return directorBytes(3, [RETRAINED]);
    },
  ],
};

test.each(Object.entries(ATTACKS))("with every online key: %s", LONG, async (_, [code, attack, labels = INSIDE]) => {
  const repository = await startRepository();
  const victim = await attacked(repository, attack, { labels });
  expect(victim.refusal.code).toBe(code);
  await expectUnharmed(victim);
  // The role's file stays in every later snapshot, whatever became of the role.
  await expectRecovery(victim, repository, { retrained: [2, sealed(retrainedBody(2, []), KEYS.retraining)] });
});

test(
  "what the role released for the device's own cohort is installed, beside a document's refused model",
  LONG,
  async () => {
    const repository = await startRepository();
    publish(repository, [RETRAINED, OTHER_MODEL]);
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
