import type { KeyPair } from "@bellwether/protocol/trust/keys.ts";
import {
  LIFETIMES_MS,
  makeRoot,
  makeTargets,
  metadataBytes,
  type RootContent,
  type TargetsContent,
  withSignatures,
} from "./metadata.ts";

/** The first root and targets, which offline keys sign before any server can serve. */
export interface FirstMetadata {
  readonly root: string;
  readonly targets: string;
}

/** Public halves of the keys that a server holds. */
export interface OnlinePublicKeys {
  readonly snapshot: readonly Uint8Array[];
  readonly timestamp: readonly Uint8Array[];
  readonly director: readonly Uint8Array[];
}

/** Keys and rules of a first root. */
export interface FirstKeys {
  readonly root: readonly KeyPair[];
  readonly rootThreshold: number;
  readonly targets: readonly KeyPair[];
  readonly targetsThreshold: number;
  readonly online: OnlinePublicKeys;
  readonly development: boolean;
  readonly rootLifeMs?: number;
  readonly targetsLifeMs?: number;
}

/** Version 1 of root and targets: nothing is released yet, and the director is named. */
export function firstMetadata(keys: FirstKeys, nowMs: number): FirstMetadata {
  const named = (pairs: readonly KeyPair[]) => pairs.map(({ publicKey }) => publicKey);
  const content: RootContent = {
    version: 1,
    expiresAtMs: nowMs + (keys.rootLifeMs ?? LIFETIMES_MS.root),
    development: keys.development,
    roles: {
      root: { publicKeys: named(keys.root), threshold: keys.rootThreshold },
      targets: { publicKeys: named(keys.targets), threshold: keys.targetsThreshold },
      snapshot: { publicKeys: keys.online.snapshot, threshold: 1 },
      timestamp: { publicKeys: keys.online.timestamp, threshold: 1 },
    },
  };
  const targets: TargetsContent = {
    version: 1,
    expiresAtMs: nowMs + (keys.targetsLifeMs ?? LIFETIMES_MS.targets),
    directorKeys: keys.online.director.map((key) => Buffer.from(key).toString("hex")),
    releases: [],
    roles: [],
  };
  return {
    root: metadataBytes(withSignatures(makeRoot(content), keys.root)).toString("utf8"),
    targets: metadataBytes(withSignatures(makeTargets(targets), keys.targets)).toString("utf8"),
  };
}
