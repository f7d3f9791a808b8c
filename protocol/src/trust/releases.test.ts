import { describe, expect, test } from "vitest";
import { releasePath, retrainingRole, retrainingScope, withinScope } from "./releases.ts";

const scope = {
  model: "pump-rul",
  cohort: "line-3",
  selector: "line=3,!retired",
  withdrawn: [`sha256:${"b".repeat(64)}`],
};
const release = { model: "pump-rul", version: 7, cohort: "line-3", manifestDigest: `sha256:${"a".repeat(64)}` };
const labels = { line: "3", site: "plant" };

function codeOf(changes: Partial<typeof scope>, released: Partial<typeof release> = {}, own = labels as object) {
  const judged = withinScope({ ...scope, ...changes }, { ...release, ...released }, own as Record<string, string>);
  return judged.ok ? "ok" : judged.error.code;
}

describe("what a retraining role may release to a device", () => {
  test("is its model, its cohort, and a device whose own labels are in it", () => {
    expect(codeOf({})).toBe("ok");
    expect(codeOf({}, { model: "fan-rul" })).toBe("NOT_IN_TARGETS");
    expect(codeOf({}, { cohort: "line-4" })).toBe("NOT_IN_TARGETS");
    expect(codeOf({}, {}, { line: "4" })).toBe("RELEASE_OUTSIDE_COHORT");
    expect(codeOf({}, {}, { line: "3", retired: "" })).toBe("RELEASE_OUTSIDE_COHORT");
    expect(codeOf({}, {}, {})).toBe("RELEASE_OUTSIDE_COHORT");
  });

  test("is nothing that the owners withdrew", () => {
    expect(codeOf({}, { manifestDigest: scope.withdrawn[0]! })).toBe("RELEASE_WITHDRAWN");
  });

  test("is nothing where the scope is missing, empty or unreadable", () => {
    const judged = withinScope(undefined, release, labels);
    expect(judged.ok ? "ok" : judged.error.code).toBe("NOT_IN_TARGETS");
    expect(codeOf({ selector: " " })).toBe("RELEASE_OUTSIDE_COHORT");
    expect(codeOf({ selector: "line=3,(" })).toBe("RELEASE_OUTSIDE_COHORT");
    expect(retrainingScope.check({ ...scope, selector: "" }).ok).toBe(false);
    expect(retrainingScope.check({ ...scope, withdrawn: undefined }).ok).toBe(false);
  });
});

test("two pairs of model and cohort never share a role or a path", () => {
  expect(retrainingRole("a-b", "c")).not.toBe(retrainingRole("a", "b-c"));
  expect(releasePath("a", 1, "b")).toBe("retrained/a/b/1/manifest.json");
  expect(releasePath("a", 1)).toBe("models/a/1/manifest.json");
});
