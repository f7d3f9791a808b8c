import { Digest, Name } from "@bellwether/protocol/ids.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer, oneOf, validator } from "@bellwether/protocol/schema.ts";
import { RetrainingScope, releasePath, retrainingScope } from "@bellwether/protocol/trust/releases.ts";
import { Metadata, type MetadataKind, type Root, type Targets } from "@tufjs/models";
import { Type } from "typebox";
import {
  DEVELOPMENT_MEMBER,
  DIRECTOR_TARGET,
  DORMANT_MEMBER,
  type NamedRole,
  type Release,
  ROLES,
  type RoleKeys,
  type RootContent,
  type TargetsContent,
  type TufRole,
} from "./metadata.ts";

/** What devices take at most; nothing longer is signed or published. */
export const METADATA_BYTES_MAX: Readonly<Record<"root" | "targets", number>> = { root: 32_768, targets: 1_048_576 };

const PublicKey = Type.String({ pattern: "^[0-9a-f]{64}$" });
const dormantRoles = validator(
  "The dormant roles",
  Type.Array(Type.Object({ scope: RetrainingScope, publicKey: PublicKey, standing: oneOf(["off", "revoked"]) })),
);
const releaseOf = validator(
  "The release",
  Type.Object({
    model: Name,
    version: integer({ minimum: 1 }),
    manifestDigest: Digest,
    manifestLength: integer({ minimum: 1 }),
    releaseCounter: integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
  }),
);
const publicKeys = validator("The director's keys", Type.Array(PublicKey, { minItems: 1, maxItems: 8 }));

/** Metadata of which only the shape was judged: nobody has looked at the signatures. */
export interface Unverified<T extends Root | Targets, C> {
  readonly metadata: Metadata<T>;
  readonly content: C;
}

/** Reads root metadata; a key under two names is refused, for it would reach a threshold of two by itself. */
export function readRoot(text: string): Result<Unverified<Root, RootContent>> {
  const read = parsed("root", text, (json) => Metadata.fromJSON("root" as MetadataKind.Root, json));
  if (!read.ok) return read;
  const { signed } = read.value;
  const roles: Partial<Record<TufRole, RoleKeys>> = {};
  for (const name of ROLES) {
    const role = signed.roles[name];
    const keys = role?.keyIDs.map((id) => signed.keys[id]?.keyVal.public);
    if (!role || !keys || keys.length === 0) return unreadable("root", `it names no key for ${name}`);
    if (keys.some((key) => !/^[0-9a-f]{64}$/.test(key ?? ""))) return unreadable("root", `a key of ${name} is missing`);
    if (new Set(keys).size !== keys.length) return unreadable("root", `${name} names one key twice`);
    if (role.threshold < 1 || role.threshold > keys.length) return unreadable("root", `${name} can never be signed`);
    roles[name] = { publicKeys: keys.map((key) => Buffer.from(key!, "hex")), threshold: role.threshold };
  }
  const development = signed.unrecognizedFields[DEVELOPMENT_MEMBER] === true;
  const { version, expires } = signed;
  const content = { version, expiresAtMs: Date.parse(expires), roles: roles as RootContent["roles"], development };
  return ok({ metadata: read.value, content });
}

/** Reads targets metadata; what no version of this program writes there is refused. */
export function readTargets(text: string): Result<Unverified<Targets, TargetsContent>> {
  const read = parsed("targets", text, (json) => Metadata.fromJSON("targets" as MetadataKind.Targets, json));
  if (!read.ok) return read;
  const { signed } = read.value;
  let directorKeys: readonly string[] | undefined;
  const releases: Release[] = [];
  for (const [path, file] of Object.entries(signed.targets)) {
    const custom = file.custom;
    if (path === DIRECTOR_TARGET) {
      const keys = publicKeys.check(custom["keys"]);
      if (!keys.ok) return unreadable("targets", keys.error.message);
      directorKeys = keys.value;
      continue;
    }
    const [, model, version] = /^models\/([^/]+)\/(\d{1,15})\/manifest\.json$/.exec(path) ?? [];
    const release = releaseOf.check({
      model,
      version: Number(version),
      manifestDigest: `sha256:${file.hashes["sha256"] ?? ""}`,
      manifestLength: file.length,
      releaseCounter: custom["releaseCounter"],
    });
    if (!release.ok || releasePath(release.value.model, release.value.version) !== path)
      return unreadable("targets", `${path.slice(0, 100)} is no release`);
    releases.push(release.value);
  }
  if (!directorKeys) return unreadable("targets", "they name no director");
  const roles = rolesIn(signed);
  if (!roles.ok) return roles;
  const { version, expires } = signed;
  const content = { version, expiresAtMs: Date.parse(expires), directorKeys, releases, roles: roles.value };
  return ok({ metadata: read.value, content });
}

function rolesIn(signed: Targets): Result<NamedRole[]> {
  const roles: NamedRole[] = [];
  for (const role of Object.values(signed.delegations?.roles ?? {})) {
    const scope = retrainingScope.check(role.unrecognizedFields?.["custom"]);
    if (!scope.ok) return unreadable("targets", scope.error.message);
    const key = signed.delegations?.keys[role.keyIDs[0] ?? ""]?.keyVal.public ?? "";
    roles.push({ scope: scope.value, publicKey: key, standing: "on" });
  }
  const dormant = dormantRoles.check(signed.unrecognizedFields[DORMANT_MEMBER] ?? []);
  if (!dormant.ok) return unreadable("targets", dormant.error.message);
  return ok([...roles, ...dormant.value]);
}

function parsed<T>(
  role: keyof typeof METADATA_BYTES_MAX,
  text: string,
  read: (json: Parameters<typeof Targets.fromJSON>[0]) => T,
): Result<T> {
  if (Buffer.byteLength(text) > METADATA_BYTES_MAX[role])
    return unreadable(role, `they are longer than ${METADATA_BYTES_MAX[role]} bytes`);
  try {
    return ok(read(JSON.parse(text)));
  } catch (cause) {
    return unreadable(role, (cause as Error).message.slice(0, 200));
  }
}

function unreadable(role: string, reason: string) {
  return err("PUBLICATION_UNREADABLE", { role, reason });
}
