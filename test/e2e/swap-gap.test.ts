import { setTimeout as wait } from "node:timers/promises";
import { expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { largeModel, slowToLoadModel, testPackage, timesModel } from "../kit/packages.ts";
import { OLD, PATIENT } from "../kit/releases.ts";
import { directorBytes, releaseOf, type TestRelease } from "../kit/tuf.ts";
import { inferencesOf } from "../kit/update-lives.ts";
import { startUpdates, type TestDevice } from "../kit/updates.ts";
import { confirmed, startRepository } from "../kit/victims.ts";

const ROWS_PER_SECOND = 10;
const GAP_MS_MAX = 250;
const ROUNDS_MAX = 4;
/** Far less than rows come apart, so that no prediction is missed. */
const LOOK_MS = 5;
/** Predictions that are looked at, at least. */
const LOOKED_MIN = 10;

const LARGE = releaseOf(testPackage(largeModel(20, 20), [20, 40, 60], PATIENT), 2);
/** Takes several times the gap to load. */
const SLOW = releaseOf(testPackage(slowToLoadModel(40, 20), [40, 80, 120], PATIENT), 4);
/** Good to its golden vectors, but beyond its range on every row that comes. */
const WORTHLESS = releaseOf(
  testPackage(timesModel(3), [3, 6, 9], {
    ...PATIENT,
    outputs: [{ name: "value", output: "out", meaning: "value", primary: true, range: [0, 10] }],
  }),
  3,
);
const ALL = [OLD, LARGE, WORTHLESS, SLOW];

/** Notes when each prediction was made, until there are some and it is stopped; answers the longest time between two. */
function watchGaps({ pipeline }: TestDevice) {
  let going = true;
  let longestMs = 0;
  let looked = 0;
  const watching = (async () => {
    let beforeMs: number | undefined;
    // What is over in a moment is watched for a second: the gap may come with the prediction after it.
    while (going || looked <= LOOKED_MIN) {
      const atMs = (await pipeline.figures()).models[0]?.lastAtMs;
      if (atMs !== undefined && atMs !== beforeMs) {
        if (beforeMs !== undefined) longestMs = Math.max(longestMs, atMs - beforeMs);
        beforeMs = atMs;
        looked += 1;
      }
      await wait(LOOK_MS);
    }
  })();
  return async () => {
    going = false;
    await watching;
    return longestMs;
  };
}

test("a 10 Hz asset has its predictions through download, self-test, swap and roll-back, and none is missing", async () => {
  const stateDir = temporaryFolder();
  const repository = await startRepository();
  const device = await startUpdates({ stateDir, serverUrl: repository.url, rowsPerSecond: ROWS_PER_SECOND });
  repository.publish(1, [OLD]);
  device.updater.onDesired(directorBytes(1, [OLD]));
  await confirmed(device, OLD);

  const least: Record<string, number> = {};
  const during = async (what: string, happens: () => Promise<unknown>) => {
    const stop = watchGaps(device);
    await happens();
    const longestMs = await stop();
    least[what] = Math.min(longestMs, least[what] ?? Number.POSITIVE_INFINITY);
  };
  repository.publish(2, ALL);
  let document = 1;
  const wish = (release: TestRelease) => {
    document += 1;
    device.updater.onDesired(directorBytes(document, [release]));
  };
  // What else the machine does makes gaps of its own, but not every time at the same place.
  for (let round = 0; round < ROUNDS_MAX && (round === 0 || Math.max(...Object.values(least)) >= GAP_MS_MAX); round++) {
    await during("a good model of 20 MB", async () => {
      wish(LARGE);
      await confirmed(device, LARGE);
    });
    await during("one that takes a second to load", async () => {
      wish(SLOW);
      await confirmed(device, SLOW);
    });
    await during("a worthless one, rolled back", async () => {
      wish(WORTHLESS);
      await eventually("it is rolled back", () => device.reported().models[0]?.outcome === "rolledBack", 60_000);
    });
    await during("back to the first", async () => {
      wish(OLD);
      await confirmed(device, OLD);
    });
  }
  await device.close();

  console.log(least);
  for (const longestMs of Object.values(least)) expect(longestMs).toBeLessThan(GAP_MS_MAX);
  const times = inferencesOf(stateDir).map(({ observedAtMs }) => observedAtMs);
  const [first = 0, second = 0] = times;
  expect(second).toBeGreaterThan(first);
  expect(times.length).toBeGreaterThan(30);
  // The replay's own times: one prediction for each row, in their order, whichever model made it.
  expect(times).toEqual(times.map((_, i) => first + i * (second - first)));
});
