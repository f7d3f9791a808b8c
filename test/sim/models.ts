import { createHash } from "node:crypto";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { canonicalBytes } from "@bellwether/protocol/trust/canonical.ts";
import { type KeyPair, keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { releasePath } from "@bellwether/protocol/trust/releases.ts";
import type { MetadataAnswer } from "../../agent/src/update/metadata.worker.ts";
import { testManifest } from "../kit/models.ts";
import type { Chance } from "./world.ts";

export const MODEL = "pump-rul";
/** What every rollout wants proven on each device. */
export const CONFIRM = { inferences: 4, soakSeconds: 6, deadlineSeconds: 40, errorFraction: 0.1 };
/** Spread of the scores, as the reference profile of every version states it. */
export const SCORE_SCALE = 10;
export const LIMIT_P99_MS = 5;

/**
 * What a version does on a device: good; refused by its self-test; fails on many vectors; too slow; answers otherwise than
 * its predecessor; takes the agent down a while after it began to serve.
 */
export const KINDS = ["good", "untested", "failing", "slow", "shifted", "deadly"] as const;
export type Kind = (typeof KINDS)[number];

export interface Version {
  readonly version: number;
  readonly kind: Kind;
  readonly digest: string;
  readonly manifest: Manifest;
  readonly files: ReadonlyMap<string, Uint8Array>;
  released: boolean;
}

const text = (value: string) => Buffer.from(value, "utf8");
const pin = (bytes: Uint8Array) => ({ digest: digestOf(bytes), length: bytes.byteLength });

function versionOf(version: number, kind: Kind, weight = "w"): Version {
  const model = text(`the graph of version ${version}, which is ${kind}: ${weight.repeat(300)}`);
  const golden = canonicalBytes({ v: 1, cases: [], outputs: [] });
  const reference = canonicalBytes({ v: 1, version });
  const files = { model: pin(model), golden: pin(golden), reference: pin(reference) };
  const manifest = testManifest({ version, files, limits: { p99LatencyMs: LIMIT_P99_MS, memoryMb: 64 } });
  const manifestBytes = canonicalBytes(manifest);
  const all = [model, golden, reference, manifestBytes].map((bytes) => [digestOf(bytes), bytes] as const);
  return { version, kind, digest: digestOf(manifestBytes), manifest, files: new Map(all), released: false };
}

/** What the owners released, what they took back, and every model that ever was: the truth about models. */
export class ImageRepository {
  readonly directorKey: KeyPair = keyPairOf(createHash("sha256").update("director of the simulation").digest());
  readonly versions: Version[];
  /** Digests that were ever released. */
  readonly everReleased = new Set<string>();
  /** What a thief made to pass for the versions, each as long as the one whose number it bears. */
  readonly #counterfeits: readonly Version[];

  /** The first version is good; chance says what the others are. */
  constructor(chance: Chance, count = 5) {
    const kinds: Kind[] = ["good"];
    while (kinds.length < count) kinds.push(chance.happens(0.45) ? "good" : chance.one(KINDS));
    this.versions = kinds.map((kind, index) => versionOf(index + 1, kind));
    this.#counterfeits = kinds.map((kind, index) => versionOf(index + 1, kind, "x"));
  }

  version(number: number): Version {
    return this.versions[number - 1] as Version;
  }

  /** Another manifest of the same length under the number of a version. */
  counterfeit(number: number): Version {
    return this.#counterfeits[number - 1] as Version;
  }

  byDigest(digest: string): Version | undefined {
    return [...this.versions, ...this.#counterfeits].find((one) => one.digest === digest);
  }

  release(number: number): void {
    this.version(number).released = true;
    this.everReleased.add(this.version(number).digest);
  }

  withdraw(number: number): void {
    this.version(number).released = false;
  }

  releaseOf(model: string, number: number) {
    const found =
      model === MODEL ? this.versions.find(({ version, released }) => version === number && released) : undefined;
    if (found === undefined) return undefined;
    const manifestLength = found.files.get(found.digest)?.byteLength ?? 0;
    return { manifestDigest: found.digest, manifestLength, releaseCounter: number };
  }

  find(model: string, reference: string) {
    const found = this.releaseOf(model, Number(reference));
    return found && { version: Number(reference), manifestDigest: found.manifestDigest, phase: "released" };
  }

  factsOf(digest: string) {
    const found = this.byDigest(digest);
    return { limitLatencyMs: found ? LIMIT_P99_MS : null, scoreScale: found ? SCORE_SCALE : null };
  }

  blob(digest: string): Uint8Array | undefined {
    for (const { files } of [...this.versions, ...this.#counterfeits]) {
      const bytes = files.get(digest);
      if (bytes !== undefined) return bytes;
    }
    return undefined;
  }

  /** What its metadata say of some targets. */
  answer(targets: readonly string[]): MetadataAnswer {
    const named = targets.flatMap((path) => {
      const found = this.versions.find(({ version, released }) => released && releasePath(MODEL, version) === path);
      const release = found && this.releaseOf(MODEL, found.version);
      if (!release) return [];
      const { manifestDigest: digest, manifestLength: length, releaseCounter } = release;
      return [[path, { digest, length, releaseCounter }] as const];
    });
    const directorKeys = [Buffer.from(this.directorKey.publicKey).toString("hex")];
    return { ok: true, directorKeys, targets: Object.fromEntries(named), refused: {} };
  }
}
