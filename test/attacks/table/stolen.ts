import type { KeyPair } from "@bellwether/protocol/trust/keys.ts";
import { testPackage, timesModel } from "../../kit/packages.ts";
import { FOREIGN, PATIENT } from "../../kit/releases.ts";
import {
  RETRAINING,
  releaseOf,
  retrainedBody,
  rootBody,
  sealed,
  type TestRelease,
  type TestRepository,
} from "../../kit/tuf.ts";
import { type Row, stoppedBy } from "./row.ts";

/** The thief's model: nobody has released it. */
export const EVIL = FOREIGN;
export const IN_COHORT: TestRelease = { ...EVIL, cohort: "line-3" };
export const OTHER_MODEL: TestRelease = {
  ...releaseOf(testPackage(timesModel(30), [30, 60, 90], { model: "fan-rul", ...PATIENT }), 3),
  cohort: "line-3",
};

/** Whoever holds a server's data directory, as its disk lay there. */
export interface Thief {
  /** An online key by the name of its file. */
  keyOf(name: string): KeyPair;
  /** Every private key that can be found anywhere on the disk. */
  everyKey(): readonly KeyPair[];
  /** The newest targets with the thief's model among them, and the signatures that the owners once made. */
  targetsWithEvil(version: number): object;
  ownersSignatures(): object;
  /** Signs a snapshot and a timestamp over forged files. */
  forge(
    repository: TestRepository,
    forged: { targets?: (version: number) => Buffer; retrained?: (version: number) => Buffer },
  ): void;
  /** A director document for the device, under the stolen key. */
  directed(...releases: TestRelease[]): Buffer;
}

export interface StolenRow extends Row {
  /** Who had to sign for the unmodified documents, which a device takes: the owners, or their retraining role. */
  readonly honest: "owners" | "role";
  readonly bend: (repository: TestRepository, thief: Thief) => Buffer;
  /** The attacked device's labels, where it is not of the cohort. */
  readonly labels?: Readonly<Record<string, string>>;
}

const retrained = (
  attack: string,
  code: string,
  release: TestRelease,
  labels?: StolenRow["labels"],
): Omit<StolenRow, "defence"> => ({
  attack,
  code,
  honest: "role",
  bend: (repository, { forge, keyOf, directed }) => {
    forge(repository, { retrained: (version) => sealed(retrainedBody(version, [release]), keyOf(RETRAINING)) });
    return directed(release);
  },
  ...(labels ? { labels } : {}),
});

export const STOLEN: readonly StolenRow[] = [
  ...stoppedBy<StolenRow>("what is released stands in the targets, whose keys and the root's are offline", [
    {
      attack: "a director that names what nobody released",
      code: "NOT_IN_TARGETS",
      honest: "owners",
      bend: (_, { directed }) => directed(EVIL),
    },
    {
      attack: "targets that release it, under every key of the server",
      code: "METADATA_NOT_SIGNED",
      honest: "owners",
      bend: (repository, { forge, targetsWithEvil, everyKey, directed }) => {
        forge(repository, { targets: (version) => sealed(targetsWithEvil(version), ...everyKey()) });
        return directed(EVIL);
      },
    },
    {
      attack: "targets that release it, under the owner's signature of others",
      code: "METADATA_NOT_SIGNED",
      honest: "owners",
      bend: (repository, { forge, targetsWithEvil, ownersSignatures, directed }) => {
        const forged = (version: number) => ({ signatures: ownersSignatures(), signed: targetsWithEvil(version) });
        forge(repository, { targets: (version) => Buffer.from(JSON.stringify(forged(version))) });
        return directed(EVIL);
      },
    },
    {
      attack: "a root that names the thief, under every key of the server",
      code: "METADATA_NOT_SIGNED",
      honest: "owners",
      bend: (repository, { everyKey, directed }) => {
        repository.metadata("2.root.json", sealed(rootBody(2), ...everyKey()));
        return directed(EVIL);
      },
    },
  ]),
  ...stoppedBy<StolenRow>("the owners' delegation names the role's key, model and cohort", [
    retrained("a retraining role that releases for everybody", "NOT_IN_TARGETS", EVIL),
    retrained("a retraining role that releases another model", "NOT_IN_TARGETS", OTHER_MODEL),
    retrained("a retraining role that releases to a device outside its cohort", "RELEASE_OUTSIDE_COHORT", IN_COHORT, {
      line: "4",
    }),
    {
      attack: "a retraining role's file under every other key of the server",
      code: "METADATA_NOT_SIGNED",
      honest: "role",
      bend: (repository, { forge, keyOf, everyKey, directed }) => {
        const own = Buffer.from(keyOf(RETRAINING).publicKey);
        const others = everyKey().filter(({ publicKey }) => !own.equals(publicKey));
        forge(repository, { retrained: (version) => sealed(retrainedBody(version, [IN_COHORT]), ...others) });
        return directed(IN_COHORT);
      },
    },
  ]),
];
