import { expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { directorBytes } from "../kit/tuf.ts";
import { BOTH, OLD, startRepository, victims } from "../kit/victims.ts";
import { DIRECTOR } from "./table/director.ts";
import { named } from "./table/row.ts";
import { PACKAGES, TRANSFER } from "./table/transfer.ts";

const { expectRefused, expectUnharmed, start } = victims();
const LONG = { timeout: 300_000 };

test.each(named(TRANSFER))("transport: %s", LONG, async (_, row) => await expectRefused(row));
test.each(named(DIRECTOR))("director: %s", LONG, async (_, row) => await expectRefused(row));
test.each(named(PACKAGES))("blobs: %s", LONG, async (_, row) => await expectRefused(row));

test("a release that no director asked for is not fetched", LONG, async () => {
  const repository = await startRepository();
  repository.publish(3, BOTH);
  const victim = await start(repository);
  victim.device.updater.onDesired(directorBytes(3, [OLD]));
  await eventually("the document is taken", () => victim.device.reported().directorVersion === 3, 60_000);
  expect(repository.asked.filter((path) => path.startsWith("blobs/"))).toEqual([]);
  await expectUnharmed(victim);
});
