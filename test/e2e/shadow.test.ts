import type { ShadowFindings } from "@bellwether/protocol/messages/device.ts";
import { expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import { PATIENT } from "../kit/releases.ts";
import { directorBytes, releaseOf, type TestRelease } from "../kit/tuf.ts";
import { eventsOf, inferencesOf } from "../kit/update-lives.ts";
import { startUpdates, type TestDevice } from "../kit/updates.ts";
import { confirmed, startRepository } from "../kit/victims.ts";

/** Its alert never stands on these rows: their values stay below 10 million. */
const CHAMPION = releaseOf(
  testPackage(timesModel(10), [10, 20, 30], { ...PATIENT, alert: { direction: "above", threshold: 1e9, k: 1, n: 1 } }),
  1,
);
/** Its alert would stand on every row. */
const LOUD = releaseOf(
  testPackage(timesModel(20), [20, 40, 60], { ...PATIENT, alert: { direction: "above", threshold: 0, k: 1, n: 1 } }),
  2,
);
/** Good to its golden vectors, but beyond its range on every row that comes. */
const WORTHLESS = releaseOf(
  testPackage(timesModel(3), [3, 6, 9], {
    ...PATIENT,
    outputs: [{ name: "value", output: "out", meaning: "value", primary: true, range: [0, 10] }],
  }),
  3,
);
const ALL = [CHAMPION, LOUD, WORTHLESS];

/** A document that asks for a release, as a shadow first. */
function shadowing(version: number, release: TestRelease, durationMs: number, assignedIn = version): Buffer {
  const shadow = { inferences: 20, durationMs };
  const confirm = { inferences: 5, soakMs: 0, deadlineMs: 60_000, errorFraction: 0, shadow };
  return directorBytes(version, [release], { model: { confirm, assignedIn } });
}

const modelOf = (device: TestDevice) => device.reported().models[0];

test("a shadow runs on live rows without any consequence, through a restart, and serves only after it", async () => {
  const stateDir = temporaryFolder();
  const repository = await startRepository();
  const start = () => startUpdates({ stateDir, serverUrl: repository.url });
  const first = await start();
  repository.publish(1, ALL);
  first.updater.onDesired(directorBytes(1, [CHAMPION]));
  await confirmed(first, CHAMPION);

  first.updater.onDesired(shadowing(2, LOUD, 3_600_000));
  const running = (device: TestDevice) =>
    eventually("it has run as a shadow", () => {
      const { phase, shadow } = device.updater.states()[0] ?? {};
      return phase === "shadowing" && (shadow?.inferences ?? 0) >= 50 ? shadow : undefined;
    });
  const before: ShadowFindings = await running(first);
  expect(before).toMatchObject({ errors: 0, agreement: 0 });
  expect(before.meanDifference).toBeGreaterThan(0);
  expect(before.p99LatencyUs).toBeGreaterThan(0);
  await first.close();

  const second = await start();
  const after = await running(second);
  expect(after.startedAtMs).toBeGreaterThan(before.endedAtMs);
  expect(modelOf(second)?.active?.digest).toBe(CHAMPION.manifestDigest);
  await second.close();

  const seen = inferencesOf(stateDir);
  const noted = seen.filter(({ shadow }) => shadow !== undefined);
  expect(noted.length).toBeGreaterThanOrEqual(100);
  for (const { digest, value, alert, shadow } of noted) {
    expect({ digest, alert }).toEqual({ digest: CHAMPION.manifestDigest, alert: false });
    expect(shadow).toEqual({ digest: LOUD.manifestDigest, value: 2 * value! });
  }
  // One prediction for each row, and each the champion's: the shadow has none of its own.
  expect(new Set(seen.map(({ digest }) => digest))).toEqual(new Set([CHAMPION.manifestDigest]));
  expect(new Set(seen.map(({ observedAtMs }) => observedAtMs)).size).toBe(seen.length);
  expect(eventsOf(stateDir).filter(({ kind }) => kind === "alert")).toEqual([]);

  const third = await start();
  third.updater.onDesired(shadowing(3, LOUD, 1_000));
  await confirmed(third, LOUD);
  expect(modelOf(third)?.shadow).toMatchObject({ errors: 0, agreement: 0 });
  await third.close();
  expect(eventsOf(stateDir).some(({ code }) => code === "ALERT_RAISED")).toBe(true);
});

test("a shadow whose outputs are worthless never serves", async () => {
  const stateDir = temporaryFolder();
  const repository = await startRepository();
  const device = await startUpdates({ stateDir, serverUrl: repository.url });
  repository.publish(1, ALL);
  device.updater.onDesired(directorBytes(1, [CHAMPION]));
  await confirmed(device, CHAMPION);
  device.updater.onDesired(shadowing(2, WORTHLESS, 60_000));
  await eventually("it is given up", () => modelOf(device)?.outcome === "rolledBack", 60_000);
  expect(modelOf(device)).toMatchObject({
    phase: "failed",
    active: { digest: CHAMPION.manifestDigest },
    error: { code: "SHADOW_ERRORS" },
  });
  await eventually("it is closed", async () => (await device.pipeline.figures()).models[0]?.shadow === undefined);
  // The same wish again is not taken up.
  device.updater.onDesired(shadowing(3, WORTHLESS, 60_000, 2));
  await eventually("the document is known", () => device.reported().directorVersion === 3);
  expect(modelOf(device)?.phase).toBe("failed");
  await device.close();
  const digests = new Set(inferencesOf(stateDir).map(({ digest }) => digest));
  expect(digests).toEqual(new Set([CHAMPION.manifestDigest]));
});
