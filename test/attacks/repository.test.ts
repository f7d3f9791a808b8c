import { expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
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
} from "../kit/tuf.ts";
import { type Attack, BOTH, confirmed, FOREIGN, NEW, OLD, startRepository, victims } from "../kit/victims.ts";

const { targets: TARGETS, snapshot: SNAPSHOT, timestamp: TIMESTAMP, thief: THIEF } = KEYS;
const [ROOT_1, ROOT_2] = KEYS.root;
const EXPIRED = { expires: "2020-01-01T00:00:00Z" };
const { attacked, expectUnharmed, expectRecovery, start } = victims();

const honestTargets = (number: number): Versioned => [number, sealed(targetsBody(number, BOTH), TARGETS)];
const honestSnapshot = (number: number): Versioned => [
  number,
  sealed(snapshotBody(number, honestTargets(number)), SNAPSHOT),
];
const editionOne: Versioned = [1, sealed(targetsBody(1, [OLD]), TARGETS)];

/** A root whose roles have another key than before. */
function rotatedRoot(version: number, changes: Partial<Record<"timestamp" | "snapshot", typeof THIEF>>): Buffer {
  const { keys, roles, ...root } = rootBody(version);
  const pairs = Object.entries(changes);
  const newKeys = Object.fromEntries(pairs.map(([, pair]) => [tufKeyId(pair), tufKey(pair)]));
  const newRoles = Object.fromEntries(pairs.map(([role, pair]) => [role, { keyids: [tufKeyId(pair)], threshold: 1 }]));
  return sealed({ ...root, keys: { ...keys, ...newKeys }, roles: { ...roles, ...newRoles } }, ROOT_1, ROOT_2);
}

const ATTACKS: Record<string, [code: string, reason: RegExp, Attack]> = {
  "an older timestamp": [
    "METADATA_ROLLBACK",
    /New timestamp version 1 is less than current version 2/,
    (repository) => repository.publish(1, BOTH),
  ],
  "an older snapshot under a newer timestamp": [
    "METADATA_ROLLBACK",
    /New snapshot version 1 is less than current version 2/,
    (repository) => {
      const snapshot: Versioned = [1, sealed(snapshotBody(1, honestTargets(3)), SNAPSHOT)];
      repository.publish(3, BOTH, { snapshot });
    },
  ],
  "older targets under a newer snapshot": [
    "METADATA_ROLLBACK",
    /New version 1 of targets.json is less than current version 2/,
    (repository) => repository.publish(3, BOTH, { targets: editionOne }),
  ],
  "a snapshot that has lost the targets": [
    "METADATA_MIXED",
    /Missing file targets.json/,
    (repository) => {
      const body = { ...snapshotBody(3, honestTargets(3)), meta: { "other.json": { version: 1 } } };
      repository.publish(3, BOTH, { snapshot: [3, sealed(body, SNAPSHOT)] });
    },
  ],
  "an expired timestamp": [
    "METADATA_EXPIRED",
    /timestamp.json is expired/,
    (repository) => {
      repository.publish(3, BOTH, {
        timestamp: sealed({ ...timestampBody(3, honestSnapshot(3)), ...EXPIRED }, TIMESTAMP),
      });
    },
  ],
  "an expired snapshot": [
    "METADATA_EXPIRED",
    /snapshot.json is expired/,
    (repository) => {
      const body = { ...snapshotBody(3, honestTargets(3)), ...EXPIRED };
      repository.publish(3, BOTH, { snapshot: [3, sealed(body, SNAPSHOT)] });
    },
  ],
  "expired targets": [
    "METADATA_EXPIRED",
    /targets.json is expired/,
    (repository) =>
      repository.publish(3, BOTH, { targets: [3, sealed({ ...targetsBody(3, BOTH), ...EXPIRED }, TARGETS)] }),
  ],
  "an expired root": [
    "METADATA_EXPIRED",
    /root.json is expired/,
    (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("2.root.json", sealed({ ...rootBody(2), ...EXPIRED }, ROOT_1, ROOT_2));
    },
  ],
  "the last edition's snapshot served as the new one (mix and match)": [
    "METADATA_MIXED",
    /snapshot/i,
    (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("3.snapshot.json", sealed(snapshotBody(2, [2, editionOne[1]]), SNAPSHOT));
    },
  ],
  "the last edition's targets served as the new ones (mix and match)": [
    "METADATA_MIXED",
    /targets/i,
    (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("3.targets.json", editionOne[1]);
    },
  ],
  "a timestamp that vouches for a snapshot of another version": [
    "METADATA_MIXED",
    /Snapshot version doesn't match timestamp/,
    (repository) => {
      const older = sealed(snapshotBody(2, honestTargets(2)), SNAPSHOT);
      repository.publish(3, BOTH, { snapshot: [3, older] });
    },
  ],
  "targets of another version than the snapshot says": [
    "METADATA_MIXED",
    /Version 2 of targets does not match snapshot version 3/,
    (repository) => repository.publish(3, BOTH, { targets: [3, sealed(targetsBody(2, BOTH), TARGETS)] }),
  ],
  "a timestamp signed by a thief": [
    "METADATA_NOT_SIGNED",
    /timestamp was signed by 0\/1 keys/,
    (repository) => {
      repository.publish(3, BOTH, { timestamp: sealed(timestampBody(3, honestSnapshot(3)), THIEF) });
    },
  ],
  "a snapshot signed by a thief": [
    "METADATA_NOT_SIGNED",
    /snapshot was signed by 0\/1 keys/,
    (repository) => repository.publish(3, BOTH, { snapshot: [3, sealed(snapshotBody(3, honestTargets(3)), THIEF)] }),
  ],
  "targets signed by a thief who has every online key": [
    "METADATA_NOT_SIGNED",
    /targets was signed by 0\/1 keys/,
    (repository) => {
      const releases = [OLD, FOREIGN];
      repository.publish(3, releases, { targets: [3, sealed(targetsBody(3, releases), THIEF, SNAPSHOT, TIMESTAMP)] });
      return directorBytes(3, [FOREIGN]);
    },
  ],
  "targets signed by a thief in the name of the right key": [
    "METADATA_NOT_SIGNED",
    /targets was signed by 0\/1 keys/,
    (repository) => {
      const signed = targetsBody(3, BOTH);
      const signatures = [tufSignature(signed, THIEF, tufKeyId(TARGETS))];
      repository.publish(3, BOTH, { targets: [3, Buffer.from(JSON.stringify({ signatures, signed }))] });
    },
  ],
  "targets changed after they were signed": [
    "METADATA_NOT_SIGNED",
    /targets was signed by 0\/1 keys/,
    (repository) => {
      const [version, bytes] = honestTargets(3);
      const changed = Buffer.from(bytes.toString("utf8").replace(`"releaseCounter":2`, `"releaseCounter":3`));
      repository.publish(3, BOTH, { targets: [version, changed] });
    },
  ],
  "a root that a thief made": [
    "METADATA_NOT_SIGNED",
    /root was signed by 0\/2 keys/,
    (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("2.root.json", sealed(rootBody(2), THIEF));
    },
  ],
  "a root below its threshold": [
    "METADATA_NOT_SIGNED",
    /root was signed by 1\/2 keys/,
    (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("2.root.json", sealed(rootBody(2), ROOT_1, THIEF));
    },
  ],
  "a root signed twice by one key": [
    "METADATA_KEY_COUNTED_TWICE",
    /multiple signatures/i,
    (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("2.root.json", sealed(rootBody(2), ROOT_1, ROOT_1));
    },
  ],
  "a root that skips a version": [
    "METADATA_ROOT_SKIPPED",
    /Expected version 2, got 3/,
    (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("2.root.json", sealed(rootBody(3), ROOT_1, ROOT_2));
    },
  ],
  "the first root served as the second": [
    "METADATA_ROOT_SKIPPED",
    /Expected version 2, got 1/,
    (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("2.root.json", sealed(rootBody(1), ROOT_1, ROOT_2));
    },
  ],
  "a key of the timestamp role that a newer root has taken away": [
    "METADATA_NOT_SIGNED",
    /timestamp was signed by 0\/1 keys/,
    (repository) => {
      repository.publish(3, BOTH);
      repository.metadata("2.root.json", rotatedRoot(2, { timestamp: THIEF }));
    },
  ],
  "one key under two names, where two keys must sign": [
    "METADATA_KEY_COUNTED_TWICE",
    /the key [0-9a-f]{64} has two names/,
    (repository) => {
      const root = rootBody(2);
      const alias = "ab".repeat(32);
      const roles = { ...root.roles, timestamp: { keyids: [tufKeyId(TIMESTAMP), alias], threshold: 2 } };
      const keys = { ...root.keys, [alias]: root.keys[tufKeyId(TIMESTAMP)] };
      repository.metadata("2.root.json", sealed({ ...root, roles, keys }, ROOT_1, ROOT_2));
      const signed = timestampBody(3, honestSnapshot(3));
      const signatures = [tufSignature(signed, TIMESTAMP), tufSignature(signed, TIMESTAMP, alias)];
      repository.publish(3, BOTH, { timestamp: Buffer.from(JSON.stringify({ signatures, signed })) });
    },
  ],
  "a timestamp that is not JSON": [
    "METADATA_UNREADABLE",
    /JSON/,
    (repository) => repository.publish(3, BOTH, { timestamp: Buffer.from("[".repeat(30_000)) }),
  ],
  "a root of 344 KB that nobody signed, slow to parse": [
    "METADATA_TOO_LONG",
    /longer than 32768 bytes/,
    (repository) => {
      repository.publish(3, BOTH);
      const key = (i: number) => [`${i}`, { keytype: "ed25519", scheme: "ed25519", keyval: { public: `${i}` } }];
      const keys = Object.fromEntries(Array.from({ length: 4_200 }, (_, i) => key(i))) as object;
      repository.metadata("2.root.json", sealed({ ...rootBody(2), keys }));
    },
  ],
};

test.each(Object.entries(ATTACKS))("%s", { timeout: 180_000 }, async (_, [code, reason, attack]) => {
  const repository = await startRepository();
  const victim = await attacked(repository, attack);
  expect(victim.refusal.code).toBe(code);
  expect(victim.refusal.message).toMatch(reason);
  await expectUnharmed(victim);
  await expectRecovery(victim, repository);
});

test("numbers run up by whoever stole the online keys stop counting once the root names others", {
  timeout: 180_000,
}, async () => {
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
});

test("with a clock at 1970, a frozen repository is judged by the latest time that was signed", {
  timeout: 120_000,
}, async () => {
  const repository = await startRepository();
  const [, reason, freeze] = ATTACKS["an expired timestamp"]!;
  const victim = await attacked(repository, freeze, { now: () => 0 });
  expect(victim.refusal.message).toMatch(reason);
  await expectUnharmed(victim);
});
