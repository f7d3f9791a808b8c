import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { validator } from "@bellwether/protocol/schema.ts";
import type { KeyPair } from "@bellwether/protocol/trust/keys.ts";
import { type Static, Type } from "typebox";
import { readRoot } from "./read-metadata.ts";
import { changeSentence, ReleaseRequest, releaseRequest, signRequest } from "./release-request.ts";
import { rootSentences, signRoot } from "./root-changes.ts";

const closed = { additionalProperties: false } as const;
const Text = Type.String({ maxLength: 1_048_576 });

/** What travels between the machines of the offline keys and the server: a root, targets, or both, as far as signed. */
export const SignedFile = Type.Object(
  {
    v: Type.Literal(1),
    root: Type.Optional(Text),
    /** What the targets are signed for; without it they are the first ones, that release nothing. */
    request: Type.Optional(ReleaseRequest),
    targets: Type.Optional(Text),
  },
  closed,
);
export type SignedFile = Static<typeof SignedFile>;
const signedFile = validator("The file", SignedFile);

/** Reads such a file, or a release request that nobody has signed yet. */
export function readSignedFile(value: unknown): Result<SignedFile> {
  const request = releaseRequest.check(value);
  return request.ok ? ok({ v: 1, request: request.value }) : signedFile.check(value);
}

/** A file with more signatures, what they are for, and how many are still missing. */
export interface FileSigning {
  readonly file: SignedFile;
  readonly sentences: readonly string[];
  readonly missing: number;
}

/** Signs all of a file that these keys may sign, starting from the root their holder knows. */
export function signFile(
  file: SignedFile,
  trust: { readonly root: string; readonly keys: readonly KeyPair[] },
  nowMs: number,
  lifeMs?: number,
): Result<FileSigning> {
  const before = readRoot(trust.root);
  if (!before.ok) return before;
  const sentences: string[] = [];
  const next: { root?: string; targets?: string } = {};
  let missing = 0;
  let under = before.value.metadata;
  if (file.root !== undefined) {
    const root = signRoot(before.value, file.root, trust.keys);
    if (!root.ok) return root;
    sentences.push(...rootSentences(before.value.content, root.value.content));
    next.root = root.value.text;
    missing += root.value.missing;
    under = root.value.metadata;
  }
  if (file.request !== undefined) {
    const { metadata: base } = before.value;
    const options = { base, ...(lifeMs ? { lifeMs } : {}), ...(file.targets ? { before: file.targets } : {}) };
    const targets = signRequest(file.request, { root: under, keys: trust.keys }, nowMs, options);
    if (!targets.ok) return targets;
    sentences.push(...file.request.changes.map(changeSentence));
    next.targets = targets.value.targets;
    missing += targets.value.missing;
  }
  const signed = { ...file, ...next };
  if (next.root === file.root && next.targets === file.targets)
    return err("KEY_NOT_NAMED", { role: file.root === undefined ? "targets" : "root" });
  return ok({ file: signed, sentences, missing });
}
