import { createHash } from "node:crypto";
import { type KeyPair, signBytes } from "@bellwether/protocol/trust/keys.ts";
import { type RetrainingScope, releasePath, retrainingRole } from "@bellwether/protocol/trust/releases.ts";
import { Key, Metadata, MetaFile, Root, Signature, Snapshot, TargetFile, Targets, Timestamp } from "@tufjs/models";

/** The roles of the image repository and of the director beside it. */
export const ROLES = ["root", "targets", "snapshot", "timestamp"] as const;
export type TufRole = (typeof ROLES)[number];

/** How long each role's signature lasts, in milliseconds. */
export const LIFETIMES_MS: Readonly<Record<TufRole, number>> = {
  root: 365 * 86_400_000,
  targets: 180 * 86_400_000,
  snapshot: 7 * 86_400_000,
  timestamp: 86_400_000,
};

/** A retraining role signs online, as snapshot does. */
export const RETRAINING_LIFE_MS = LIFETIMES_MS.snapshot;

const SPEC_VERSION = "1.0.31";

/** A released manifest, as targets name it. */
export interface Release {
  readonly model: string;
  readonly version: number;
  readonly manifestDigest: string;
  readonly manifestLength: number;
  readonly releaseCounter: number;
  /** The cohort whose retraining role released it; without it the targets did, for everybody. */
  readonly cohort?: string;
  /** Who or what had that role release it. */
  readonly by?: string;
}

/** A retraining role as targets delegate to it: whose key, and how far it reaches. */
export interface Delegation {
  readonly scope: RetrainingScope;
  readonly publicKey: Uint8Array;
}

/** Name of the target whose custom members carry the director's public keys: the offline targets vouch for them. */
export const DIRECTOR_TARGET = "director.json";

/** The content of the director target, which is all its custom members once more. */
export function directorTarget(publicKeys: readonly string[]): Buffer {
  return Buffer.from(JSON.stringify({ keys: publicKeys }));
}

function tufKey(publicKey: Uint8Array): Key {
  const keyVal = { public: Buffer.from(publicKey).toString("hex") };
  // TUF 4.2: the key id is the SHA-256 of the key object's canonical form; these members stand in that order.
  const canonical = `{"keytype":"ed25519","keyval":{"public":"${keyVal.public}"},"scheme":"ed25519"}`;
  const keyID = createHash("sha256").update(canonical).digest("hex");
  return new Key({ keyID, keyType: "ed25519", scheme: "ed25519", keyVal });
}

function signed(role: Root | Targets | Snapshot | Timestamp, keys: readonly KeyPair[]): Buffer {
  const metadata = new Metadata(role);
  for (const key of keys) {
    const keyID = tufKey(key.publicKey).keyID;
    metadata.sign((bytes) => new Signature({ keyID, sig: signBytes(bytes, key.seed).toString("hex") }), true);
  }
  return Buffer.from(JSON.stringify(metadata.toJSON()));
}

function expiry(lifeMs: number, nowMs: number): string {
  return new Date(nowMs + lifeMs).toISOString().replace(/\.\d+Z$/, "Z");
}

/** Root metadata: who may sign what. Root itself needs two of its keys. */
export function makeRoot(keys: Readonly<Record<TufRole, readonly KeyPair[]>>, version: number, nowMs: number): Buffer {
  const all = Object.values(keys)
    .flat()
    .map((key) => tufKey(key.publicKey));
  const roles = ROLES.map((role) => {
    const keyids = keys[role].map((key) => tufKey(key.publicKey).keyID);
    return [role, { keyids, threshold: role === "root" ? 2 : 1 }] as const;
  });
  const root = Root.fromJSON({
    _type: "root",
    version,
    spec_version: SPEC_VERSION,
    expires: expiry(LIFETIMES_MS.root, nowMs),
    consistent_snapshot: true,
    keys: Object.fromEntries(all.map((key) => [key.keyID, key.toJSON()])),
    roles: Object.fromEntries(roles),
  });
  return signed(root, keys.root.slice(0, 2));
}

/** Targets metadata: the released manifests, the director's keys, and the retraining roles with what each may release. */
export function makeTargets(
  releases: readonly Release[],
  directorKeys: readonly string[],
  keys: readonly KeyPair[],
  version: number,
  nowMs: number,
  delegations: readonly Delegation[] = [],
): Buffer {
  const director = directorTarget(directorKeys);
  const file = new TargetFile({
    path: DIRECTOR_TARGET,
    length: director.length,
    hashes: { sha256: createHash("sha256").update(director).digest("hex") },
    unrecognizedFields: { custom: { keys: [...directorKeys] } },
  });
  const targets = targetsOf([file, ...releases.map(targetOf)], LIFETIMES_MS.targets, version, nowMs);
  if (delegations.length === 0) return signed(targets, keys);
  return signed(Targets.fromJSON({ ...targets.toJSON(), delegations: delegationsOf(delegations) }), keys);
}

/** Metadata of one retraining role: what it released and nothing else. */
export function makeRetrained(releases: readonly Release[], key: KeyPair, version: number, nowMs: number): Buffer {
  return signed(targetsOf(releases.map(targetOf), RETRAINING_LIFE_MS, version, nowMs), [key]);
}

function targetsOf(files: readonly TargetFile[], lifeMs: number, version: number, nowMs: number): Targets {
  const targets = Object.fromEntries(files.map((file) => [file.path, file]));
  return new Targets({ version, specVersion: SPEC_VERSION, expires: expiry(lifeMs, nowMs), targets });
}

function targetOf({ model, version, cohort, manifestLength, manifestDigest, releaseCounter }: Release): TargetFile {
  return new TargetFile({
    path: releasePath(model, version, cohort),
    length: manifestLength,
    hashes: { sha256: manifestDigest.replace("sha256:", "") },
    unrecognizedFields: { custom: { releaseCounter } },
  });
}

/** Each role may sign below its own path only, and nobody else is asked there (`terminating`). */
function delegationsOf(delegations: readonly Delegation[]) {
  const keys = delegations.map(({ publicKey }) => tufKey(publicKey));
  return {
    keys: Object.fromEntries(keys.map((key) => [key.keyID, key.toJSON()])),
    roles: delegations.map(({ scope, publicKey }) => ({
      name: retrainingRole(scope.model, scope.cohort),
      keyids: [tufKey(publicKey).keyID],
      threshold: 1,
      terminating: true,
      paths: [releasePath(scope.model, "*", scope.cohort)],
      custom: { ...scope, withdrawn: [...scope.withdrawn] },
    })),
  };
}

function metaOf(version: number, bytes: Uint8Array): MetaFile {
  return new MetaFile({
    version,
    length: bytes.byteLength,
    hashes: { sha256: createHash("sha256").update(bytes).digest("hex") },
  });
}

/** A metadata file that others point at. */
export interface MetadataFile {
  readonly version: number;
  readonly bytes: Uint8Array;
}

/**
 * Snapshot metadata over the targets file and that of every retraining role there ever was, by role: clients refuse a
 * snapshot that lacks a file which an earlier one had.
 */
export function makeSnapshot(
  targets: MetadataFile,
  keys: readonly KeyPair[],
  version: number,
  nowMs: number,
  retrained: Readonly<Record<string, MetadataFile>> = {},
): Buffer {
  const files = Object.entries({ ...retrained, targets });
  const meta = Object.fromEntries(files.map(([role, { version, bytes }]) => [`${role}.json`, metaOf(version, bytes)]));
  const expires = expiry(LIFETIMES_MS.snapshot, nowMs);
  return signed(new Snapshot({ version, specVersion: SPEC_VERSION, expires, meta }), keys);
}

/** Timestamp metadata over one snapshot. */
export function makeTimestamp(
  snapshot: { readonly version: number; readonly bytes: Uint8Array },
  keys: readonly KeyPair[],
  version: number,
  nowMs: number,
): Buffer {
  const snapshotMeta = metaOf(snapshot.version, snapshot.bytes);
  return signed(
    new Timestamp({ version, specVersion: SPEC_VERSION, expires: expiry(LIFETIMES_MS.timestamp, nowMs), snapshotMeta }),
    keys,
  );
}
