import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { KeyPair } from "@bellwether/protocol/trust/keys.ts";
import type { Metadata, Root } from "@tufjs/models";
import type { RootContent, TargetsContent } from "./metadata.ts";
import { readRoot, readTargets } from "./read-metadata.ts";
import { verified } from "./release-request.ts";

/** Metadata that offline keys signed, as they are brought to the server. */
export interface Upload {
  /** Successors of the root that is published, oldest first. */
  readonly roots: readonly string[];
  readonly targets?: string;
}

/** The keys the server signs with itself. */
export interface OnlineKeys {
  readonly snapshot: readonly KeyPair[];
  readonly timestamp: readonly KeyPair[];
  readonly director: readonly KeyPair[];
}

/** What is published now: the newest root, and the targets under it. */
export interface Published {
  readonly root?: { readonly metadata: Metadata<Root>; readonly content: RootContent; readonly text: string };
  readonly targets?: { readonly content: TargetsContent; readonly text: string };
}
export type Accepted = Required<Published> & {
  /** New root files by version. */
  readonly roots: readonly { readonly version: number; readonly text: string }[];
  readonly newTargets: boolean;
};

/**
 * Judges what was brought, as every device would, and more strictly: a server that published what devices refuse would
 * stop all installs. Whether the registry knows what the targets release is for the caller to see.
 */
export function accepted(before: Published, upload: Upload, online: OnlineKeys, nowMs: number): Result<Accepted> {
  const chained = chain(before.root, upload.roots);
  if (!chained.ok) return chained;
  const { root, roots } = chained.value;
  if (roots.length > 0 && !(root.content.expiresAtMs > nowMs)) return expired("root", root.content);
  const served = holdsKeys(root.content, online);
  if (!served.ok) return served;
  const text = upload.targets ?? before.targets?.text;
  if (text === undefined) return err("REPOSITORY_EMPTY");
  const targets = readTargets(text);
  if (!targets.ok) return targets;
  const signed = verified(root.metadata, "targets", targets.value.metadata);
  if (!signed.ok) return signed;
  const { content } = targets.value;
  const newTargets = text !== before.targets?.text;
  const answer = { root, roots, targets: { content, text }, newTargets };
  if (!newTargets) return ok(answer);
  const expected = (before.targets?.content.version ?? 0) + 1;
  if (content.version !== expected)
    return err("PUBLICATION_VERSION", { role: "targets", version: content.version, expected });
  if (!(content.expiresAtMs > nowMs)) return expired("targets", content);
  const own = online.director.map(({ publicKey }) => Buffer.from(publicKey).toString("hex"));
  if (!content.directorKeys.some((key) => own.includes(key))) return err("ONLINE_KEY_MISSING", { role: "director" });
  return ok(answer);
}

function chain(
  before: Published["root"],
  texts: readonly string[],
): Result<{ readonly root: Required<Published>["root"]; readonly roots: Accepted["roots"] }> {
  const roots: { version: number; text: string }[] = [];
  let root = before;
  for (const text of texts) {
    if (text === root?.text) continue;
    const read = readRoot(text);
    if (!read.ok) return read;
    const { metadata, content } = read.value;
    const expected = (root?.content.version ?? 0) + 1;
    if (content.version !== expected)
      return err("PUBLICATION_VERSION", { role: "root", version: content.version, expected });
    // The keys of old must agree to the new ones, and the new ones must be able to speak.
    for (const judge of [root?.metadata ?? metadata, metadata]) {
      const signed = verified(judge, "root", metadata);
      if (!signed.ok) return signed;
    }
    root = { metadata, content, text };
    roots.push({ version: content.version, text });
  }
  return root ? ok({ root, roots }) : err("REPOSITORY_EMPTY");
}

function holdsKeys({ roles }: RootContent, online: OnlineKeys): Result<void> {
  for (const role of ["snapshot", "timestamp"] as const) {
    if (named(roles[role].publicKeys, online[role]).length < roles[role].threshold)
      return err("ONLINE_KEY_MISSING", { role });
  }
  return ok(undefined);
}

/** Those of the pairs whose public half is named. */
export function named(publicKeys: readonly Uint8Array[], pairs: readonly KeyPair[]): readonly KeyPair[] {
  return pairs.filter((pair) => publicKeys.some((key) => Buffer.from(key).equals(pair.publicKey)));
}

function expired(role: string, { expiresAtMs }: { readonly expiresAtMs: number }) {
  return err("PUBLICATION_EXPIRED", { role, expiredAt: new Date(expiresAtMs).toISOString() });
}
