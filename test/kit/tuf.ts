import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { canonicalBytes } from "@bellwether/protocol/trust/canonical.ts";
import { type DirectedModel, sealDirector } from "@bellwether/protocol/trust/director.ts";
import { type KeyPair, keyPairOf, signBytes } from "@bellwether/protocol/trust/keys.ts";
import { referencesOf, type TestPackage } from "./packages.ts";

const hash = (bytes: Uint8Array | string) => createHash("sha256").update(bytes);
const keyPair = (name: string) => keyPairOf(hash(`key of tests: ${name}`).digest());

/** Keys of a release repository, the same in every test; the thief's are named by nobody. */
export const KEYS = {
  root: [keyPair("root 1"), keyPair("root 2"), keyPair("root 3")],
  targets: keyPair("targets"),
  snapshot: keyPair("snapshot"),
  timestamp: keyPair("timestamp"),
  director: keyPair("director"),
  retraining: keyPair("retraining"),
  thief: keyPair("thief"),
} as const;
const [ROOT_1, ROOT_2] = KEYS.root;

/** A key as TUF metadata write it. */
export function tufKey({ publicKey }: KeyPair) {
  return {
    keytype: "ed25519",
    keyval: { public: Buffer.from(publicKey).toString("hex") },
    scheme: "ed25519",
  };
}
export const tufKeyId = (pair: KeyPair): string => hash(canonicalBytes(tufKey(pair))).digest("hex");
export const tufSignature = (signed: object, pair: KeyPair, keyid = tufKeyId(pair)) => ({
  keyid,
  sig: signBytes(canonicalBytes(signed), pair.seed).toString("hex"),
});

/** Metadata with a signature of each key. */
export function sealed(signed: object, ...keys: readonly KeyPair[]): Buffer {
  return Buffer.from(JSON.stringify({ signatures: keys.map((pair) => tufSignature(signed, pair)), signed }));
}

const common = (type: string, version: number) => ({
  _type: type,
  spec_version: "1.0.31",
  version,
  expires: "2099-01-01T00:00:00Z",
});

/** Root metadata, unsigned: two of three root keys, one key for each other role. */
export function rootBody(version: number) {
  const { targets, snapshot, timestamp } = KEYS;
  const role = (keys: readonly KeyPair[], threshold = 1) => ({ keyids: keys.map((pair) => tufKeyId(pair)), threshold });
  return {
    ...common("root", version),
    consistent_snapshot: true,
    keys: Object.fromEntries(
      [...KEYS.root, targets, snapshot, timestamp].map((pair) => [tufKeyId(pair), tufKey(pair)] as const),
    ),
    roles: {
      root: role(KEYS.root, 2),
      targets: role([targets]),
      snapshot: role([snapshot]),
      timestamp: role([timestamp]),
    },
  };
}

/** The root that devices are enrolled with. */
export const ROOT = sealed(rootBody(1), ROOT_1, ROOT_2);

/** A release: a manifest's bytes and what both repositories say of it. */
export interface TestRelease extends Omit<DirectedModel, "confirm"> {
  readonly manifest: Buffer;
  readonly blobs: readonly Uint8Array[];
}

/** A package as the registry would release it. */
export function releaseOf({ manifest, files }: TestPackage, version: number, releaseCounter = version): TestRelease {
  const bytes = canonicalBytes({ ...manifest, version, files: referencesOf(files) });
  return {
    model: manifest.model,
    version,
    manifestDigest: digestOf(bytes),
    manifestLength: bytes.byteLength,
    releaseCounter,
    manifest: bytes,
    blobs: [bytes, ...Object.values(files)],
  };
}

const named = (releases: readonly TestRelease[]) =>
  Object.fromEntries(
    releases.map(({ model, version, cohort, manifestLength, manifestDigest, releaseCounter }) => [
      `${cohort === undefined ? `models/${model}` : `retrained/${model}/${cohort}`}/${version}/manifest.json`,
      {
        length: manifestLength,
        hashes: { sha256: manifestDigest.replace("sha256:", "") },
        custom: { releaseCounter },
      },
    ]),
  ) as object;

/** Targets metadata, unsigned: the releases and the director's keys. */
export function targetsBody(version: number, releases: readonly TestRelease[], director: KeyPair = KEYS.director) {
  const keys = [Buffer.from(director.publicKey).toString("hex")];
  const file = JSON.stringify({ keys });
  return {
    ...common("targets", version),
    targets: {
      "director.json": { length: file.length, hashes: { sha256: hash(file).digest("hex") }, custom: { keys } },
      ...named(releases),
    },
  };
}

/** Name of the role that may release `pump-rul` for the cohort `line-3`. */
export const RETRAINING = "retraining~pump-rul~line-3";

/** What targets say to delegate to that role. */
export function delegations(selector = "line=3", withdrawn: readonly string[] = []) {
  const scope = { model: "pump-rul", cohort: "line-3", selector, withdrawn };
  const keyids = [tufKeyId(KEYS.retraining)];
  const paths = ["retrained/pump-rul/line-3/*/manifest.json"];
  return {
    keys: { [keyids[0]!]: tufKey(KEYS.retraining) },
    roles: [{ name: RETRAINING, keyids, threshold: 1, terminating: true, paths, custom: scope }],
  };
}

/** Metadata of a retraining role, unsigned. */
export const retrainedBody = (version: number, releases: readonly TestRelease[]) => ({
  ...common("targets", version),
  targets: named(releases),
});

/** A metadata file and the version under which others name it. */
export type Versioned = readonly [version: number, bytes: Buffer];
const meta = ([version, bytes]: Versioned) => ({
  version,
  length: bytes.byteLength,
  hashes: { sha256: hash(bytes).digest("hex") },
});
export const snapshotBody = (version: number, targets: Versioned, retrained?: Versioned) => ({
  ...common("snapshot", version),
  meta: { "targets.json": meta(targets), ...(retrained ? { [`${RETRAINING}.json`]: meta(retrained) } : {}) },
});
export const timestampBody = (version: number, snapshot: Versioned) => ({
  ...common("timestamp", version),
  meta: { "snapshot.json": meta(snapshot) },
});

/** What the director asks of one device. */
export function directorBytes(
  version: number,
  releases: readonly TestRelease[],
  changes: {
    device?: string;
    key?: KeyPair;
    model?: Partial<DirectedModel>;
    issuedAtMs?: number;
    lastsMs?: number;
  } = {},
): Buffer {
  const { device = "edge-1", key = KEYS.director, model = {}, issuedAtMs = Date.now(), lastsMs = 3_600_000 } = changes;
  const confirm = { inferences: 5, soakMs: 0, deadlineMs: 60_000, errorFraction: 0 };
  const models = releases.map(({ manifest: _, blobs: __, ...release }) => {
    return { ...release, confirm, assignedIn: version, ...model };
  });
  return sealDirector(
    { v: 1, device, version, issuedAtMs, expiresAtMs: issuedAtMs + lastsMs, models, remove: [] },
    key,
  );
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * A release repository and blob store over HTTP, whose every file and every answer a test may bend. It shares no code
 * with the fleet server's.
 */
export class TestRepository {
  /** By path below /v1, such as "repository/metadata/timestamp.json". */
  readonly files = new Map<string, Buffer>();
  /** What is answered in place of a file. */
  readonly answers = new Map<string, Answer>();
  /** Paths asked for, with their range. */
  readonly asked: string[] = [];
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  static async start(): Promise<TestRepository> {
    const repository = new TestRepository();
    await new Promise<void>((resolve) => repository.#server.listen(0, "127.0.0.1", resolve));
    return repository;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  metadata(name: string, bytes: Buffer): void {
    this.files.set(`repository/metadata/${name}`, bytes);
  }

  /** Names releases under this number; `bent` stands in place of what an honest repository would make. */
  publish(
    number: number,
    releases: readonly TestRelease[],
    bent: {
      readonly targets?: Versioned;
      readonly retrained?: Versioned;
      readonly snapshot?: Versioned;
      readonly timestamp?: Buffer;
    } = {},
  ): void {
    const targets = bent.targets ?? [number, sealed(targetsBody(number, releases), KEYS.targets)];
    const snapshot = bent.snapshot ?? [number, sealed(snapshotBody(number, targets, bent.retrained), KEYS.snapshot)];
    if (bent.retrained) this.metadata(`${bent.retrained[0]}.${RETRAINING}.json`, bent.retrained[1]);
    this.metadata(`${targets[0]}.targets.json`, targets[1]);
    this.metadata(`${snapshot[0]}.snapshot.json`, snapshot[1]);
    this.metadata("timestamp.json", bent.timestamp ?? sealed(timestampBody(number, snapshot), KEYS.timestamp));
    for (const blob of releases.flatMap(({ blobs }) => blobs))
      this.files.set(`blobs/${digestOf(blob)}`, Buffer.from(blob));
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(request.url ?? "").replace(/^\/v1\//, "");
    const { range, authorization } = request.headers;
    this.asked.push(range === undefined ? path : `${path} ${range}`);
    response.on("error", () => undefined);
    const answer = this.answers.get(path.split("?")[0] ?? "");
    if (answer !== undefined) {
      answer(request, response);
      return;
    }
    const bytes = authorization?.startsWith("Bearer token") ? this.files.get(path) : undefined;
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    response.writeHead(bytes === undefined ? 404 : from > 0 ? 206 : 200);
    response.end(bytes?.subarray(from));
  }
}
