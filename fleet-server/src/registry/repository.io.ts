import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { type KeyPair, keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { writeDurably } from "../files.io.ts";
import {
  DIRECTOR_TARGET,
  directorTarget,
  LIFETIMES_MS,
  makeRoot,
  makeSnapshot,
  makeTargets,
  makeTimestamp,
  type Release,
  type TufRole,
} from "./metadata.ts";

/** The release repository (TUF): what owners have released, and proofs of how fresh that is. */
export interface ReleaseRepository {
  /** True when the keys were made here just now: development keys, online all together. */
  readonly madeKeys: boolean;
  /** The director's key pair, which targets vouch for. */
  readonly directorKey: KeyPair;
  /** The first root metadata as text. */
  rootMetadata(): Promise<string>;
  /** A metadata file by its name as TUF clients ask for it ("2.root.json", "timestamp.json"). */
  metadata(file: string): Promise<Buffer | undefined>;
  /** A target that is no blob: only the director's keys. */
  target(name: string): Buffer | undefined;
  releases(): readonly Release[];
  /** Adds a manifest to the targets and signs anew; a version that is released already keeps its counter. */
  release(manifest: Omit<Release, "releaseCounter">): Promise<Result<Release>>;
  /** Takes a release out of the targets: no device will install it any more. */
  withdraw(model: string, version: number): Promise<Result<Release>>;
  /** Signs again what has used up half of its life. */
  renew(): Promise<void>;
  close(): Promise<void>;
}

/** Everything but keys and metadata: what the metadata is made from, kept as one file. */
interface RepositoryState {
  readonly versions: Readonly<Record<TufRole, number>>;
  readonly signedAtMs: Readonly<Record<TufRole, number>>;
  readonly counter: number;
  readonly releases: readonly Release[];
}

const KEY_NAMES = ["root-1", "root-2", "root-3", "targets", "snapshot", "timestamp", "director"] as const;
type KeyName = (typeof KEY_NAMES)[number];
const RENEW_EVERY_MS = 600_000;
const METADATA_FILE = /^(\d{1,10}\.)?(root|targets|snapshot)\.json$|^timestamp\.json$/;

/** Opens `dir`, making development keys and first metadata where there are none. */
export async function openRepository(dir: string, now: () => number): Promise<ReleaseRepository> {
  const { keys, made } = await openKeys(join(dir, "keys"));
  const roleKeys: Record<TufRole, KeyPair[]> = {
    root: [keys["root-1"], keys["root-2"], keys["root-3"]],
    targets: [keys.targets],
    snapshot: [keys.snapshot],
    timestamp: [keys.timestamp],
  };
  const directorHex = Buffer.from(keys.director.publicKey).toString("hex");
  const file = (name: string) => join(dir, "metadata", name);
  const write = (name: string, bytes: Uint8Array) => writeDurably(file(name), bytes, 0o644);
  let state = await readState(join(dir, "state.json"));
  let turn: Promise<unknown> = Promise.resolve();

  async function keepState(next: RepositoryState): Promise<void> {
    await writeDurably(join(dir, "state.json"), JSON.stringify(next, undefined, 1));
    state = next;
  }

  /** New files first, the timestamp that points at them last: whoever asks in between sees the old whole. */
  async function sign(from: RepositoryState, roles: readonly TufRole[]): Promise<void> {
    const nowMs = now();
    const versions = { ...from.versions };
    const signedAtMs = { ...from.signedAtMs };
    for (const role of roles) {
      versions[role]++;
      signedAtMs[role] = nowMs;
    }
    if (roles.includes("root")) await write(`${versions.root}.root.json`, makeRoot(roleKeys, versions.root, nowMs));
    if (roles.includes("targets")) {
      const bytes = makeTargets(from.releases, [directorHex], roleKeys.targets, versions.targets, nowMs);
      await write(`${versions.targets}.targets.json`, bytes);
    }
    if (roles.includes("snapshot")) {
      const targets = { version: versions.targets, bytes: await readFile(file(`${versions.targets}.targets.json`)) };
      await write(
        `${versions.snapshot}.snapshot.json`,
        makeSnapshot(targets, roleKeys.snapshot, versions.snapshot, nowMs),
      );
    }
    const snapshot = { version: versions.snapshot, bytes: await readFile(file(`${versions.snapshot}.snapshot.json`)) };
    const timestamp = makeTimestamp(snapshot, roleKeys.timestamp, versions.timestamp, nowMs);
    await keepState({ ...from, versions, signedAtMs });
    await write("timestamp.json", timestamp);
  }

  /** One change at a time: two releases at once must not both become the same version. */
  function inTurn<T>(run: () => Promise<T>): Promise<T> {
    const result = turn.then(run);
    turn = result.catch(() => undefined);
    return result;
  }

  async function renew(): Promise<void> {
    const due = (role: TufRole) => now() - state.signedAtMs[role] > LIFETIMES_MS[role] / 2;
    const roles = (["root", "targets", "snapshot", "timestamp"] as const).filter(due);
    if (roles.length === 0) return;
    const all = new Set<TufRole>([...roles, "timestamp"]);
    if (all.has("targets")) all.add("snapshot");
    await sign(state, [...all]);
  }

  if (state.versions.root === 0) await sign(state, ["root", "targets", "snapshot", "timestamp"]);
  await renew();
  const timer = setInterval(() => void inTurn(renew).catch(() => undefined), RENEW_EVERY_MS);
  timer.unref();

  return {
    madeKeys: made,
    directorKey: keys.director,
    rootMetadata: () => readFile(file("1.root.json"), "utf8"),
    async metadata(name) {
      if (!METADATA_FILE.test(name)) return undefined;
      return readFile(file(name)).catch((cause: NodeJS.ErrnoException) => {
        if (cause.code === "ENOENT") return undefined;
        throw cause;
      });
    },
    target: (name) => (name.endsWith(DIRECTOR_TARGET) ? directorTarget([directorHex]) : undefined),
    releases: () => state.releases,
    release: (manifest) =>
      inTurn(async () => {
        const known = state.releases.find((one) => one.model === manifest.model && one.version === manifest.version);
        if (known?.manifestDigest === manifest.manifestDigest) return ok(known);
        if (known) return err("RELEASE_EXISTS", { model: manifest.model, version: manifest.version });
        const release = { ...manifest, releaseCounter: state.counter + 1 };
        const next = { ...state, counter: release.releaseCounter, releases: [...state.releases, release] };
        await sign(next, ["targets", "snapshot", "timestamp"]);
        return ok(release);
      }),
    withdraw: (model, version) =>
      inTurn(async () => {
        const known = state.releases.find((one) => one.model === model && one.version === version);
        if (!known) return err("NOT_FOUND", { what: "release", name: `${model} ${version}` });
        await sign({ ...state, releases: state.releases.filter((one) => one !== known) }, [
          "targets",
          "snapshot",
          "timestamp",
        ]);
        return ok(known);
      }),
    renew: () => inTurn(renew),
    async close() {
      clearInterval(timer);
      await turn;
    },
  };
}

async function openKeys(dir: string): Promise<{ keys: Record<KeyName, KeyPair>; made: boolean }> {
  let made = false;
  const keys: Partial<Record<KeyName, KeyPair>> = {};
  for (const name of KEY_NAMES) {
    const path = join(dir, `${name}.key`);
    let hex = await readText(path);
    if (hex === undefined) {
      made = true;
      hex = randomBytes(32).toString("hex");
      await writeDurably(path, `${hex}\n`);
    }
    keys[name] = keyPairOf(Buffer.from(hex.trim(), "hex"));
  }
  return { keys: keys as Record<KeyName, KeyPair>, made };
}

async function readState(path: string): Promise<RepositoryState> {
  const text = await readText(path);
  if (text !== undefined) return JSON.parse(text) as RepositoryState;
  const zero = { root: 0, targets: 0, snapshot: 0, timestamp: 0 };
  return { versions: zero, signedAtMs: zero, counter: 0, releases: [] };
}

function readText(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return undefined;
    throw cause;
  });
}
