import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { type RetrainingScope, retrainingRole } from "@bellwether/protocol/trust/releases.ts";
import { LIFETIMES_MS, RETRAINING_LIFE_MS, type Release, ROLES, type TufRole } from "./metadata.ts";

/** A retraining role as it is kept. One that was taken away stays: the snapshot must go on listing its file. */
export interface RetrainingRole extends RetrainingScope {
  readonly delegated: boolean;
  /** False: switched off for now. Targets delegate nothing to it; what it released comes back with it. */
  readonly enabled: boolean;
  /** Version of its metadata file, and when it was signed. */
  readonly version: number;
  readonly signedAtMs: number;
}

/** Everything but keys and metadata: what the metadata is made from, kept as one file. */
export interface RepositoryState {
  readonly versions: Readonly<Record<TufRole, number>>;
  readonly signedAtMs: Readonly<Record<TufRole, number>>;
  readonly counter: number;
  /** By targets, and by the retraining roles that are delegated, switched off or not. */
  readonly releases: readonly Release[];
  readonly retraining: readonly RetrainingRole[];
}

const NEVER: Readonly<Record<TufRole, number>> = { root: 0, targets: 0, snapshot: 0, timestamp: 0 };

/** The state of a file; members that an earlier program did not write yet have their first values. */
export function stateOf(kept: Partial<RepositoryState>): RepositoryState {
  const none = { counter: 0, releases: [], retraining: [] };
  return { versions: NEVER, signedAtMs: NEVER, ...none, ...kept };
}

/** A change of state, and what must be signed anew for it. */
export interface Change {
  readonly state: RepositoryState;
  readonly roles: readonly TufRole[];
  /** Names of the retraining roles whose own file changes. */
  readonly retraining: readonly string[];
}

const PUBLISHED: readonly TufRole[] = ["targets", "snapshot", "timestamp"];

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
    ({ model, cohort }) => cohort === undefined || delegated.has(retrainingRole(model, cohort)),
  );
}

/** A model and a cohort: what names a retraining role. */
export type RoleName = Pick<RetrainingScope, "model" | "cohort">;

/** The role of a model and cohort, also one that was taken away. */
export function roleIn(state: RepositoryState, { model, cohort }: RoleName): RetrainingRole | undefined {
  return state.retraining.find((one) => one.model === model && one.cohort === cohort);
}

function put(state: RepositoryState, role: RetrainingRole): RepositoryState {
  const others = state.retraining.filter((one) => roleName(one) !== roleName(role));
  return { ...state, retraining: [...others, role].toSorted((a, b) => (roleName(a) < roleName(b) ? -1 : 1)) };
}

/** Delegates to a role, new or known, with this selector. One that stands already stays on or off as it is. */
export function delegated(state: RepositoryState, scope: RoleName & { readonly selector: string }): Change {
  const before = roleIn(state, scope);
  const enabled = before?.delegated ? before.enabled : true;
  const role = { ...{ withdrawn: [], version: 0, signedAtMs: 0 }, ...before, ...scope, delegated: true, enabled };
  return { state: put(state, role), roles: PUBLISHED, retraining: [roleName(role)] };
}

/** Takes a role away with everything it released, which is withdrawn for good. */
export function undelegated(state: RepositoryState, named: RoleName): Result<Change & { readonly lost: Release[] }> {
  const role = roleIn(state, named);
  if (!role?.delegated) return err("RETRAINING_ROLE_UNKNOWN", { ...named });
  const lost = state.releases.filter(({ model, cohort }) => model === named.model && cohort === named.cohort);
  const withdrawn = [...role.withdrawn, ...lost.map(({ manifestDigest }) => manifestDigest)];
  const next = put({ ...state, releases: state.releases.filter((one) => !lost.includes(one)) }, role);
  return ok({
    state: put(next, { ...role, delegated: false, withdrawn }),
    roles: PUBLISHED,
    retraining: [],
    lost,
  });
}

/** Switches a retraining role on or off; undefined where it stands so already. */
export function switched(state: RepositoryState, named: RoleName, enabled: boolean): Result<Change | undefined> {
  const role = roleIn(state, named);
  if (!role?.delegated) return err("RETRAINING_ROLE_UNKNOWN", { ...named });
  if (role.enabled === enabled) return ok(undefined);
  return ok({ state: put(state, { ...role, enabled }), roles: PUBLISHED, retraining: [] });
}

/**
 * Adds a release, by targets or by a cohort's role. The same manifest again is no change; what a role released, targets
 * may release for everybody: then it stands with them alone.
 */
export function released(
  state: RepositoryState,
  manifest: Omit<Release, "releaseCounter">,
): Result<{ readonly release: Release; readonly change?: Change }> {
  const { model, version, cohort } = manifest;
  const known = state.releases.find((one) => one.model === model && one.version === version);
  if (known && known.manifestDigest !== manifest.manifestDigest) return err("RELEASE_EXISTS", { model, version });
  if (known && (known.cohort === undefined || known.cohort === cohort)) return ok({ release: known });
  if (known?.cohort !== undefined && cohort !== undefined) {
    const reason = `it was released for the cohort ${known.cohort}`;
    return err("CONFLICT", { what: "The model version", name: `${model} ${version}`, reason });
  }
  if (cohort !== undefined) {
    const may = mayRelease(state, { ...manifest, cohort });
    if (!may.ok) return may;
  }
  const release = { ...manifest, releaseCounter: state.counter + 1 };
  const releases = [...state.releases.filter((one) => one !== known), release];
  const next = { ...state, counter: release.releaseCounter, releases };
  const role = cohort ?? known?.cohort;
  const retraining = role === undefined ? [] : [retrainingRole(model, role)];
  // A role's own release needs no signature of targets: that is what the role is for.
  const roles = cohort === undefined ? PUBLISHED : PUBLISHED.filter((one) => one !== "targets");
  return ok({ release, change: { state: next, roles, retraining } });
}

function mayRelease(
  state: RepositoryState,
  release: RoleName & { version: number; manifestDigest: string },
): Result<void> {
  const { model, cohort, version, manifestDigest } = release;
  const role = roleIn(state, release);
  if (!role?.delegated) return err("RETRAINING_ROLE_UNKNOWN", { model, cohort });
  if (!role.enabled) return err("RETRAINING_ROLE_OFF", { model, cohort });
  if (role.withdrawn.includes(manifestDigest)) return err("RELEASE_WITHDRAWN", { model, version, cohort });
  return ok(undefined);
}

/** Takes a release back; one by a retraining role is named by targets too, so that the role cannot bring it back. */
export function withdrawn(
  state: RepositoryState,
  model: string,
  version: number,
): Result<{ readonly release: Release; readonly change: Change }> {
  const release = state.releases.find((one) => one.model === model && one.version === version);
  if (!release) return err("NOT_FOUND", { what: "release", name: `${model} ${version}` });
  const next = { ...state, releases: state.releases.filter((one) => one !== release) };
  const { cohort, manifestDigest } = release;
  const role = cohort === undefined ? undefined : roleIn(state, { model, cohort });
  if (!role) return ok({ release, change: { state: next, roles: PUBLISHED, retraining: [] } });
  const marked = put(next, { ...role, withdrawn: [...role.withdrawn, manifestDigest] });
  return ok({ release, change: { state: marked, roles: PUBLISHED, retraining: [roleName(role)] } });
}

/** What has used up half of its life. */
export function overdue(state: RepositoryState, nowMs: number): Change | undefined {
  const due = ROLES.filter((role) => nowMs - state.signedAtMs[role] > LIFETIMES_MS[role] / 2);
  const retraining = state.retraining
    .filter((role) => role.delegated && nowMs - role.signedAtMs > RETRAINING_LIFE_MS / 2)
    .map(roleName);
  if (due.length + retraining.length === 0) return undefined;
  const roles = new Set<TufRole>([...due, "timestamp"]);
  if (roles.has("targets") || retraining.length > 0) roles.add("snapshot");
  return { state, roles: [...roles], retraining };
}
