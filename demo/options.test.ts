import { describe, expect, it } from "vitest";
import { parseOptions } from "./options.ts";

describe("the demo's command line", () => {
  it("has defaults for everything", () => {
    expect(parseOptions([])).toEqual({
      help: false,
      seed: 1,
      keep: false,
      json: undefined,
      badModel: "shuffled",
      cmapss: undefined,
      drift: "offset",
      driftCohort: "B",
    });
  });

  it.each([
    [["--seed", "0"], { seed: 0 }],
    [["--seed=9007199254740991"], { seed: Number.MAX_SAFE_INTEGER }],
    [["--bad-model=sign-flipped", "--keep"], { badModel: "sign-flipped", keep: true }],
    [["--drift", "none", "--drift-cohort", "A"], { drift: "none", driftCohort: "A" }],
    [["--json", "a=b.json", "--cmapss", "there"], { json: "a=b.json", cmapss: "there" }],
  ])("%j", (args, options) => {
    expect(parseOptions(args)).toMatchObject(options);
  });

  it.each([
    [["--seed", "1.5"], "--seed is a whole number"],
    [["--seed", "-1"], "--seed"],
    [["--seed=-1"], "--seed is a whole number"],
    [["--seed="], "--seed is a whole number"],
    [["--seed", "9007199254740992"], "--seed is a whole number"],
    [["--seed"], "--seed"],
    [["--json", "--keep"], "--json"],
    [["--json="], "--json needs the name of a file"],
    [["--cmapss="], "--cmapss needs a folder"],
    [["--keep=yes"], "--keep"],
    [["--drift", "wear"], "--drift is one of none, offset, gain, fault"],
    [["--drift-cohort", "C"], "--drift-cohort is one of A, B"],
    [["--bad-model", "good"], "--bad-model is one of shuffled"],
    [["--sed", "1"], "--sed"],
    [["1"], "'1'"],
  ])("refuses %j", (args, why) => {
    expect(parseOptions(args)).toContain(why);
  });
});
