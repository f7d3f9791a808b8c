import { expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { directorBytes, KEYS, sealed, snapshotBody, timestampBody, type Versioned } from "../kit/tuf.ts";
import { BOTH, confirmed, NEW, OLD, startRepository, victims } from "../kit/victims.ts";
import { honestTargets, METADATA, rotatedRoot } from "./table/metadata.ts";
import { named } from "./table/row.ts";

const { expectRefused, start } = victims();
const LONG = { timeout: 180_000 };

test.each(named(METADATA))("%s", LONG, async (_, row) => await expectRefused(row));

test("numbers run up by whoever stole the online keys stop counting once the root names others", LONG, async () => {
  const repository = await startRepository();
  repository.publish(900_000, [OLD]);
  const { device } = await start(repository);
  device.updater.onDesired(directorBytes(3, [OLD]));
  await eventually("the high numbers are believed", () => device.reported().directorVersion === 3, 60_000);

  const fresh = KEYS.director;
  repository.metadata("2.root.json", rotatedRoot(2, { timestamp: fresh, snapshot: fresh }));
  const targets = honestTargets(900_001);
  const snapshot: Versioned = [3, sealed(snapshotBody(3, targets), fresh)];
  repository.publish(3, BOTH, { targets, snapshot, timestamp: sealed(timestampBody(3, snapshot), fresh) });
  device.updater.onDesired(directorBytes(4, [NEW]));
  await confirmed(device, NEW);
  expect(device.reported().refusals).toEqual([]);
});
