import { testPackage, timesModel } from "../../kit/packages.ts";
import { NEW, OLD } from "../../kit/releases.ts";
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
} from "../../kit/tuf.ts";
import { type Bend, stoppedBy, type UpdateRow } from "./row.ts";

export const INSIDE = { line: "3" };
const OUTSIDE = { line: "4" };

export const RETRAINED: TestRelease = { ...NEW, cohort: "line-3" };
export const OTHER_MODEL: TestRelease = {
  ...releaseOf(testPackage(timesModel(20), [20, 40, 60], { model: "fan-rul" }), 2),
  cohort: "line-3",
};

interface Bent {
  readonly delegated?: object;
  readonly more?: object;
  readonly by?: readonly (typeof KEYS.thief)[];
}

/** Owners who released version 1 to everybody and delegated to the role; all that is online signs what it is given. */
export function publishRetrained(repository: TestRepository, retrained: readonly TestRelease[], bent: Bent = {}): void {
  const { delegated = delegations(), more = {}, by = [KEYS.retraining] } = bent;
  const targets = { ...targetsBody(3, [OLD]), delegations: delegated };
  const body = { ...retrainedBody(1, retrained), ...more };
  // The blobs lie there whatever the metadata say.
  repository.publish(3, [OLD, ...retrained], {
    targets: [3, sealed(targets, KEYS.targets)],
    retrained: [1, sealed(body, ...by)],
  });
}

const releasing =
  (release: TestRelease, bent: Bent = {}): Bend =>
  (repository) => {
    publishRetrained(repository, [release], bent);
    return directorBytes(3, [release]);
  };

const ROWS: readonly Omit<UpdateRow, "labels" | "honest" | "runs" | "afterwards">[] = [
  ...stoppedBy<UpdateRow>("path and model stand in the delegation that the offline targets sign", [
    { attack: "a release for another model", code: "NOT_IN_TARGETS", bend: releasing(OTHER_MODEL) },
    {
      attack: "another model's manifest under its own path",
      code: "NOT_IN_TARGETS",
      bend: releasing({ ...OTHER_MODEL, model: "pump-rul" }),
    },
    { attack: "a release for everybody", code: "NOT_IN_TARGETS", bend: releasing(NEW) },
    { attack: "a release for another cohort", code: "NOT_IN_TARGETS", bend: releasing({ ...NEW, cohort: "line-4" }) },
  ]),
  ...stoppedBy<UpdateRow>("the device judges the signed selector by its own labels", [
    {
      attack: "its own release, to a device outside the cohort",
      code: "RELEASE_OUTSIDE_COHORT",
      bend: releasing(RETRAINED),
      otherLabels: OUTSIDE,
    },
    {
      attack: "its own release, to a device that has no labels",
      code: "RELEASE_OUTSIDE_COHORT",
      bend: releasing(RETRAINED),
      otherLabels: {},
    },
    {
      attack: "its own word that the cohort is everybody",
      code: "RELEASE_OUTSIDE_COHORT",
      bend: releasing(RETRAINED, { more: { delegations: delegations("!retired") } }),
      otherLabels: OUTSIDE,
    },
    {
      attack: "a delegation whose selector says nothing",
      code: "RELEASE_OUTSIDE_COHORT",
      bend: releasing(RETRAINED, { delegated: delegations(" ") }),
    },
  ]),
  ...stoppedBy<UpdateRow>("the offline targets withdraw by digest, and switch roles off", [
    {
      attack: "what the owners have withdrawn",
      code: "RELEASE_WITHDRAWN",
      bend: releasing(RETRAINED, { delegated: delegations("line=3", [RETRAINED.manifestDigest]) }),
    },
    {
      attack: "a role that the owners have switched off",
      code: "NOT_IN_TARGETS",
      bend: releasing(RETRAINED, { delegated: { keys: {}, roles: [] } }),
    },
  ]),
  ...stoppedBy<UpdateRow>("the delegation names the role's key, and its metadata expire", [
    {
      attack: "metadata of the role under every other online key",
      code: "METADATA_NOT_SIGNED",
      bend: releasing(RETRAINED, { by: [KEYS.snapshot, KEYS.timestamp, KEYS.director, KEYS.thief] }),
    },
    {
      attack: "metadata of the role that have expired",
      code: "METADATA_EXPIRED",
      bend: releasing(RETRAINED, { more: { expires: "2020-01-01T00:00:00Z" } }),
    },
  ]),
];

const honest = releasing(RETRAINED);
/** A thief with every online key: the unmodified role releases for its model and cohort, and that is installed. */
export const DELEGATION: readonly UpdateRow[] = ROWS.map((row) => ({
  ...row,
  honest,
  runs: RETRAINED,
  labels: INSIDE,
  // The role's file stays in every later snapshot, whatever became of the role.
  afterwards: { retrained: [2, sealed(retrainedBody(2, []), KEYS.retraining)] },
}));
