import { parseReference } from "@bellwether/protocol/reference/profile.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { pumpHistory } from "../../../test/kit/drift.ts";
import { trainModel } from "./train.ts";

const DIGEST = `sha256:${"0".repeat(64)}`;
const train = (request: object, snapshot = pumpHistory()) =>
  trainModel(
    {
      run: "run-1",
      snapshot: DIGEST,
      request: {
        history: "pumps",
        model: "pump-rul",
        target: { kind: "rul", cap: 100 },
        parameters: { trees: 30 },
        seed: 1,
        features: { restart: { counter: "hours" } },
        ...request,
      },
    },
    snapshot,
    () => {},
  );

test("a trained package says what its devices watch for drift; what counts up by itself is not charted", () => {
  const trained = unwrap(train({ drift: { falseAlarmsPerDeviceMonth: 0.25 } }));
  const { drift } = unwrap(parseReference(trained.package.files.reference));
  expect(drift).toBeDefined();
  expect(drift!.features).toContain("vibration.mean");
  expect(drift!.features.filter((name) => name.startsWith("hours") || name.startsWith("age"))).toEqual([]);
  expect(drift!.limit.falseAlarmsPerDeviceMonth).toBe(0.25);
  expect(drift!.rowMs).toBe(60_000);
  expect(drift!.channels.map(({ channel }) => channel)).toContain("heat");
  expect(trained.summary.notes).toEqual([]);
  // The same request gives the same bytes.
  expect(unwrap(train({ drift: { falseAlarmsPerDeviceMonth: 0.25 } })).package.files.reference).toEqual(
    trained.package.files.reference,
  );
});

test("features that tell regimes apart are kept for the device, wanted by a tree or not; unknown ones are refused", () => {
  const regimes = { features: ["speed.mean"], count: 2 };
  const { package: built } = unwrap(train({ drift: { regimes }, parameters: { trees: 1, maxLeaves: 2 } }));
  const { drift } = unwrap(parseReference(built.files.reference));
  expect(built.manifest.features.map(({ name }) => name)).toContain("speed.mean");
  expect(drift!.regimes.centres).toHaveLength(2);
  const refused = train({ drift: { regimes: { features: ["nothing.mean"], count: 2 } } });
  expect(refused).toMatchObject({ ok: false, error: { code: "NOT_FOUND" } });
});

test("a history too short for windows trains all the same, and says that devices cannot watch it", () => {
  const trained = unwrap(train({}, pumpHistory(4, 20)));
  expect(unwrap(parseReference(trained.package.files.reference)).drift).toBeUndefined();
  expect(trained.summary.notes.join()).toContain("cannot watch this model for drift");
});
