import { gzipSync } from "node:zlib";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import {
  directorBytes,
  KEYS,
  releaseOf,
  sealed,
  snapshotBody,
  targetsBody,
  timestampBody,
  type Versioned,
} from "../kit/tuf.ts";
import { type Attack, BOTH, confirmed, endless, FOREIGN, NEW, OLD, startRepository, victims } from "../kit/victims.ts";

const { targets: TARGETS, snapshot: SNAPSHOT, timestamp: TIMESTAMP, thief: THIEF } = KEYS;
const honestTargets = (number: number): Versioned => [number, sealed(targetsBody(number, BOTH), TARGETS)];
const { attacked, expectUnharmed, expectRecovery, start } = victims();

const LONG = { timeout: 300_000 };

test.each(["timestamp.json", "2.root.json", "3.snapshot.json", "3.targets.json"])(
  "transport: a %s that never ends is cut off",
  LONG,
  async (name) => {
    const repository = await startRepository();
    let sent = { bytes: 0 };
    const victim = await attacked(repository, () => {
      // Whoever has stolen the online keys may vouch for any length.
      const named = { version: 3, length: 1e15 };
      const targets = honestTargets(3);
      const vast = { ...snapshotBody(3, targets), meta: { "targets.json": named } };
      const honest = snapshotBody(3, targets);
      const snapshot: Versioned = [3, sealed(name === "3.targets.json" ? vast : honest, SNAPSHOT)];
      const timestamp = { ...timestampBody(3, snapshot), meta: { "snapshot.json": named } };
      const bent = name === "3.snapshot.json" ? { timestamp: sealed(timestamp, TIMESTAMP) } : {};
      repository.publish(3, BOTH, { targets, snapshot, ...bent });
      sent = endless(repository, `repository/metadata/${name}`);
    });
    expect(victim.refusal).toMatchObject({ code: "METADATA_TOO_LONG" });
    expect(victim.refusal.message).toMatch(/longer than (32768|1048576) bytes/);
    expect(sent.bytes).toBeLessThan(32 * 1_048_576);
    await expectUnharmed(victim);
    await expectRecovery(victim, repository);
  },
);

test("transport: a timestamp that unpacks without end is cut off", LONG, async () => {
  const repository = await startRepository();
  let sent = { bytes: 0 };
  const victim = await attacked(repository, () => {
    repository.publish(3, BOTH);
    // Members of a gzip file may follow each other: the same megabyte again and again.
    const megabyte = gzipSync(Buffer.alloc(1_048_576));
    sent = endless(repository, "repository/metadata/timestamp.json", { "content-encoding": "gzip" }, megabyte);
  });
  expect(victim.refusal.message).toMatch(/longer than 32768 bytes/);
  expect(sent.bytes).toBeLessThan(32 * 1_048_576);
  await expectUnharmed(victim);
  await expectRecovery(victim, repository);
});

test("transport: a body that drips is given up, and asked for again when nobody drips", {
  timeout: 300_000,
}, async () => {
  const repository = await startRepository();
  let open = 0;
  const victim = await attacked(repository, () => {
    repository.publish(3, BOTH);
    repository.answers.set("repository/metadata/timestamp.json", (_, response) => {
      response.writeHead(200);
      open++;
      const drip = setInterval(() => response.write(" "), 50);
      response.on("close", () => {
        open--;
        clearInterval(drip);
      });
    });
  });
  expect(victim.refusal).toMatchObject({ code: "METADATA_UNREACHABLE", message: expect.stringMatching(/timeout/i) });
  await eventually("nothing hangs about", () => open === 0);
  await expectUnharmed(victim);
  // The device hears nothing new: by itself it judges once more what it could not judge.
  repository.answers.clear();
  await confirmed(victim.device, NEW);
});

test.each(["repository/metadata/timestamp.json", `blobs/${NEW.manifestDigest}`])(
  "transport: a redirect of %s is not followed, and passes",
  LONG,
  async (path) => {
    const repository = await startRepository();
    const elsewhere = await startRepository();
    const victim = await attacked(repository, () => {
      for (const one of [repository, elsewhere]) one.publish(3, BOTH);
      repository.answers.set(path, (_, response) => {
        response.writeHead(302, { location: `${elsewhere.url}/v1/${path}` }).end();
      });
    });
    expect(victim.refusal.code).toBe(path.startsWith("blobs/") ? "DOWNLOAD_FAILED" : "METADATA_UNREACHABLE");
    expect(victim.refusal.message).toMatch(/redirect/);
    expect(elsewhere.asked).toEqual([]);
    await expectUnharmed(victim);
    // A portal that wants a password answers so, too: it is tried again.
    repository.answers.clear();
    await confirmed(victim.device, NEW);
  },
);

const directorAttacks: Record<string, [code: string, Attack]> = {
  "for another device": ["DIRECTOR_WRONG_DEVICE", () => directorBytes(3, [NEW], { device: "edge-2" })],
  "signed by a key that the owners do not name": [
    "ENVELOPE_UNKNOWN_KEY",
    () => directorBytes(3, [NEW], { key: THIEF }),
  ],
  "changed after it was signed": [
    "ENVELOPE_SIGNATURE_INVALID",
    () => {
      const envelope = JSON.parse(directorBytes(3, [OLD]).toString("utf8")) as { payload: string };
      const other = JSON.parse(directorBytes(3, [NEW]).toString("utf8")) as { payload: string };
      return Buffer.from(JSON.stringify({ ...envelope, payload: other.payload }));
    },
  ],
  "older than one that was taken": ["DIRECTOR_ROLLBACK", () => directorBytes(1, [NEW])],
  expired: ["DIRECTOR_EXPIRED", () => directorBytes(3, [NEW], { issuedAtMs: Date.now() - 7_200_000 })],
  "that is no document": ["INVALID_JSON", () => Buffer.from("{")],
  "that names what nobody released": ["NOT_IN_TARGETS", () => directorBytes(3, [FOREIGN])],
  "that names a release with another manifest": [
    "NOT_IN_TARGETS",
    () => directorBytes(3, [NEW], { model: { manifestDigest: FOREIGN.manifestDigest } }),
  ],
  "that names a release with another length": [
    "NOT_IN_TARGETS",
    () => directorBytes(3, [NEW], { model: { manifestLength: 99 } }),
  ],
  "that names a release by an older counter": [
    "NOT_IN_TARGETS",
    () => directorBytes(3, [NEW], { model: { releaseCounter: 1 } }),
  ],
  "that names a release which was withdrawn": ["NOT_IN_TARGETS", (repository) => repository.publish(4, [OLD])],
  "under a key that the owners have taken away": [
    "ENVELOPE_UNKNOWN_KEY",
    (repository) => repository.publish(4, BOTH, { targets: [4, sealed(targetsBody(4, BOTH, THIEF), TARGETS)] }),
  ],
};

test.each(Object.entries(directorAttacks))("director: a document %s", LONG, async (_, [code, attack]) => {
  const repository = await startRepository();
  repository.publish(3, BOTH);
  const victim = await attacked(repository, attack);
  expect(victim.refusal.code).toBe(code);
  expect(repository.asked.filter((path) => path.startsWith("blobs/"))).toEqual([]);
  await expectUnharmed(victim);
  await expectRecovery(victim, repository);
});

test("a release that no director asked for is not fetched", LONG, async () => {
  const repository = await startRepository();
  repository.publish(3, BOTH);
  const victim = await start(repository);
  victim.device.updater.onDesired(directorBytes(3, [OLD]));
  await eventually("the document is taken", () => victim.device.reported().directorVersion === 3, 60_000);
  expect(repository.asked.filter((path) => path.startsWith("blobs/"))).toEqual([]);
  await expectUnharmed(victim);
});

const MODEL_BLOB = NEW.blobs.reduce((longest, blob) => (blob.byteLength > longest.byteLength ? blob : longest));
const GOLDEN_BLOB = testPackage(timesModel(20), [20, 40, 60]).files.golden;
const blobPath = (blob: Uint8Array) => `blobs/${digestOf(blob)}`;
const flipped = (blob: Uint8Array) => {
  const bytes = Buffer.from(blob);
  bytes[bytes.length >> 1]! ^= 1;
  return bytes;
};
const oddManifest = (changes: Parameters<typeof testPackage>[2], version = 2) =>
  releaseOf(testPackage(timesModel(20), [20, 40, 60], changes), version);

const blobAttacks: Record<string, [code: string, Attack]> = {
  "a manifest with a bit flipped": [
    "DIGEST_MISMATCH",
    (repository) => repository.files.set(blobPath(NEW.manifest), flipped(NEW.manifest)),
  ],
  "a model with a bit flipped": [
    "DIGEST_MISMATCH",
    (repository) => repository.files.set(blobPath(MODEL_BLOB), flipped(MODEL_BLOB)),
  ],
  "another release's golden vectors": [
    "DIGEST_MISMATCH",
    (repository) => repository.files.set(blobPath(GOLDEN_BLOB), Buffer.alloc(GOLDEN_BLOB.byteLength)),
  ],
  "a model with something appended": [
    "DOWNLOAD_TOO_LONG",
    (repository) => repository.files.set(blobPath(MODEL_BLOB), Buffer.concat([MODEL_BLOB, Buffer.of(0)])),
  ],
  "a model that is too short": [
    "DOWNLOAD_FAILED",
    (repository) => repository.files.set(blobPath(MODEL_BLOB), Buffer.from(MODEL_BLOB.subarray(1))),
  ],
  "a model that never ends": ["DOWNLOAD_TOO_LONG", (repository) => endless(repository, blobPath(MODEL_BLOB))],
  "a package for other hardware": [
    "MODEL_WRONG_ARCHITECTURE",
    (repository) => {
      const architectures = [process.arch === "x64" ? "arm64" : "x64"] as const;
      const release = oddManifest({
        compatibility: { opset: 17, executionProviders: ["cpu"], architectures: [...architectures] },
      });
      repository.publish(3, [OLD, release]);
      return directorBytes(3, [release]);
    },
  ],
  "a manifest that speaks of another version": [
    "NOT_IN_TARGETS",
    (repository) => {
      const release = { ...oddManifest({}, 7), version: 2 };
      repository.publish(3, [OLD, release]);
      return directorBytes(3, [release]);
    },
  ],
  "a manifest that speaks of another model": [
    "NOT_IN_TARGETS",
    (repository) => {
      const release = { ...oddManifest({ model: "fan-rul" }), model: "pump-rul" };
      repository.publish(3, [OLD, release]);
      return directorBytes(3, [release]);
    },
  ],
};

test.each(Object.entries(blobAttacks))("blobs: %s", LONG, async (_, [code, attack]) => {
  const repository = await startRepository();
  repository.publish(3, BOTH);
  const victim = await attacked(repository, attack);
  expect(victim.refusal.code).toBe(code);
  await expectUnharmed(victim);
  await expectRecovery(victim, repository);
});
