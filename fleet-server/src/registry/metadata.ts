import { createHash } from "node:crypto";
import { type KeyPair, signBytes } from "@bellwether/protocol/trust/keys.ts";
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

const SPEC_VERSION = "1.0.31";

/** A released manifest, as targets name it. */
export interface Release {
  readonly model: string;
  readonly version: number;
  readonly manifestDigest: string;
  readonly manifestLength: number;
  readonly releaseCounter: number;
}

/** Path of a release among the targets. */
export function targetPath(model: string, version: number): string {
  return `models/${model}/${version}/manifest.json`;
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

function expiry(role: TufRole, nowMs: number): string {
  return new Date(nowMs + LIFETIMES_MS[role]).toISOString().replace(/\.\d+Z$/, "Z");
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
    expires: expiry("root", nowMs),
    consistent_snapshot: true,
    keys: Object.fromEntries(all.map((key) => [key.keyID, key.toJSON()])),
    roles: Object.fromEntries(roles),
  });
  return signed(root, keys.root.slice(0, 2));
}

/** Targets metadata: the released manifests, and the director's keys. */
export function makeTargets(
  releases: readonly Release[],
  directorKeys: readonly string[],
  keys: readonly KeyPair[],
  version: number,
  nowMs: number,
): Buffer {
  const director = directorTarget(directorKeys);
  const files = [
    new TargetFile({
      path: DIRECTOR_TARGET,
      length: director.length,
      hashes: { sha256: createHash("sha256").update(director).digest("hex") },
      unrecognizedFields: { custom: { keys: [...directorKeys] } },
    }),
    ...releases.map(
      (release) =>
        new TargetFile({
          path: targetPath(release.model, release.version),
          length: release.manifestLength,
          hashes: { sha256: release.manifestDigest.replace("sha256:", "") },
          unrecognizedFields: { custom: { releaseCounter: release.releaseCounter } },
        }),
    ),
  ];
  const targets = Object.fromEntries(files.map((file) => [file.path, file]));
  return signed(new Targets({ version, specVersion: SPEC_VERSION, expires: expiry("targets", nowMs), targets }), keys);
}

function metaOf(version: number, bytes: Uint8Array): MetaFile {
  return new MetaFile({
    version,
    length: bytes.byteLength,
    hashes: { sha256: createHash("sha256").update(bytes).digest("hex") },
  });
}

/** Snapshot metadata over one targets file. */
export function makeSnapshot(
  targets: { readonly version: number; readonly bytes: Uint8Array },
  keys: readonly KeyPair[],
  version: number,
  nowMs: number,
): Buffer {
  const meta = { "targets.json": metaOf(targets.version, targets.bytes) };
  return signed(new Snapshot({ version, specVersion: SPEC_VERSION, expires: expiry("snapshot", nowMs), meta }), keys);
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
    new Timestamp({ version, specVersion: SPEC_VERSION, expires: expiry("timestamp", nowMs), snapshotMeta }),
    keys,
  );
}
