import { expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import { PATIENT } from "../kit/releases.ts";
import { directorBytes, releaseOf } from "../kit/tuf.ts";
import { startUpdates } from "../kit/updates.ts";
import { startRepository } from "../kit/victims.ts";

const release = (model: string, version: number, factor: number, more = {}) =>
  releaseOf(testPackage(timesModel(factor), [factor, 2 * factor, 3 * factor], { ...PATIENT, model, ...more }), version);
const WEAR = release("wear", 1, 10);
const LEAK = release("leak", 1, 20);
const BETTER_WEAR = release("wear", 2, 30);
/** Good to its golden vectors, but beyond its range on every row that comes. */
const WORTHLESS_LEAK = release("leak", 2, 3, {
  outputs: [{ name: "value", output: "out", meaning: "value", primary: true, range: [0, 10] }],
});

test("two models of a device are updated apart: one is rolled back while the other succeeds", async () => {
  const repository = await startRepository();
  const device = await startUpdates({ stateDir: temporaryFolder(), serverUrl: repository.url });
  const ends = (model: string, outcome: string, digest: string) =>
    eventually(
      `${model} has ${outcome}`,
      () => {
        const own = device.reported().models.find((one) => one.model === model);
        return own?.outcome === outcome && own.active?.digest === digest && own;
      },
      60_000,
    );
  repository.publish(1, [WEAR, LEAK, BETTER_WEAR, WORTHLESS_LEAK]);
  device.updater.onDesired(directorBytes(1, [WEAR, LEAK]));
  await ends("wear", "succeeded", WEAR.manifestDigest);
  await ends("leak", "succeeded", LEAK.manifestDigest);

  device.updater.onDesired(directorBytes(2, [BETTER_WEAR, WORTHLESS_LEAK]));
  const back = await ends("leak", "rolledBack", LEAK.manifestDigest);
  expect(back).toMatchObject({ phase: "failed", error: { code: "INFERENCE_ERRORS" } });
  expect(await ends("wear", "succeeded", BETTER_WEAR.manifestDigest)).toMatchObject({ phase: "idle" });
  const { models } = await device.pipeline.figures();
  expect(new Map(models.map(({ model, digest }) => [model, digest]))).toEqual(
    new Map([
      ["wear", BETTER_WEAR.manifestDigest],
      ["leak", LEAK.manifestDigest],
    ]),
  );
  await device.close();
});
