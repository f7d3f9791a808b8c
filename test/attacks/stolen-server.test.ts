import { randomBytes } from "node:crypto";
import { cpSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { type KeyPair, keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import type { TargetsChange } from "../../fleet-server/src/registry/release-request.ts";
import { startBellwether } from "../kit/bellwether.ts";
import { eventually } from "../kit/eventually.ts";
import { suiteFolder, temporaryFolder } from "../kit/folder.ts";
import { signedFor } from "../kit/owner.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import { asOwner, releaseVersion, uploadTo } from "../kit/release.ts";
import {
  directorBytes,
  RETRAINING,
  retrainedBody,
  sealed,
  snapshotBody,
  type TestRelease,
  TestRepository,
  timestampBody,
} from "../kit/tuf.ts";
import { copyOf, slotFiles, startUpdates, type TestDevice } from "../kit/updates.ts";
import { confirmed, OLD, PATIENT } from "../kit/victims.ts";
import { named } from "./table/row.ts";
import { EVIL, IN_COHORT, OTHER_MODEL, STOLEN, type StolenRow, type Thief } from "./table/stolen.ts";

const LONG = { timeout: 240_000 };
const INSIDE = { line: "3" };
const folder = suiteFolder("bellwether-stolen-");
/** The data directory of a server, as it lay on a stolen disk; nothing of the owners' folder is with it. */
const stolen = join(folder, "stolen");
const device = join(folder, "edge-1");
// biome-ignore lint/suspicious/noExplicitAny: metadata of any role
const metadata = (name: string): any =>
  JSON.parse(readFileSync(join(stolen, "repository/metadata", name), "utf8")).signed;
const keyOf = (name: string) =>
  keyPairOf(Buffer.from(readFileSync(join(stolen, "repository/keys", `${name}.key`), "utf8").trim(), "hex"));

beforeAll(async () => {
  const dir = join(folder, "server");
  const fleet = await startBellwether({ dir, until: "caller" });
  const { version, manifestDigest } = await uploadTo(fleet, testPackage(timesModel(10), [10, 20, 30], PATIENT));
  expect([version, manifestDigest]).toEqual([1, OLD.manifestDigest]);
  await releaseVersion(fleet, "pump-rul", 1);
  await fleet.call("PUT /v1/cohorts/line-3", { selector: "line=3" });
  await asOwner(fleet, "delegations", "grant", "pump-rul", "line-3");
  await fleet.stop();
  cpSync(dir, stolen, { recursive: true });
  // Every device runs what the owners released, before the theft.
  const repository = await TestRepository.start();
  serve(repository);
  const running = await startDevice(repository, device, INSIDE);
  running.updater.onDesired(directorBytes(1, [OLD], { key: keyOf("director") }));
  await confirmed(running, OLD);
  await running.close();
  repository.close();
});

function startDevice(repository: TestRepository, stateDir: string, labels: Readonly<Record<string, string>>) {
  const rootMetadata = readFileSync(join(stolen, "repository/metadata/1.root.json"), "utf8");
  return startUpdates({ stateDir, serverUrl: repository.url, labels, rootMetadata });
}

/** What the stolen server serves: everything it has, and the blobs of good and evil models. */
function serve(repository: TestRepository): void {
  const dir = join(stolen, "repository/metadata");
  for (const name of readdirSync(dir)) repository.metadata(name, readFileSync(join(dir, name)));
  for (const { manifest, blobs, manifestDigest } of [OLD, EVIL, OTHER_MODEL]) {
    repository.files.set(`blobs/${manifestDigest}`, manifest);
    for (const blob of blobs) repository.files.set(`blobs/${digestOf(blob)}`, Buffer.from(blob));
  }
}

/** Every private key that can be found anywhere on the disk. */
function everyKey(): KeyPair[] {
  const files = readdirSync(stolen, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const hex = files.flatMap((entry) => {
    const text = readFileSync(join(entry.parentPath, entry.name), "latin1");
    return text.length > 1_000_000 ? [] : [...text.matchAll(/\b[0-9a-f]{64}\b/g)].map(([found]) => found);
  });
  return [...new Set(hex)].map((seed) => keyPairOf(Buffer.from(seed, "hex")));
}

/** Signs a snapshot and a timestamp over forged files, with the stolen keys. */
function forge(
  repository: TestRepository,
  forged: { targets?: (version: number) => Buffer; retrained?: (version: number) => Buffer },
): void {
  const timestamp = metadata("timestamp.json");
  const snapshotVersion = timestamp.meta["snapshot.json"].version as number;
  const { meta } = metadata(`${snapshotVersion}.snapshot.json`);
  const file = (name: string, make: ((version: number) => Buffer) | undefined): readonly [number, Buffer] => {
    const now = meta[`${name}.json`].version as number;
    if (!make) return [now, readFileSync(join(stolen, "repository/metadata", `${now}.${name}.json`))];
    const bytes = make(now + 1);
    repository.metadata(`${now + 1}.${name}.json`, bytes);
    return [now + 1, bytes];
  };
  const body = snapshotBody(snapshotVersion + 1, file("targets", forged.targets), file(RETRAINING, forged.retrained));
  const snapshot = sealed(body, keyOf("snapshot"));
  repository.metadata(`${snapshotVersion + 1}.snapshot.json`, snapshot);
  const over = timestampBody(timestamp.version + 1, [snapshotVersion + 1, snapshot]);
  repository.metadata("timestamp.json", sealed(over, keyOf("timestamp")));
}

const newestTargetsFile = () => {
  const names = readdirSync(join(stolen, "repository/metadata")).filter((name) => name.endsWith(".targets.json"));
  const newest = Math.max(...names.map((name) => Number.parseInt(name, 10)));
  return join(stolen, `repository/metadata/${newest}.targets.json`);
};
const newestTargets = () => JSON.parse(readFileSync(newestTargetsFile(), "utf8")).signed;
const thief: Thief = {
  keyOf,
  everyKey,
  forge,
  directed: (...releases) => directorBytes(2, releases, { key: keyOf("director") }),
  targetsWithEvil(version) {
    const { manifestLength: length, manifestDigest, releaseCounter } = EVIL;
    const evil = { length, hashes: { sha256: manifestDigest.replace("sha256:", "") }, custom: { releaseCounter } };
    const targets = newestTargets();
    return { ...targets, version, targets: { ...targets.targets, "models/pump-rul/3/manifest.json": evil } };
  },
  ownersSignatures: () => JSON.parse(readFileSync(newestTargetsFile(), "utf8")).signatures,
};

/** What only the owners can make of the published targets. */
async function signedByOwners(...changes: TargetsChange[]): Promise<Buffer> {
  const base = readFileSync(newestTargetsFile(), "utf8");
  const request = { v: 1 as const, requestedAtMs: Date.now(), base, changes };
  return Buffer.from(unwrap(await signedFor(request, join(folder, "server-keys"))));
}
const { model, version, manifestDigest, manifestLength, releaseCounter } = EVIL;
const released: TargetsChange = {
  change: "release",
  ...{ model, version, manifestDigest, manifestLength, releaseCounter },
};

/** The unmodified documents; the release they name. */
async function honestly(repository: TestRepository, by: StolenRow["honest"]): Promise<TestRelease> {
  if (by === "owners") {
    const targets = await signedByOwners(released);
    forge(repository, { targets: () => targets });
    return EVIL;
  }
  forge(repository, { retrained: (version) => sealed(retrainedBody(version, [IN_COHORT]), keyOf(RETRAINING)) });
  return IN_COHORT;
}

async function victimOf(repository: TestRepository, labels: Readonly<Record<string, string>>): Promise<TestDevice> {
  const victim = await startDevice(repository, copyOf(device, temporaryFolder()), labels);
  onTestFinished(() => victim.close());
  return victim;
}

async function hostile(): Promise<TestRepository> {
  const repository = await TestRepository.start();
  onTestFinished(() => repository.close());
  serve(repository);
  return repository;
}

test("the disk holds the online keys, and none that may sign root or targets", LONG, () => {
  const publicKeys = everyKey().map(({ publicKey }) => Buffer.from(publicKey).toString("hex"));
  const root = metadata("1.root.json");
  const named = (role: string) => root.roles[role].keyids.map((id: string) => root.keys[id].keyval.public as string);
  expect(publicKeys).toEqual(expect.arrayContaining([...named("snapshot"), ...named("timestamp")]));
  for (const key of [...named("root"), ...named("targets")]) expect(publicKeys).not.toContain(key);
});

test.each(named(STOLEN))("a server made of the stolen disk: %s", LONG, async (_, row) => {
  const honest = await hostile();
  const release = await honestly(honest, row.honest);
  const willing = await victimOf(honest, INSIDE);
  willing.updater.onDesired(thief.directed(release));
  await confirmed(willing, release);
  await willing.close();

  const repository = await hostile();
  const document = row.bend(repository, thief);
  const victim = await victimOf(repository, row.labels ?? INSIDE);
  victim.updater.onDesired(document);
  const refusal = await eventually("it is refused", () => victim.reported().refusals[0], 90_000);
  expect(refusal.code).toBe(row.code);
  expect(victim.reported().models[0]?.active).toEqual({ version: 1, digest: OLD.manifestDigest });
  expect(slotFiles(victim.stateDir)).toEqual(slotFiles(device));
  const before = (await victim.pipeline.figures()).models[0]?.inferences ?? 0;
  await eventually("the old model answers", async () => {
    const [serving] = (await victim.pipeline.figures()).models;
    return serving?.digest === OLD.manifestDigest && serving.inferences > before;
  });
});

test(
  "with automatic release on, that server reaches the one model of devices in the cohort, as the manual says",
  LONG,
  async () => {
    const repository = await hostile();
    const release = await honestly(repository, "role");
    const victim = await victimOf(repository, INSIDE);
    victim.updater.onDesired(thief.directed(release));
    await confirmed(victim, release);
  },
);

test("a stolen director that counts as high as numbers go is over when the owners name another key", LONG, async () => {
  const repository = await hostile();
  const victim = await victimOf(repository, INSIDE);
  const refused = (code: string) =>
    eventually(code, () => victim.reported().refusals.some((one) => one.code === code), 90_000);
  const key = keyOf("director");
  victim.updater.onDesired(directorBytes(Number.MAX_SAFE_INTEGER, [OLD], { key }));
  await eventually("it is believed", () => victim.reported().directorVersion === Number.MAX_SAFE_INTEGER, 90_000);
  // The honest server is not heard any more.
  victim.updater.onDesired(directorBytes(2, [OLD], { key }));
  await refused("DIRECTOR_ROLLBACK");

  const fresh = keyPairOf(randomBytes(32));
  const publicKeys = [Buffer.from(fresh.publicKey).toString("hex")];
  const targets = await signedByOwners({ change: "director", publicKeys }, released);
  forge(repository, { targets: () => targets });
  victim.updater.onDesired(directorBytes(3, [EVIL], { key: fresh }));
  await confirmed(victim, EVIL);
  // The thief's numbers went with his key, and the new one's count on from there.
  victim.updater.onDesired(directorBytes(Number.MAX_SAFE_INTEGER - 1, [OLD], { key }));
  await refused("ENVELOPE_UNKNOWN_KEY");
  const rollbacks = () => victim.reported().refusals.filter(({ code }) => code === "DIRECTOR_ROLLBACK").length;
  const before = rollbacks();
  victim.updater.onDesired(directorBytes(2, [OLD], { key: fresh }));
  await eventually("an older one is refused", () => rollbacks() > before, 90_000);
});
