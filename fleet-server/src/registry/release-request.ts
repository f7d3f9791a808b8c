import { Digest, Name, TimeMs } from "@bellwether/protocol/ids.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer, oneOf, validator } from "@bellwether/protocol/schema.ts";
import type { KeyPair } from "@bellwether/protocol/trust/keys.ts";
import type { Metadata, Root, Targets } from "@tufjs/models";
import { type Static, Type } from "typebox";
import {
  LIFETIMES_MS,
  makeTargets,
  metadataBytes,
  type NamedRole,
  type TargetsContent,
  tufKeyId,
  withSignatures,
} from "./metadata.ts";
import { METADATA_BYTES_MAX, readTargets } from "./read-metadata.ts";

const closed = { additionalProperties: false } as const;
const Version = integer({ minimum: 1, maximum: 1_000_000_000 });
const PublicKey = Type.String({ pattern: "^[0-9a-f]{64}$" });

/** One thing the owners of the offline keys are asked to sign. */
export const TargetsChange = Type.Union([
  Type.Object(
    {
      change: Type.Literal("release"),
      model: Name,
      version: Version,
      manifestDigest: Digest,
      manifestLength: integer({ minimum: 1 }),
      releaseCounter: integer({ minimum: 1 }),
    },
    closed,
  ),
  Type.Object(
    {
      change: Type.Literal("withdraw"),
      model: Name,
      version: Version,
      manifestDigest: Digest,
      cohort: Type.Optional(Name),
    },
    closed,
  ),
  Type.Object(
    {
      change: Type.Literal("grant"),
      model: Name,
      cohort: Name,
      selector: Type.String({ minLength: 1, maxLength: 1_000 }),
      publicKey: PublicKey,
    },
    closed,
  ),
  Type.Object(
    { change: Type.Literal("revoke"), model: Name, cohort: Name, lost: Type.Array(Digest, { maxItems: 10_000 }) },
    closed,
  ),
  Type.Object({ change: oneOf(["on", "off"]), model: Name, cohort: Name }, closed),
  Type.Object(
    { change: Type.Literal("director"), publicKeys: Type.Array(PublicKey, { minItems: 1, maxItems: 8 }) },
    closed,
  ),
]);
export type TargetsChange = Static<typeof TargetsChange>;

const MetadataText = Type.String({ maxLength: METADATA_BYTES_MAX.targets });

/** What a server asks to have signed: changes to the targets that are published now. No change at all renews them. */
export const ReleaseRequest = Type.Object(
  {
    v: Type.Literal(1),
    requestedAtMs: TimeMs,
    /** The targets that are published, with their signatures: what is not a change is taken from here. */
    base: MetadataText,
    changes: Type.Array(TargetsChange, { maxItems: 1_000 }),
  },
  closed,
);
export type ReleaseRequest = Static<typeof ReleaseRequest>;

export const releaseRequest = validator("The release request", ReleaseRequest);

/** What a person at the offline keys must know of a change. */
export function changeSentence(change: TargetsChange): string {
  switch (change.change) {
    case "release":
      return `release ${change.model} ${change.version} to every device: ${change.manifestDigest}`;
    case "withdraw":
      return `withdraw ${change.model} ${change.version}: ${change.manifestDigest}`;
    case "grant":
      return `let retraining release ${change.model} for the cohort ${change.cohort} (${change.selector}), by the online key ${change.publicKey}`;
    case "revoke":
      return `take that away from the cohort ${change.cohort} of ${change.model}, and withdraw ${change.lost.length} releases of it`;
    case "director":
      return `name the director's online key ${change.publicKeys.join(", ")}`;
    default:
      return `switch retraining of ${change.model} for the cohort ${change.cohort} ${change.change}`;
  }
}

/** The targets with the changes, one after the other; a change that is there already is none. */
export function withChanges(content: TargetsContent, changes: readonly TargetsChange[]): Result<TargetsContent> {
  let next = content;
  for (const change of changes) {
    const changed = withChange(next, change);
    if (!changed.ok) return changed;
    next = changed.value;
  }
  return ok(next);
}

function withChange(content: TargetsContent, change: TargetsChange): Result<TargetsContent> {
  switch (change.change) {
    case "release":
      return withRelease(content, change);
    case "withdraw":
      return withoutRelease(content, change);
    case "director":
      return ok({ ...content, directorKeys: change.publicKeys });
    case "grant":
      return ok(withGrant(content, change));
    default: {
      const role = roleOf(content, change);
      if (!role || role.standing === "revoked")
        return err("RETRAINING_ROLE_UNKNOWN", { model: change.model, cohort: change.cohort });
      if (change.change !== "revoke") return ok(withRole(content, { ...role, standing: change.change }));
      const withdrawn = [...new Set([...role.scope.withdrawn, ...change.lost])];
      return ok(withRole(content, { ...role, scope: { ...role.scope, withdrawn }, standing: "revoked" }));
    }
  }
}

type Of<Kind extends TargetsChange["change"]> = Extract<TargetsChange, { readonly change: Kind }>;

function withRelease(content: TargetsContent, { change: _, ...release }: Of<"release">): Result<TargetsContent> {
  const { model, version } = release;
  const known = content.releases.find((one) => one.model === model && one.version === version);
  if (known && known.manifestDigest !== release.manifestDigest) return err("RELEASE_EXISTS", { model, version });
  return ok(known ? content : { ...content, releases: [...content.releases, release] });
}

function withoutRelease(content: TargetsContent, change: Of<"withdraw">): Result<TargetsContent> {
  const { model, version, manifestDigest, cohort } = change;
  if (cohort === undefined) {
    const releases = content.releases.filter(
      (one) => one.model !== model || one.version !== version || one.manifestDigest !== manifestDigest,
    );
    return ok({ ...content, releases });
  }
  const role = roleOf(content, { model, cohort });
  if (!role) return err("RETRAINING_ROLE_UNKNOWN", { model, cohort });
  const withdrawn = [...new Set([...role.scope.withdrawn, manifestDigest])];
  return ok(withRole(content, { ...role, scope: { ...role.scope, withdrawn } }));
}

function withGrant(content: TargetsContent, { model, cohort, selector, publicKey }: Of<"grant">): TargetsContent {
  const before = roleOf(content, { model, cohort });
  // Granting once more signs the selector as it is now; what was switched off stays off.
  const standing = before?.standing === "off" ? "off" : "on";
  const scope = { model, cohort, selector, withdrawn: before?.scope.withdrawn ?? [] };
  return withRole(content, { scope, publicKey, standing });
}

function roleOf({ roles }: TargetsContent, named: { readonly model: string; readonly cohort: string }) {
  return roles.find(({ scope }) => scope.model === named.model && scope.cohort === named.cohort);
}

function withRole(content: TargetsContent, role: NamedRole): TargetsContent {
  const before = roleOf(content, role.scope);
  return { ...content, roles: [...content.roles.filter((one) => one !== before), role] };
}

/** Targets that were signed for a request, and how many signatures they still lack. */
export interface Signing {
  readonly targets: string;
  readonly missing: number;
  readonly content: TargetsContent;
}

/**
 * Signs what a request asks for, on a machine that need not know the server. Nothing of the request is believed but its
 * changes, which the person who signs is shown: the rest comes from the published targets, which the offline keys
 * themselves signed. `before` are the targets of an earlier signer, to which this one's signatures are added. `base` is the root under which the published targets were signed, where this file also brings a new one.
 */
export function signRequest(
  request: ReleaseRequest,
  trust: { readonly root: Metadata<Root>; readonly keys: readonly KeyPair[] },
  nowMs: number,
  options: { readonly lifeMs?: number; readonly before?: string; readonly base?: Metadata<Root> } = {},
): Result<Signing> {
  const base = readTargets(request.base);
  if (!base.ok) return base;
  const trusted = verified(options.base ?? trust.root, "targets", base.value.metadata);
  if (!trusted.ok) return trusted;
  const wanted = withChanges(base.value.content, request.changes);
  if (!wanted.ok) return wanted;
  const expiresAtMs = nowMs + (options.lifeMs ?? LIFETIMES_MS.targets);
  let content: TargetsContent = { ...wanted.value, version: wanted.value.version + 1, expiresAtMs };
  let metadata = makeTargets(content);
  if (options.before !== undefined) {
    const earlier = readTargets(options.before);
    if (!earlier.ok) return earlier;
    content = { ...content, expiresAtMs: earlier.value.content.expiresAtMs };
    metadata = earlier.value.metadata;
    if (!metadata.signed.equals(makeTargets(content).signed))
      return err("TARGETS_INCONSISTENT", {
        reason: "an earlier signer signed something else than the request asks for",
      });
  }
  const role = trust.root.signed.roles["targets"]!;
  const own = trust.keys.filter(({ publicKey }) => role.keyIDs.includes(tufKeyId(publicKey)));
  withSignatures(metadata, own);
  const signatures = Object.keys(metadata.signatures).filter((id) => role.keyIDs.includes(id)).length;
  const targets = metadataBytes(metadata).toString("utf8");
  return ok({ targets, missing: Math.max(0, role.threshold - signatures), content });
}

/** Whether as many keys as the root demands for a role have signed. */
export function verified(
  root: Metadata<Root>,
  role: "root" | "targets",
  metadata: Metadata<Root> | Metadata<Targets>,
): Result<void> {
  try {
    root.verifyDelegate(role, metadata);
    return ok(undefined);
  } catch {
    const threshold = root.signed.roles[role]?.threshold;
    return err("PUBLICATION_UNSIGNED", { role, threshold, root: root.signed.version });
  }
}
