import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { KeyPair } from "@bellwether/protocol/trust/keys.ts";
import type { Metadata, Root } from "@tufjs/models";
import {
  makeRoot,
  metadataBytes,
  ROLES,
  type RootContent,
  type TufRole,
  tufKeyId,
  withSignatures,
} from "./metadata.ts";
import { readRoot } from "./read-metadata.ts";

/** What is changed about who may sign. */
export type RootChange =
  | { readonly change: "add" | "revoke"; readonly role: TufRole; readonly publicKey: Uint8Array }
  | { readonly change: "threshold"; readonly role: TufRole; readonly threshold: number };

/** The next root: the one before with these changes, in force until then. */
export function nextRoot(
  before: RootContent,
  changes: readonly RootChange[],
  expiresAtMs: number,
): Result<RootContent> {
  const roles = { ...before.roles };
  for (const change of changes) {
    const { publicKeys, threshold } = roles[change.role];
    if (change.change === "threshold") {
      roles[change.role] = { publicKeys, threshold: change.threshold };
      continue;
    }
    const hex = hexOf(change.publicKey);
    const others = publicKeys.filter((key) => hexOf(key) !== hex);
    if (change.change === "revoke" && others.length === publicKeys.length)
      return err("KEY_NOT_NAMED", { role: change.role });
    roles[change.role] = { publicKeys: change.change === "add" ? [...others, change.publicKey] : others, threshold };
  }
  for (const role of ROLES) {
    const { publicKeys, threshold } = roles[role];
    if (threshold < 1 || publicKeys.length < threshold)
      return err("KEYS_TOO_FEW", { role, keys: publicKeys.length, threshold });
  }
  return ok({ ...before, version: before.version + 1, expiresAtMs, roles });
}

/** What a person who signs a root must know: every difference from the one before. */
export function rootSentences(before: RootContent, next: RootContent): string[] {
  const said = ROLES.flatMap((role) => {
    const [old, now] = [before.roles[role], next.roles[role]];
    const [was, is] = [old.publicKeys.map(hexOf), now.publicKeys.map(hexOf)];
    return [
      ...is.filter((key) => !was.includes(key)).map((key) => `let the key ${key} sign for ${role}`),
      ...was.filter((key) => !is.includes(key)).map((key) => `no longer let the key ${key} sign for ${role}`),
      ...(old.threshold === now.threshold
        ? []
        : [`demand ${now.threshold} keys of ${role} instead of ${old.threshold}`]),
    ];
  });
  return [...said, `root version ${next.version} holds until ${new Date(next.expiresAtMs).toISOString()}`];
}

/** A root with signatures, and how many it still lacks: by the keys of the one before, and by its own. */
export interface RootSigning {
  readonly text: string;
  readonly missing: number;
  readonly metadata: Metadata<Root>;
  readonly content: RootContent;
}

/** Signs a root that is to follow `before`, with those of the keys that either of the two names. */
export function signRoot(
  before: { readonly metadata: Metadata<Root>; readonly content: RootContent },
  next: RootContent | string,
  keys: readonly KeyPair[],
): Result<RootSigning> {
  const read = readRoot(typeof next === "string" ? next : metadataBytes(makeRoot(next)).toString("utf8"));
  if (!read.ok) return read;
  const { metadata, content } = read.value;
  const expected = before.content.version + 1;
  if (content.version !== expected)
    return err("PUBLICATION_VERSION", { role: "root", version: content.version, expected });
  const judges = [before.metadata.signed, metadata.signed].map(({ roles }) => roles["root"]!);
  const named = keys.filter(({ publicKey }) => judges.some(({ keyIDs }) => keyIDs.includes(tufKeyId(publicKey))));
  withSignatures(metadata, named);
  const missing = judges.map(({ keyIDs, threshold }) => {
    const signed = Object.keys(metadata.signatures).filter((id) => keyIDs.includes(id));
    return threshold - signed.length;
  });
  return ok({ text: metadataBytes(metadata).toString("utf8"), missing: Math.max(0, ...missing), metadata, content });
}

function hexOf(key: Uint8Array): string {
  return Buffer.from(key).toString("hex");
}
