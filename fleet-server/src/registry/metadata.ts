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

/** The name of a public key in the metadata. */
export function tufKeyId(publicKey: Uint8Array): string {
  return tufKey(publicKey).keyID;
}

function tufKey(publicKey: Uint8Array): Key {
  const keyVal = { public: Buffer.from(publicKey).toString("hex") };
  // TUF 4.2: the key id is the SHA-256 of the key object's canonical form; these members stand in that order.
  const canonical = `{"keytype":"ed25519","keyval":{"public":"${keyVal.public}"},"scheme":"ed25519"}`;
  const keyID = createHash("sha256").update(canonical).digest("hex");
  return new Key({ keyID, keyType: "ed25519", scheme: "ed25519", keyVal });
}

/** Metadata with a signature of each key; a key that has signed already signs once. */
export function withSignatures<T extends Root | Targets | Snapshot | Timestamp>(
  metadata: Metadata<T>,
  keys: readonly KeyPair[],
): Metadata<T> {
  for (const key of keys) {
    const keyID = tufKeyId(key.publicKey);
    metadata.sign((bytes) => new Signature({ keyID, sig: signBytes(bytes, key.seed).toString("hex") }), true);
  }
  return metadata;
}

/** Metadata as they are published. */
export function metadataBytes(metadata: Metadata<Root | Targets | Snapshot | Timestamp>): Buffer {
  return Buffer.from(JSON.stringify(metadata.toJSON()));
}

function signed(role: Snapshot | Targets | Timestamp, keys: readonly KeyPair[]): Buffer {
  return metadataBytes(withSignatures(new Metadata(role), keys));
}

function expiry(lifeMs: number, nowMs: number): string {
  return new Date(nowMs + lifeMs).toISOString().replace(/\.\d+Z$/, "Z");
}

/** Who may sign for a role, and how many of them must. */
export interface RoleKeys {
  readonly publicKeys: readonly Uint8Array[];
  readonly threshold: number;
}

/** What root metadata say, beside who signed them. */
export interface RootContent {
  readonly version: number;
  readonly expiresAtMs: number;
  readonly roles: Readonly<Record<TufRole, RoleKeys>>;
  /** True where every key was made on one machine for trying things out; no server serves it in production unasked. */
  readonly development: boolean;
}

/** Root metadata, unsigned. */
export function makeRoot({ version, expiresAtMs, roles, development }: RootContent): Metadata<Root> {
  const all = Object.values(roles).flatMap(({ publicKeys }) => publicKeys.map(tufKey));
  const named = ROLES.map((role) => {
    const { publicKeys, threshold } = roles[role];
    return [role, { keyids: publicKeys.map(tufKeyId), threshold }] as const;
  });
  const root = Root.fromJSON({
    _type: "root",
    version,
    spec_version: SPEC_VERSION,
    expires: expiry(0, expiresAtMs),
    consistent_snapshot: true,
    keys: Object.fromEntries(all.map((key) => [key.keyID, key.toJSON()])),
    roles: Object.fromEntries(named),
    ...(development ? { [DEVELOPMENT_MEMBER]: true } : {}),
  });
  return new Metadata(root);
}

/** Member of the root by which development keys are known. */
export const DEVELOPMENT_MEMBER = "x-bellwether-development";

/** A retraining role as the targets name it: delegated to, switched off for now, or taken away for good. */
export interface NamedRole {
  readonly scope: RetrainingScope;
  /** Hex of the key that signs for it online. */
  readonly publicKey: string;
  readonly standing: "on" | "off" | "revoked";
}

/** What targets metadata say, beside who signed them. */
export interface TargetsContent {
  readonly version: number;
  readonly expiresAtMs: number;
  /** The director's public keys in hex: the offline targets vouch for them. */
  readonly directorKeys: readonly string[];
  /** What is released to everybody. */
  readonly releases: readonly Release[];
  readonly roles: readonly NamedRole[];
}

/** Member of the targets that keeps the retraining roles they do not delegate to now. */
export const DORMANT_MEMBER = "x-bellwether-dormant-roles";

/** Targets metadata, unsigned: the released manifests, the director's keys, and each retraining role with its reach. */
export function makeTargets({
  version,
  expiresAtMs,
  directorKeys,
  releases,
  roles,
}: TargetsContent): Metadata<Targets> {
  const director = directorTarget(directorKeys);
  const file = new TargetFile({
    path: DIRECTOR_TARGET,
    length: director.length,
    hashes: { sha256: createHash("sha256").update(director).digest("hex") },
    unrecognizedFields: { custom: { keys: [...directorKeys] } },
  });
  const targets = targetsOf([file, ...releases.map(targetOf)], 0, version, expiresAtMs);
  const on = roles.filter(({ standing }) => standing === "on");
  const dormant = roles
    .filter(({ standing }) => standing !== "on")
    .map(({ scope, publicKey, standing }) => ({ scope, publicKey, standing }));
  const delegations = on.map(({ scope, publicKey }) => ({ scope, publicKey: Buffer.from(publicKey, "hex") }));
  const json = {
    ...targets.toJSON(),
    ...(on.length > 0 ? { delegations: delegationsOf(delegations) } : {}),
    ...(dormant.length > 0 ? { [DORMANT_MEMBER]: dormant } : {}),
  };
  return new Metadata(Targets.fromJSON(json as Parameters<typeof Targets.fromJSON>[0]));
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
