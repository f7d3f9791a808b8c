import { BOTH, FOREIGN, OLD } from "../../kit/releases.ts";
import {
  directorBytes,
  KEYS,
  rootBody,
  sealed,
  snapshotBody,
  targetsBody,
  timestampBody,
  tufKey,
  tufKeyId,
  tufSignature,
  type Versioned,
} from "../../kit/tuf.ts";
import { type Bend, stoppedBy, type UpdateRow } from "./row.ts";

const { targets: TARGETS, snapshot: SNAPSHOT, timestamp: TIMESTAMP, thief: THIEF } = KEYS;
const [ROOT_1, ROOT_2] = KEYS.root;
const EXPIRED = { expires: "2020-01-01T00:00:00Z" };

export const honestTargets = (number: number): Versioned => [number, sealed(targetsBody(number, BOTH), TARGETS)];
const honestSnapshot = (number: number): Versioned => [
  number,
  sealed(snapshotBody(number, honestTargets(number)), SNAPSHOT),
];
const editionOne: Versioned = [1, sealed(targetsBody(1, [OLD]), TARGETS)];

/** A root whose roles have another key than before. */
export function rotatedRoot(version: number, changes: Partial<Record<"timestamp" | "snapshot", typeof THIEF>>): Buffer {
  const { keys, roles, ...root } = rootBody(version);
  const pairs = Object.entries(changes);
  const newKeys = Object.fromEntries(pairs.map(([, pair]) => [tufKeyId(pair), tufKey(pair)]));
  const newRoles = Object.fromEntries(pairs.map(([role, pair]) => [role, { keyids: [tufKeyId(pair)], threshold: 1 }]));
  return sealed({ ...root, keys: { ...keys, ...newKeys }, roles: { ...roles, ...newRoles } }, ROOT_1, ROOT_2);
}

/** Edition 3, and this as the second root. */
const secondRoot =
  (bytes: Buffer): Bend =>
  (repository) => {
    repository.publish(3, BOTH);
    repository.metadata("2.root.json", bytes);
  };
const honest = secondRoot(sealed(rootBody(2), ROOT_1, ROOT_2));

/** A second root in which two keys must sign timestamps, and edition 3 with a timestamp that they signed. */
const twoTimestampKeys =
  (second: typeof TIMESTAMP, name: string): Bend =>
  (repository) => {
    const root = rootBody(2);
    const roles = { ...root.roles, timestamp: { keyids: [tufKeyId(TIMESTAMP), name], threshold: 2 } };
    const keys = { ...root.keys, [name]: tufKey(second) };
    repository.metadata("2.root.json", sealed({ ...root, roles, keys }, ROOT_1, ROOT_2));
    const signed = timestampBody(3, honestSnapshot(3));
    const signatures = [tufSignature(signed, TIMESTAMP), tufSignature(signed, second, name)];
    repository.publish(3, BOTH, { timestamp: Buffer.from(JSON.stringify({ signatures, signed })) });
  };

const ROLLBACK = stoppedBy<UpdateRow>("versions of every metadata file only grow", [
  {
    attack: "an older timestamp",
    code: "METADATA_ROLLBACK",
    reason: /New timestamp version 1 is less than current version 2/,
    bend: (repository) => repository.publish(1, BOTH),
  },
  {
    attack: "an older snapshot under a newer timestamp",
    code: "METADATA_ROLLBACK",
    reason: /New snapshot version 1 is less than current version 2/,
    bend: (repository) => {
      const snapshot: Versioned = [1, sealed(snapshotBody(1, honestTargets(3)), SNAPSHOT)];
      repository.publish(3, BOTH, { snapshot });
    },
  },
  {
    attack: "older targets under a newer snapshot",
    code: "METADATA_ROLLBACK",
    reason: /New version 1 of targets.json is less than current version 2/,
    bend: (repository) => repository.publish(3, BOTH, { targets: editionOne }),
  },
  {
    attack: "a root that skips a version",
    code: "METADATA_ROOT_SKIPPED",
    reason: /Expected version 2, got 3/,
    honest,
    bend: secondRoot(sealed(rootBody(3), ROOT_1, ROOT_2)),
  },
  {
    attack: "the first root served as the second",
    code: "METADATA_ROOT_SKIPPED",
    reason: /Expected version 2, got 1/,
    honest,
    bend: secondRoot(sealed(rootBody(1), ROOT_1, ROOT_2)),
  },
]);

const expiredTimestamp: Bend = (repository) =>
  repository.publish(3, BOTH, {
    timestamp: sealed({ ...timestampBody(3, honestSnapshot(3)), ...EXPIRED }, TIMESTAMP),
  });

const WITHHELD = stoppedBy<UpdateRow>(
  "a director's document alone installs nothing: the images' metadata must name it",
  [
    {
      attack: "a server that says for ever that the device's timestamp is the newest",
      code: "NOT_IN_TARGETS",
      bend: (repository) => {
        repository.publish(3, BOTH);
        repository.answers.set("repository/metadata/timestamp.json", (_, response) => response.writeHead(304).end());
      },
    },
  ],
);

const FREEZE = stoppedBy<UpdateRow>("every metadata file expires, by the later of the clock and what was signed last", [
  {
    attack: "an expired timestamp",
    code: "METADATA_EXPIRED",
    reason: /timestamp.json is expired/,
    bend: expiredTimestamp,
  },
  {
    attack: "a frozen repository, before a device whose clock is at 1970",
    code: "METADATA_EXPIRED",
    reason: /timestamp.json is expired/,
    bend: expiredTimestamp,
    nowMs: 0,
  },
  {
    attack: "an expired snapshot",
    code: "METADATA_EXPIRED",
    reason: /snapshot.json is expired/,
    bend: (repository) => {
      const body = { ...snapshotBody(3, honestTargets(3)), ...EXPIRED };
      repository.publish(3, BOTH, { snapshot: [3, sealed(body, SNAPSHOT)] });
    },
  },
  {
    attack: "expired targets",
    code: "METADATA_EXPIRED",
    reason: /targets.json is expired/,
    bend: (repository) =>
      repository.publish(3, BOTH, { targets: [3, sealed({ ...targetsBody(3, BOTH), ...EXPIRED }, TARGETS)] }),
  },
  {
    attack: "an expired root",
    code: "METADATA_EXPIRED",
    reason: /root.json is expired/,
    honest,
    bend: secondRoot(sealed({ ...rootBody(2), ...EXPIRED }, ROOT_1, ROOT_2)),
  },
]);

const MIXED = stoppedBy<UpdateRow>("each file names the version, length and hash of the next", [
  {
    attack: "a snapshot that has lost the targets",
    code: "METADATA_MIXED",
    reason: /Missing file targets.json/,
    bend: (repository) => {
      const body = { ...snapshotBody(3, honestTargets(3)), meta: { "other.json": { version: 1 } } };
      repository.publish(3, BOTH, { snapshot: [3, sealed(body, SNAPSHOT)] });
    },
  },
  {
    attack: "the last edition's snapshot served as the new one (mix and match)",
    code: "METADATA_MIXED",
    reason: /snapshot/i,
    bend: (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("3.snapshot.json", sealed(snapshotBody(2, [2, editionOne[1]]), SNAPSHOT));
    },
  },
  {
    attack: "the last edition's targets served as the new ones (mix and match)",
    code: "METADATA_MIXED",
    reason: /targets/i,
    bend: (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("3.targets.json", editionOne[1]);
    },
  },
  {
    attack: "a timestamp that vouches for a snapshot of another version",
    code: "METADATA_MIXED",
    reason: /Snapshot version doesn't match timestamp/,
    bend: (repository) => {
      const older = sealed(snapshotBody(2, honestTargets(2)), SNAPSHOT);
      repository.publish(3, BOTH, { snapshot: [3, older] });
    },
  },
  {
    attack: "targets of another version than the snapshot says",
    code: "METADATA_MIXED",
    reason: /Version 2 of targets does not match snapshot version 3/,
    bend: (repository) => repository.publish(3, BOTH, { targets: [3, sealed(targetsBody(2, BOTH), TARGETS)] }),
  },
]);

/** The owners release the third model, and the director asks for it. */
const released: Bend = (repository) => {
  repository.publish(3, [OLD, FOREIGN]);
  return directorBytes(3, [FOREIGN]);
};

const SIGNATURES = stoppedBy<UpdateRow>("the root names whose signatures count for each file, and how many", [
  {
    attack: "a timestamp signed by a thief",
    code: "METADATA_NOT_SIGNED",
    reason: /timestamp was signed by 0\/1 keys/,
    bend: (repository) =>
      repository.publish(3, BOTH, { timestamp: sealed(timestampBody(3, honestSnapshot(3)), THIEF) }),
  },
  {
    attack: "a snapshot signed by a thief",
    code: "METADATA_NOT_SIGNED",
    reason: /snapshot was signed by 0\/1 keys/,
    bend: (repository) =>
      repository.publish(3, BOTH, { snapshot: [3, sealed(snapshotBody(3, honestTargets(3)), THIEF)] }),
  },
  {
    attack: "targets signed by a thief who has every online key",
    code: "METADATA_NOT_SIGNED",
    reason: /targets was signed by 0\/1 keys/,
    honest: released,
    runs: FOREIGN,
    bend: (repository) => {
      const releases = [OLD, FOREIGN];
      repository.publish(3, releases, { targets: [3, sealed(targetsBody(3, releases), THIEF, SNAPSHOT, TIMESTAMP)] });
      return directorBytes(3, [FOREIGN]);
    },
  },
  {
    attack: "targets signed by a thief in the name of the right key",
    code: "METADATA_NOT_SIGNED",
    reason: /targets was signed by 0\/1 keys/,
    bend: (repository) => {
      const signed = targetsBody(3, BOTH);
      const signatures = [tufSignature(signed, THIEF, tufKeyId(TARGETS))];
      repository.publish(3, BOTH, { targets: [3, Buffer.from(JSON.stringify({ signatures, signed }))] });
    },
  },
  {
    attack: "targets changed after they were signed",
    code: "METADATA_NOT_SIGNED",
    reason: /targets was signed by 0\/1 keys/,
    bend: (repository) => {
      const [version, bytes] = honestTargets(3);
      const changed = Buffer.from(bytes.toString("utf8").replace(`"releaseCounter":2`, `"releaseCounter":3`));
      repository.publish(3, BOTH, { targets: [version, changed] });
    },
  },
  {
    attack: "a root that a thief made",
    code: "METADATA_NOT_SIGNED",
    reason: /root was signed by 0\/2 keys/,
    honest,
    bend: secondRoot(sealed(rootBody(2), THIEF)),
  },
  {
    attack: "a root below its threshold",
    code: "METADATA_NOT_SIGNED",
    reason: /root was signed by 1\/2 keys/,
    honest,
    bend: secondRoot(sealed(rootBody(2), ROOT_1, THIEF)),
  },
  {
    attack: "a root signed twice by one key",
    code: "METADATA_KEY_COUNTED_TWICE",
    reason: /multiple signatures/i,
    honest,
    bend: secondRoot(sealed(rootBody(2), ROOT_1, ROOT_1)),
  },
  {
    attack: "one key under two names, where two keys must sign",
    code: "METADATA_KEY_COUNTED_TWICE",
    reason: /the key [0-9a-f]{64} has two names/,
    honest: twoTimestampKeys(SNAPSHOT, tufKeyId(SNAPSHOT)),
    bend: twoTimestampKeys(TIMESTAMP, "ab".repeat(32)),
  },
  {
    attack: "a key of the timestamp role that a newer root has taken away",
    code: "METADATA_NOT_SIGNED",
    reason: /timestamp was signed by 0\/1 keys/,
    honest,
    bend: secondRoot(rotatedRoot(2, { timestamp: THIEF })),
  },
]);

export const METADATA: readonly UpdateRow[] = [...ROLLBACK, ...WITHHELD, ...FREEZE, ...MIXED, ...SIGNATURES];
