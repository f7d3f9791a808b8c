import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { KeyPair } from "@bellwether/protocol/trust/keys.ts";
import { type RetrainingScope, retrainingRole } from "@bellwether/protocol/trust/releases.ts";
import { writeDurably } from "../files.io.ts";
import { type Accepted, accepted, named, type Published, type Upload } from "./acceptance.ts";
import type { Signed } from "./expiries.ts";
import {
  DIRECTOR_TARGET,
  directorTarget,
  LIFETIMES_MS,
  type MetadataFile,
  makeRetrained,
  makeSnapshot,
  makeTimestamp,
  RETRAINING_LIFE_MS,
  type Release,
} from "./metadata.ts";
import {
  forgetOnlineKeys,
  forgetRoleKey,
  ONLINE_ROLES,
  type OnlineKeyRole,
  openOnlineKeys,
  openRoleKey,
} from "./online-keys.io.ts";
import { readRoot, readTargets } from "./read-metadata.ts";
import { type ReleaseRequest, type TargetsChange, withChanges } from "./release-request.ts";
import {
  type Approval,
  acceptedIn,
  blocked,
  type Change,
  overdue,
  type Publication,
  published,
  type RepositoryState,
  type RoleName,
  raised,
  released,
  roleName,
  stateOf,
} from "./repository-state.ts";

/** What callers want signed; the server adds what only it knows (digests, counters, keys). */
export type WantedChange =
  | ({ readonly change: "release" } & Omit<Release, "releaseCounter" | "cohort" | "by">)
  | ({ readonly change: "grant"; readonly selector: string } & RoleName)
  | ({ readonly change: "revoke" | "on" | "off" } & RoleName)
  /** Names the newest director key of the server, and no other. */
  | { readonly change: "director" };

/**
 * The release repository (TUF): what owners have released, and proofs of how fresh that is. Root and targets are signed
 * elsewhere, by keys that never come here; the server asks for signatures, judges them and publishes them.
 */
export interface ReleaseRepository {
  /** True when all keys are development keys, made on one machine for trying things out. */
  readonly development: boolean;
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
  /** Who published a release to everybody, and when. */
  approval(model: string, version: number): Approval | undefined;
  /** A release by a cohort's retraining role, whose online key alone signs it. */
  releaseDelegated(
    manifest: Omit<Release, "releaseCounter"> & { readonly cohort: string; readonly by: string },
  ): Promise<Result<Release>>;
  /** Withdraws a release as far as the server can; the next request asks the owners to sign that. */
  block(model: string, version: number): Promise<Result<Release>>;
  /** Releases that are withdrawn here, while the targets still name them. */
  blocked(): readonly Release[];
  /** The retraining roles that are delegated, switched off or not, each with what it has released. */
  retraining(): readonly RetrainingView[];
  /** What the owners have to sign for these changes, and for every withdrawal that waits. */
  request(changes: readonly WantedChange[]): Promise<Result<ReleaseRequest>>;
  /** Publishes what the owners signed, when `judge` finds that it fits the registry. */
  publish(
    upload: Upload,
    by: string,
    judge: (publication: Publication) => Promise<Result<void>>,
  ): Promise<Result<Publication>>;
  /** What is signed for a time, and until when. */
  signed(): readonly Signed[];
  /** After a restore: moves the versions of what the server signs on, above those devices may have seen, and signs them. */
  raise(by: number): Promise<void>;
  /** Signs again what has used up half of its life, where the keys are online. */
  renew(): Promise<void>;
  close(): Promise<void>;
}

/** A retraining role as people see it. */
export interface RetrainingView extends RetrainingScope {
  readonly enabled: boolean;
  /** What it released and nobody withdrew, and who had it do so. */
  readonly versions: readonly { readonly version: number; readonly by: string }[];
}

const RENEW_EVERY_MS = 600_000;
const METADATA_FILE =
  /^(\d{1,10}\.)?(root|targets|snapshot|retraining~[\w.-]{1,64}~[\w.-]{1,64})\.json$|^timestamp\.json$/;

/** Opens `dir`, where somebody has laid the first root and targets; `REPOSITORY_EMPTY` where nobody has. */
export async function openRepository(dir: string, now: () => number): Promise<Result<ReleaseRepository>> {
  let online = await openOnlineKeys(dir);
  const file = (name: string) => join(dir, "metadata", name);
  const write = (name: string, bytes: Uint8Array | string) => writeDurably(file(name), bytes, 0o644);
  let state = await readState(join(dir, "state.json"));
  const found = await readPublished(file, state);
  if (!found.ok) return found;
  let trusted: Required<Published> = found.value;
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
      const pair = await openRoleKey(dir, name);
      await write(`${version}.${name}.json`, makeRetrained(own, pair, version, signedAtMs));
    }
    return { ...from, retraining };
  }

  const signedFile = async (role: string, version: number): Promise<MetadataFile> => ({
    version,
    bytes: await readFile(file(`${version}.${role}.json`)),
  });

  /** New files first, the timestamp that points at them last: whoever asks in between sees the old whole. */
  async function sign(change: Change, { root } = trusted): Promise<void> {
    const { roles } = change;
    if (roles.length + change.retraining.length === 0) return keepState(change.state);
    const from = await signRetrained(change.state, change.retraining);
    const nowMs = now();
    const versions = { ...from.versions, timestamp: from.versions.timestamp + 1 };
    const signedAtMs = { ...from.signedAtMs, timestamp: nowMs };
    if (roles.includes("snapshot")) {
      versions.snapshot++;
      signedAtMs.snapshot = nowMs;
      const targets = await signedFile("targets", versions.targets);
      const retrained: Record<string, MetadataFile> = {};
      for (const role of from.retraining.filter(({ version }) => version > 0)) {
        retrained[roleName(role)] = await signedFile(roleName(role), role.version);
      }
      const keys = named(root.content.roles.snapshot.publicKeys, online.snapshot);
      const bytes = makeSnapshot(targets, keys, versions.snapshot, nowMs, retrained);
      await write(`${versions.snapshot}.snapshot.json`, bytes);
    }
    const snapshot = await signedFile("snapshot", versions.snapshot);
    const keys = named(root.content.roles.timestamp.publicKeys, online.timestamp);
    const timestamp = makeTimestamp(snapshot, keys, versions.timestamp, nowMs);
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

  async function request(wanted: readonly WantedChange[]): Promise<Result<ReleaseRequest>> {
    const changes: TargetsChange[] = state.blocked.map(({ model, version, manifestDigest, cohort }) => {
      return { change: "withdraw", model, version, manifestDigest, ...(cohort ? { cohort } : {}) };
    });
    let { counter } = state;
    for (const one of wanted) {
      if (one.change === "release") changes.push({ ...one, releaseCounter: ++counter });
      else if (one.change === "director") {
        const newest = (await openOnlineKeys(dir)).director.at(-1)!;
        changes.push({ change: "director", publicKeys: [Buffer.from(newest.publicKey).toString("hex")] });
      } else if (one.change === "grant") changes.push({ ...one, publicKey: await grantedKey(one) });
      else if (one.change === "revoke") {
        const own = state.releases.filter(({ model, cohort }) => model === one.model && cohort === one.cohort);
        changes.push({ ...one, change: "revoke", lost: own.map(({ manifestDigest }) => manifestDigest) });
      } else changes.push({ ...one, change: one.change });
    }
    const possible = withChanges(trusted.targets.content, changes);
    if (!possible.ok) return possible;
    // Nobody else gets these numbers, however long the owners take to sign.
    if (counter > state.counter) await keepState({ ...state, counter });
    return ok({ v: 1, requestedAtMs: now(), base: trusted.targets.text, changes });
  }

  async function grantedKey({ model, cohort }: RoleName): Promise<string> {
    return Buffer.from((await openRoleKey(dir, retrainingRole(model, cohort))).publicKey).toString("hex");
  }

  async function publish(
    upload: Upload,
    by: string,
    judge: (publication: Publication) => Promise<Result<void>>,
  ): Promise<Result<Publication>> {
    // New online keys are made by the command line, while the server runs.
    online = await openOnlineKeys(dir);
    const judged = accepted(trusted, upload, online, now());
    if (!judged.ok) return judged;
    const { root, targets, roots } = judged.value;
    for (const { scope, publicKey, standing } of targets.content.roles) {
      if (standing !== "revoked" && publicKey !== (await grantedKey(scope)))
        return err("ONLINE_KEY_MISSING", { role: roleName(scope) });
    }
    const publication = published(state, targets.content, { by, nowMs: now() });
    const fits = await judge(publication);
    if (!fits.ok) return fits;
    if (roots.length === 0 && !judged.value.newTargets) return ok(publication);
    await writeFiles(judged.value);
    const { change } = publication;
    const versions = { ...change.state.versions, root: root.content.version };
    await sign({ ...change, state: { ...change.state, versions } }, { root, targets });
    trusted = { root, targets };
    for (const role of publication.revoked) await forgetRoleKey(dir, roleName(role));
    for (const role of ONLINE_ROLES) await forgetOnlineKeys(dir, role, (key) => isNamed(trusted, role, key));
    return ok(publication);
  }

  async function writeFiles({ roots, targets, newTargets }: Accepted): Promise<void> {
    if (newTargets) await write(`${targets.content.version}.targets.json`, targets.text);
    for (const { version, text } of roots) await write(`${version}.root.json`, text);
  }

  if (state.versions.targets === 0) {
    const first = published(state, trusted.targets.content, { by: "", nowMs: now() }).change;
    const versions = { ...first.state.versions, root: trusted.root.content.version };
    await sign({ ...first, state: { ...first.state, versions } });
  }
  // Died between the state and the timestamp: devices would see neither a release nor a withdrawal until its renewal.
  if (versionOf(await readText(file("timestamp.json"))) !== state.versions.timestamp) {
    await sign({ state, roles: ["timestamp"], retraining: [] });
  }
  await renew();
  const timer = setInterval(() => void inTurn(renew).catch(() => undefined), RENEW_EVERY_MS);
  timer.unref();

  return ok({
    get development() {
      return trusted.root.content.development;
    },
    get directorKey() {
      const publicKeys = trusted.targets.content.directorKeys.map((hex) => Buffer.from(hex, "hex"));
      return named(publicKeys, online.director).at(-1)!;
    },
    rootMetadata: () => readFile(file("1.root.json"), "utf8"),
    async metadata(name) {
      if (!METADATA_FILE.test(name)) return undefined;
      // A root of which the state does not know yet was left by a crash: the files under it are not there.
      const [, root] = /^(\d+)\.root\.json$/.exec(name) ?? [];
      if (Number(root) > state.versions.root) return undefined;
      return readFile(file(name)).catch((cause: NodeJS.ErrnoException) => {
        if (cause.code === "ENOENT") return undefined;
        throw cause;
      });
    },
    target: (name) =>
      name.endsWith(DIRECTOR_TARGET) ? directorTarget(trusted.targets.content.directorKeys) : undefined,
    releases: () => acceptedIn(state),
    approval: (model, version) => state.approvals.findLast((one) => one.model === model && one.version === version),
    releaseDelegated: (manifest) =>
      inTurn(async () => {
        const added = released(state, manifest);
        if (!added.ok) return added;
        if (added.value.change) await sign(added.value.change);
        return ok(added.value.release);
      }),
    block: (model, version) =>
      inTurn(async () => {
        const taken = blocked(state, model, version);
        if (!taken.ok) return taken;
        await sign(taken.value.change);
        return ok(taken.value.release);
      }),
    blocked: () => state.blocked,
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
    request: (changes) => inTurn(() => request(changes)),
    publish: (upload, by, judge) => inTurn(() => publish(upload, by, judge)),
    signed: () => signedIn(trusted, state),
    raise: (by) => inTurn(() => sign(raised(state, by))),
    renew: () => inTurn(renew),
    async close() {
      clearInterval(timer);
      await turn;
    },
  });
}

/** Whether the newest root, or for the director the newest targets, name a key of the server. */
function isNamed({ root, targets }: Required<Published>, role: OnlineKeyRole, publicKey: Uint8Array): boolean {
  const hex = Buffer.from(publicKey).toString("hex");
  if (role === "director") return targets.content.directorKeys.includes(hex);
  return root.content.roles[role].publicKeys.some((key) => Buffer.from(key).toString("hex") === hex);
}

function signedIn({ root, targets }: Required<Published>, state: RepositoryState): Signed[] {
  const offline = (["root", "targets"] as const).map((role): Signed => {
    const { version, expiresAtMs } = { root, targets }[role].content;
    return { role, version, expiresAtMs, lifeMs: LIFETIMES_MS[role], renewedBy: "owners" };
  });
  const online = (["snapshot", "timestamp"] as const).map((role): Signed => {
    const [version, lifeMs] = [state.versions[role], LIFETIMES_MS[role]];
    return { role, version, expiresAtMs: state.signedAtMs[role] + lifeMs, lifeMs, renewedBy: "server" };
  });
  const retraining = state.retraining
    .filter(({ delegated }) => delegated)
    .map((role): Signed => {
      const expiresAtMs = role.signedAtMs + RETRAINING_LIFE_MS;
      const { version } = role;
      return { role: roleName(role), version, expiresAtMs, lifeMs: RETRAINING_LIFE_MS, renewedBy: "server" };
    });
  return [...offline, ...online, ...retraining];
}

/** Root and targets as the state names them; the first ones where there is no state yet. */
async function readPublished(
  file: (name: string) => string,
  { versions }: RepositoryState,
): Promise<Result<Required<Published>>> {
  const rootText = await readText(file(`${versions.root || 1}.root.json`));
  const targetsText = await readText(file(`${versions.targets || 1}.targets.json`));
  if (rootText === undefined || targetsText === undefined) return err("REPOSITORY_EMPTY");
  const root = readRoot(rootText);
  if (!root.ok) return root;
  const targets = readTargets(targetsText);
  if (!targets.ok) return targets;
  return ok({
    root: { ...root.value, text: rootText },
    targets: { content: targets.value.content, text: targetsText },
  });
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
