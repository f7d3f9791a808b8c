import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/kit/folder.ts";
import { ownLabels, writeLabels } from "./labels.io.ts";

const enrolment = { site: "plant", device: "edge-1", labels: { line: "1", hall: "a", site: "elsewhere", cpus: "0" } };
const facts = { cpus: "4", device: "imposter" };

test("the owner's word at the device stands above the token's, its facts above both, and who it is above all", () => {
  const stateDir = temporaryFolder("labels-");
  writeLabels(stateDir, { line: "3", cpus: "64" });
  expect(ownLabels(stateDir, enrolment, facts)).toEqual({
    ...{ line: "3", hall: "a", cpus: "4" },
    ...{ site: "plant", device: "edge-1" },
  });
});

test("a labels file that cannot be read says nothing", () => {
  const stateDir = temporaryFolder("labels-");
  writeFileSync(join(stateDir, "labels.json"), "{");
  expect(ownLabels(stateDir, { site: "plant", device: "edge-1" }, {})).toEqual({ site: "plant", device: "edge-1" });
});
