import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { type RetrainingScope, retrainingRole } from "@bellwether/protocol/trust/releases.ts";
import { LIFETIMES_MS, RETRAINING_LIFE_MS, type Release, type TargetsContent, type TufRole } from "./metadata.ts";

/** A retraining role as it is kept. One that was taken away stays: the snapshot must go on listing its file. */
export interface RetrainingRole extends RetrainingScope {
  readonly delegated: boolean;
  /** False: switched off for now. Targets delegate nothing to it; what it released comes back with it. */
  readonly enabled: boolean;
  /** Version of its metadata file, and when it was signed. */
  readonly version: number;
  readonly signedAtMs: number;
}

/** Who published a release, and when. */
export interface Approval {
  readonly model: string;
  readonly version: number;
  readonly by: string;
  readonly atMs: number;
}

/** Everything but keys and metadata, kept as one file: what the offline targets say, and what online roles did since. */
export interface RepositoryState {
  readonly versions: Readonly<Record<TufRole, number>>;
  readonly signedAtMs: Readonly<Record<TufRole, number>>;
  readonly counter: number;
  /** By targets, and by the retraining roles that are delegated, switched off or not. */
  readonly releases: readonly Release[];
  readonly retraining: readonly RetrainingRole[];
  /** Withdrawn here already: no rollout names them, though the offline targets have yet to be signed without them. */
  readonly blocked: readonly Release[];
  readonly approvals: readonly Approval[];
}

const NEVER: Readonly<Record<TufRole, number>> = { root: 0, targets: 0, snapshot: 0, timestamp: 0 };

/** The state of a file; members that an earlier program did not write yet have their first values. */
export function stateOf(kept: Partial<RepositoryState>): RepositoryState {
  const none = { counter: 0, releases: [], retraining: [], blocked: [], approvals: [] };
  return { versions: NEVER, signedAtMs: NEVER, ...none, ...kept };
}

/** The roles whose keys are online: the server itself signs for them. */
export type OnlineRole = "snapshot" | "timestamp";

/** A change of state, and what must be signed anew for it. */
export interface Change {
  readonly state: RepositoryState;
  readonly roles: readonly OnlineRole[];
  /** Names of the retraining roles whose own file changes. */
  readonly retraining: readonly string[];
}

const PUBLISHED: readonly OnlineRole[] = ["snapshot", "timestamp"];

export function roleName({ model, cohort }: RoleName): string {
  return retrainingRole(model, cohort);
}

/** The roles that targets delegate to now. */
export function delegatedIn({ retraining }: RepositoryState): readonly RetrainingRole[] {
  return retraining.filter(({ delegated, enabled }) => delegated && enabled);
}

/** The releases devices accept now: none of a role that is switched off. */
export function acceptedIn(state: RepositoryState): readonly Release[] {
  const delegated = new Set(delegatedIn(state).map(roleName));
  return state.releases.filter(
    (one) =>
      (one.cohort === undefined || delegated.has(retrainingRole(one.model, one.cohort))) && !isBlocked(state, one),
  );
}

/** A model and a cohort: what names a retraining role. */
export type RoleName = Pick<RetrainingScope, "model" | "cohort">;

/** The role of a model and cohort, also one that was taken away. */
export function roleIn(state: RepositoryState, { model, cohort }: RoleName): RetrainingRole | undefined {
  return state.retraining.find((one) => one.model === model && one.cohort === cohort);
}

/** Whether a release is withdrawn here, whatever the targets still say. */
export function isBlocked({ blocked }: RepositoryState, { model, version }: { model: string; version: number }) {
  return blocked.some((one) => one.model === model && one.version === version);
}

/** Adds a release by a cohort's role. The same manifest again is no change. */
export function released(
  state: RepositoryState,
  manifest: Omit<Release, "releaseCounter"> & { readonly cohort: string },
): Result<{ readonly release: Release; readonly change?: Change }> {
  const { model, version, cohort } = manifest;
  const known = state.releases.find((one) => one.model === model && one.version === version);
  if (known && known.manifestDigest !== manifest.manifestDigest) return err("RELEASE_EXISTS", { model, version });
  if (known && (known.cohort === undefined || known.cohort === cohort)) return ok({ release: known });
  if (known?.cohort !== undefined) {
    const reason = `it was released for the cohort ${known.cohort}`;
    return err("CONFLICT", { what: "The model version", name: `${model} ${version}`, reason });
  }
  const may = mayRelease(state, manifest);
  if (!may.ok) return may;
  const release = { ...manifest, releaseCounter: state.counter + 1 };
  const next = { ...state, counter: release.releaseCounter, releases: [...state.releases, release] };
  // A role's own release needs no signature of targets: that is what the role is for.
  return ok({ release, change: { state: next, roles: PUBLISHED, retraining: [retrainingRole(model, cohort)] } });
}

function mayRelease(
  state: RepositoryState,
  release: RoleName & { version: number; manifestDigest: string },
): Result<void> {
  const { model, cohort, version, manifestDigest } = release;
  const role = roleIn(state, release);
  if (!role?.delegated) return err("RETRAINING_ROLE_UNKNOWN", { model, cohort });
  if (!role.enabled) return err("RETRAINING_ROLE_OFF", { model, cohort });
  if (role.withdrawn.includes(manifestDigest) || isBlocked(state, release))
    return err("RELEASE_WITHDRAWN", { model, version, cohort });
  return ok(undefined);
}

/**
 * Withdraws a release as far as the server can by itself: nobody is directed to it any more, and a cohort's role signs
 * its file without it. Devices refuse it for good when the owners have signed targets that say so.
 */
export function blocked(
  state: RepositoryState,
  model: string,
  version: number,
): Result<{ readonly release: Release; readonly change: Change }> {
  const release = state.releases.find((one) => one.model === model && one.version === version);
  if (!release) return err("NOT_FOUND", { what: "release", name: `${model} ${version}` });
  const next = { ...state, blocked: [...state.blocked, release] };
  const { cohort } = release;
  if (cohort === undefined) return ok({ release, change: { state: next, roles: [], retraining: [] } });
  const releases = state.releases.filter((one) => one !== release);
  const retraining = [retrainingRole(model, cohort)];
  return ok({ release, change: { state: { ...next, releases }, roles: PUBLISHED, retraining } });
}

/** What published targets change. */
export interface Publication {
  readonly change: Change;
  /** Released to everybody by these targets, and not before. */
  readonly released: readonly Release[];
  readonly withdrawn: readonly Release[];
  /** Whether they change what retraining may release, or for whom. */
  readonly delegates: boolean;
  /** Roles that were taken away: their keys are to be erased. */
  readonly revoked: readonly RoleName[];
}

/** The state after new targets were published. */
export function published(
  state: RepositoryState,
  content: TargetsContent,
  { by, nowMs }: { readonly by: string; readonly nowMs: number },
): Publication {
  const own = state.releases.filter(({ cohort }) => cohort === undefined);
  const names = new Set(content.releases.map(nameOf));
  const known = new Set(own.map(nameOf));
  const fresh = content.releases.filter((one) => !known.has(nameOf(one)));
  const retraining = content.roles.map(({ scope, standing }): RetrainingRole => {
    const { version = 0, signedAtMs = 0 } = roleIn(state, scope) ?? {};
    return { ...scope, version, signedAtMs, delegated: standing !== "revoked", enabled: standing !== "off" };
  });
  // Its last file stays in every snapshot, also where the targets have forgotten the role.
  const listed = new Set(retraining.map(roleName));
  const forgotten = state.retraining.filter((role) => !listed.has(roleName(role)));
  const roles = [...retraining, ...forgotten.map((role) => ({ ...role, delegated: false }))];
  const ofCohorts = state.releases.filter((one): one is Release & RoleName => one.cohort !== undefined);
  const kept = ofCohorts.filter((one) => {
    const role = roles.find((role) => roleName(role) === roleName(one));
    return role?.delegated && !role.withdrawn.includes(one.manifestDigest) && !names.has(nameOf(one));
  });
  const lost = ofCohorts.filter((one) => !kept.includes(one));
  const counter = Math.max(state.counter, ...content.releases.map(({ releaseCounter }) => releaseCounter));
  const blocked = state.blocked.filter((one) => {
    const role = one.cohort === undefined ? undefined : roleIn(state, { model: one.model, cohort: one.cohort });
    const named = roles.find((other) => role !== undefined && roleName(other) === roleName(role));
    return named ? named.delegated && !named.withdrawn.includes(one.manifestDigest) : names.has(nameOf(one));
  });
  const next: RepositoryState = {
    ...state,
    counter,
    blocked,
    releases: [...content.releases, ...kept],
    retraining: roles.toSorted((a, b) => (roleName(a) < roleName(b) ? -1 : 1)),
    versions: { ...state.versions, targets: content.version },
    signedAtMs: { ...state.signedAtMs, targets: nowMs },
    approvals: [...state.approvals, ...fresh.map(({ model, version }) => ({ model, version, by, atMs: nowMs }))],
  };
  const changed = new Set(lost.map(roleName));
  const sign = roles.filter((role) => role.delegated && (changed.has(roleName(role)) || isNew(state, role)));
  const reach = (all: readonly RetrainingRole[]) =>
    JSON.stringify(all.map((role) => [roleName(role), role.selector, role.delegated, role.enabled]).toSorted());
  return {
    delegates: reach(state.retraining) !== reach(roles),
    change: { state: next, roles: PUBLISHED, retraining: sign.map(roleName) },
    released: fresh,
    withdrawn: [...own, ...lost].filter((one) => !names.has(nameOf(one))),
    revoked: roles.filter((role) => !role.delegated && roleIn(state, role)?.delegated),
  };
}

function nameOf({ model, version }: { readonly model: string; readonly version: number }): string {
  return `${model} ${version}`;
}

/** A role that is delegated to now and was not before has a new key, under which its file must be signed. */
function isNew(state: RepositoryState, role: RetrainingRole): boolean {
  return !roleIn(state, role)?.delegated || role.version === 0;
}

/** What the server signs itself and has used up half of its life. */
export function overdue(state: RepositoryState, nowMs: number): Change | undefined {
  const due = PUBLISHED.filter((role) => nowMs - state.signedAtMs[role] > LIFETIMES_MS[role] / 2);
  const retraining = state.retraining
    .filter((role) => role.delegated && nowMs - role.signedAtMs > RETRAINING_LIFE_MS / 2)
    .map(roleName);
  if (due.length + retraining.length === 0) return undefined;
  const roles = new Set<OnlineRole>([...due, "timestamp"]);
  if (retraining.length > 0) roles.add("snapshot");
  return { state, roles: [...roles], retraining };
}

/** Moves the versions of everything the server signs on by so many. Files of roles that were taken away stay as they are. */
export function raised(state: RepositoryState, by: number): Change {
  const { snapshot, timestamp } = state.versions;
  const versions = { ...state.versions, snapshot: snapshot + by, timestamp: timestamp + by };
  const retraining = state.retraining.map((role) => (role.delegated ? { ...role, version: role.version + by } : role));
  return {
    state: { ...state, versions, retraining },
    roles: PUBLISHED,
    retraining: retraining.filter(({ delegated }) => delegated).map(roleName),
  };
}
