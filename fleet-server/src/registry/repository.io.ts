import { randomBytes } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import { type KeyPair, keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { type RetrainingScope, retrainingRole } from "@bellwether/protocol/trust/releases.ts";
import { writeDurably } from "../files.io.ts";
import {
  DIRECTOR_TARGET,
  directorTarget,
  type MetadataFile,
  makeRetrained,
  makeRoot,
  makeSnapshot,
  makeTargets,
  makeTimestamp,
  type Release,
  type TufRole,
} from "./metadata.ts";
import {
  acceptedIn,
  type Change,
  delegated,
  delegatedIn,
  overdue,
  type RepositoryState,
  type RoleName,
  released,
  roleIn,
  roleName,
  stateOf,
  switched,
  undelegated,
  withdrawn,
} from "./repository-state.ts";

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
  /** What devices accept now, whoever released it. */
  releases(): readonly Release[];
  /** Adds a manifest to the targets and signs anew; a version that is released already keeps its counter. */
  release(manifest: Omit<Release, "releaseCounter" | "cohort" | "by">): Promise<Result<Release>>;
  /** The same by a cohort's retraining role, whose online key alone signs it. */
  releaseDelegated(
    manifest: Omit<Release, "releaseCounter"> & { readonly cohort: string; readonly by: string },
  ): Promise<Result<Release>>;
  /** Takes a release back for good: no device will install it any more, whichever role released it. */
  withdraw(model: string, version: number): Promise<Result<Release>>;
  /** The retraining roles that are delegated, switched off or not, each with what it has released. */
  retraining(): readonly RetrainingView[];
  /** Has targets delegate to an online role of this model and cohort, or change its selector. */
  delegate(scope: Omit<RetrainingScope, "withdrawn">): Promise<void>;
  /** Takes a retraining role away, its key and everything it released. */
  undelegate(role: RoleName): Promise<Result<readonly Release[]>>;
  /** Switches a retraining role off or on: off, targets delegate nothing to it and devices take nothing of it. */
  setDelegation(role: RoleName, enabled: boolean): Promise<Result<void>>;
  /** Signs again what has used up half of its life. */
  renew(): Promise<void>;
  close(): Promise<void>;
}

/** A retraining role as people see it. */
export interface RetrainingView extends RetrainingScope {
  readonly enabled: boolean;
  /** What it released and nobody withdrew, and who had it do so. */
  readonly versions: readonly { readonly version: number; readonly by: string }[];
}

const KEY_NAMES = ["root-1", "root-2", "root-3", "targets", "snapshot", "timestamp", "director"] as const;
type KeyName = (typeof KEY_NAMES)[number];
const RENEW_EVERY_MS = 600_000;
const METADATA_FILE =
  /^(\d{1,10}\.)?(root|targets|snapshot|retraining~[\w.-]{1,64}~[\w.-]{1,64})\.json$|^timestamp\.json$/;

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
  const roleKey = (name: string) => join(dir, "keys", `${name}.key`);
  const forgetKey = (role: RoleName) => rm(roleKey(roleName(role)), { force: true });
  let state = await readState(join(dir, "state.json"));
  let turn: Promise<unknown> = Promise.resolve();

  async function keepState(next: RepositoryState): Promise<void> {
    await writeDurably(join(dir, "state.json"), JSON.stringify(next, undefined, 1));
    state = next;
  }

  async function signRetrained(from: RepositoryState, names: readonly string[]): Promise<RepositoryState> {
    const signedAtMs = now();
    const retraining = from.retraining.map((role) =>
      names.includes(roleName(role)) ? { ...role, version: role.version + 1, signedAtMs } : role,
    );
    for (const { model, cohort, version } of retraining.filter((role) => names.includes(roleName(role)))) {
      const name = retrainingRole(model, cohort);
      const own = from.releases.filter((release) => release.model === model && release.cohort === cohort);
      const { pair } = await openKey(roleKey(name));
      await write(`${version}.${name}.json`, makeRetrained(own, pair, version, signedAtMs));
    }
    return { ...from, retraining };
  }

  async function signTargets(from: RepositoryState, version: number, nowMs: number): Promise<void> {
    const delegations = await Promise.all(
      delegatedIn(from).map(async ({ model, cohort, selector, withdrawn }) => {
        const { pair } = await openKey(roleKey(retrainingRole(model, cohort)));
        return { scope: { model, cohort, selector, withdrawn }, publicKey: pair.publicKey };
      }),
    );
    const own = from.releases.filter(({ cohort }) => cohort === undefined);
    const bytes = makeTargets(own, [directorHex], roleKeys.targets, version, nowMs, delegations);
    await write(`${version}.targets.json`, bytes);
  }

  const signedFile = async (role: string, version: number): Promise<MetadataFile> => ({
    version,
    bytes: await readFile(file(`${version}.${role}.json`)),
  });

  /** New files first, the timestamp that points at them last: whoever asks in between sees the old whole. */
  async function sign(change: Change): Promise<void> {
    const { roles } = change;
    const from = await signRetrained(change.state, change.retraining);
    const nowMs = now();
    const versions = { ...from.versions };
    const signedAtMs = { ...from.signedAtMs };
    for (const role of roles) {
      versions[role]++;
      signedAtMs[role] = nowMs;
    }
    if (roles.includes("root")) await write(`${versions.root}.root.json`, makeRoot(roleKeys, versions.root, nowMs));
    if (roles.includes("targets")) await signTargets(from, versions.targets, nowMs);
    if (roles.includes("snapshot")) {
      const targets = await signedFile("targets", versions.targets);
      const retrained: Record<string, MetadataFile> = {};
      for (const role of from.retraining) {
        retrained[roleName(role)] = await signedFile(roleName(role), role.version);
      }
      const bytes = makeSnapshot(targets, roleKeys.snapshot, versions.snapshot, nowMs, retrained);
      await write(`${versions.snapshot}.snapshot.json`, bytes);
    }
    const snapshot = await signedFile("snapshot", versions.snapshot);
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
    const due = overdue(state, now());
    if (due) await sign(due);
  }

  async function release(manifest: Omit<Release, "releaseCounter">): Promise<Result<Release>> {
    const added = released(state, manifest);
    if (!added.ok) return added;
    if (added.value.change) await sign(added.value.change);
    return ok(added.value.release);
  }

  if (state.versions.root === 0) {
    await sign({ state, roles: ["root", "targets", "snapshot", "timestamp"], retraining: [] });
  }
  // Died between the state and the timestamp: devices would see neither a release nor a withdrawal until its renewal.
  if (versionOf(await readText(file("timestamp.json"))) !== state.versions.timestamp) {
    await sign({ state, roles: ["timestamp"], retraining: [] });
  }
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
    releases: () => acceptedIn(state),
    release: (manifest) => inTurn(() => release(manifest)),
    releaseDelegated: (manifest) => inTurn(() => release(manifest)),
    withdraw: (model, version) =>
      inTurn(async () => {
        const taken = withdrawn(state, model, version);
        if (!taken.ok) return taken;
        await sign(taken.value.change);
        return ok(taken.value.release);
      }),
    retraining: () =>
      state.retraining
        .filter(({ delegated }) => delegated)
        .map(({ model, cohort, selector, withdrawn, enabled }) => {
          const own = state.releases.filter((release) => release.model === model && release.cohort === cohort);
          return {
            model,
            cohort,
            selector,
            withdrawn,
            enabled,
            versions: own.map(({ version, by = "" }) => ({ version, by })),
          };
        }),
    delegate: ({ model, cohort, selector }) =>
      inTurn(async () => {
        // A key that was left over from a role taken away is not trusted again.
        if (!roleIn(state, { model, cohort })?.delegated) await forgetKey({ model, cohort });
        await sign(delegated(state, { model, cohort, selector }));
      }),
    undelegate: ({ model, cohort }) =>
      inTurn(async () => {
        const change = undelegated(state, { model, cohort });
        if (!change.ok) return change;
        await sign(change.value);
        await forgetKey({ model, cohort });
        return ok(change.value.lost);
      }),
    setDelegation: (role, enabled) =>
      inTurn(async () => {
        const change = switched(state, role, enabled);
        if (!change.ok) return change;
        if (change.value) await sign(change.value);
        return ok(undefined);
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
    const key = await openKey(join(dir, `${name}.key`));
    made ||= key.made;
    keys[name] = key.pair;
  }
  return { keys: keys as Record<KeyName, KeyPair>, made };
}

/** The key of a file, made now where there is none. */
async function openKey(path: string): Promise<{ readonly pair: KeyPair; readonly made: boolean }> {
  const kept = await readText(path);
  const hex = kept ?? `${randomBytes(32).toString("hex")}\n`;
  if (kept === undefined) await writeDurably(path, hex);
  return { pair: keyPairOf(Buffer.from(hex.trim(), "hex")), made: kept === undefined };
}

async function readState(path: string): Promise<RepositoryState> {
  return stateOf(JSON.parse((await readText(path)) ?? "{}") as Partial<RepositoryState>);
}

/** Version of a metadata file; undefined where it is missing or spoilt. */
function versionOf(metadata: string | undefined): number | undefined {
  try {
    return (JSON.parse(metadata ?? "{}") as { signed?: { version?: number } }).signed?.version;
  } catch {
    return undefined;
  }
}

function readText(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return undefined;
    throw cause;
  });
}
