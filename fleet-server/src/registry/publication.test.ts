import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ok, type Result, unwrap } from "@bellwether/protocol/result.ts";
import { keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { describe, expect, onTestFinished, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { keysOf, ownedRepository, signedFor } from "../../../test/kit/owner.ts";
import { firstMetadata } from "./ceremony.ts";
import { layFirst, publicHalves } from "./first-metadata.io.ts";
import { LIFETIMES_MS, makeTargets, metadataBytes, withSignatures } from "./metadata.ts";
import { openOnlineKeys } from "./online-keys.io.ts";
import { readRoot, readTargets } from "./read-metadata.ts";
import { signRequest } from "./release-request.ts";
import { openRepository, type ReleaseRepository } from "./repository.io.ts";

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const ONE = { change: "release", model: "m", version: 1, manifestDigest: digest("a"), manifestLength: 10 } as const;
const codeOf = (result: Result<unknown>) => (result.ok ? "ok" : result.error.code);
const anything = async () => ok(undefined);
const upload = (targets: string) => ({ roots: [], targets });
const pair = (seed: number) => keyPairOf(Buffer.alloc(32, seed));

async function room() {
  const dir = join(temporaryFolder("repository-"), "repository");
  const repository = await ownedRepository(dir);
  onTestFinished(() => repository.close());
  const request = unwrap(await repository.request([ONE]));
  const published = (text: string) => repository.publish(upload(text), "owner", anything);
  return { dir, repository, request, signed: unwrap(await signedFor(request, keysOf(dir))), published };
}

/** The key pair in a file of a repository's online keys, or of the offline ones beside it. */
function pairIn(file: string) {
  const text = readFileSync(file, "utf8");
  return keyPairOf(Buffer.from(text.startsWith("{") ? JSON.parse(text).seed : text.trim(), "hex"));
}

describe("targets that are brought to the server", () => {
  test("are published when the owner's key has signed the next version, and once more without harm", async () => {
    const { repository, signed, published } = await room();
    expect(unwrap(await published(signed)).released).toMatchObject([{ model: "m", version: 1, releaseCounter: 1 }]);
    expect(codeOf(await published(signed))).toBe("ok");
    expect(repository.releases()).toHaveLength(1);
    expect(repository.approval("m", 1)).toMatchObject({ by: "owner" });
  });

  test("are refused, and nothing changes, when they are not signed by the owner", async () => {
    const { dir, repository, request, signed, published } = await room();
    const read = unwrap(readTargets(signed));
    const online = ["snapshot", "timestamp", "director"].map((name) => pairIn(join(dir, "keys", `${name}.key`)));
    const stranger = metadataBytes(withSignatures(makeTargets(read.content), [...online, pair(1)])).toString();
    expect(codeOf(await published(stranger))).toBe("PUBLICATION_UNSIGNED");
    // One digest more under the owner's signature.
    expect(codeOf(await published(signed.replace("a".repeat(64), "b".repeat(64))))).toBe("PUBLICATION_UNSIGNED");
    // Nor does the tool that signs do so with other keys, or for targets that others changed.
    const { metadata: root } = unwrap(readRoot(await repository.rootMetadata()));
    expect(unwrap(signRequest(request, { root, keys: online }, Date.now())).missing).toBe(1);
    const bent = { ...request, base: request.base.replace(/"version":1/, '"version":7') };
    expect(codeOf(await signedFor(bent, keysOf(dir)))).toBe("PUBLICATION_UNSIGNED");
    expect(repository.releases()).toEqual([]);
    expect(await repository.metadata("2.targets.json")).toBeUndefined();
  });

  test.each<[string, (one: Awaited<ReturnType<typeof room>>) => Promise<string>, string]>([
    [
      "an older request",
      async ({ repository, request, dir, signed, published }) => {
        unwrap(await published(signed));
        unwrap(await repository.request([]));
        return unwrap(await signedFor({ ...request, changes: [] }, keysOf(dir)));
      },
      "PUBLICATION_VERSION",
    ],
    [
      "a clock of long ago",
      async ({ request, dir }) => unwrap(await signedFor(request, keysOf(dir), 1_000)),
      "PUBLICATION_EXPIRED",
    ],
    [
      "another director",
      async ({ request, dir }) => {
        const changes = [{ change: "director" as const, publicKeys: ["c".repeat(64)] }];
        return unwrap(await signedFor({ ...request, changes }, keysOf(dir)));
      },
      "ONLINE_KEY_MISSING",
    ],
    [
      "a retraining role under a key that is not the server's",
      async ({ request, dir }) => {
        const role = { model: "m", cohort: "line-3", selector: "line=3", publicKey: "c".repeat(64) };
        return unwrap(await signedFor({ ...request, changes: [{ change: "grant", ...role }] }, keysOf(dir)));
      },
      "ONLINE_KEY_MISSING",
    ],
    ["no JSON", async () => "{", "PUBLICATION_UNREADABLE"],
    ["more bytes than a device takes", async () => " ".repeat(1_100_000), "PUBLICATION_UNREADABLE"],
  ])("are refused when they are of %s", async (_, make, code) => {
    const one = await room();
    expect(codeOf(await one.published(await make(one)))).toBe(code);
  });

  test("are refused when the registry does not know what they release", async () => {
    const { repository, signed } = await room();
    const judge = async () => ({ ok: false, error: { code: "NOT_FOUND", message: "", detail: {} } }) as const;
    expect(codeOf(await repository.publish(upload(signed), "owner", judge))).toBe("NOT_FOUND");
    expect(repository.releases()).toEqual([]);
  });
});

/** A repository whose targets need two of three keys, that are not together. */
async function guarded(): Promise<{ dir: string; repository: ReleaseRepository }> {
  const dir = join(temporaryFolder("repository-"), "repository");
  const online = publicHalves(await openOnlineKeys(dir));
  const rules = { rootThreshold: 2, targetsThreshold: 2, development: false, online };
  const keys = { root: [pair(1), pair(2), pair(3)], targets: [pair(4), pair(5), pair(6)] };
  await layFirst(dir, firstMetadata({ ...keys, ...rules }, Date.now()), Date.now());
  const repository = unwrap(await openRepository(dir, Date.now));
  onTestFinished(() => repository.close());
  return { dir, repository };
}

test("two owners sign one after the other, each on a machine of their own, and one alone is not enough", async () => {
  const { repository } = await guarded();
  expect(repository.development).toBe(false);
  const { metadata: root } = unwrap(readRoot(await repository.rootMetadata()));
  const request = unwrap(await repository.request([ONE]));
  const first = unwrap(signRequest(request, { root, keys: [pair(4)] }, Date.now()));
  expect(first.missing).toBe(1);
  const alone = await repository.publish(upload(first.targets), "owner", anything);
  expect(codeOf(alone)).toBe("PUBLICATION_UNSIGNED");
  // Signing twice with one key is one signature.
  const before = first.targets;
  expect(unwrap(signRequest(request, { root, keys: [pair(4)] }, Date.now(), { before })).missing).toBe(1);
  // The second owner is shown the request, and signs nothing that the first one made something else of.
  const other = unwrap(signRequest({ ...request, changes: [] }, { root, keys: [pair(4)] }, Date.now())).targets;
  expect(codeOf(signRequest(request, { root, keys: [pair(5)] }, Date.now(), { before: other }))).toBe(
    "TARGETS_INCONSISTENT",
  );
  const second = unwrap(signRequest(request, { root, keys: [pair(5)] }, Date.now() + 1_000, { before }));
  expect(second.missing).toBe(0);
  unwrap(await repository.publish(upload(second.targets), "owner", anything));
  expect(repository.releases()).toHaveLength(1);
});

test("a request without changes renews the targets", async () => {
  const { dir, repository } = await room();
  const later = Date.now() + 100 * 86_400_000;
  const targets = unwrap(await signedFor(unwrap(await repository.request([])), keysOf(dir), later));
  unwrap(await repository.publish(upload(targets), "owner", anything));
  const text = String(await repository.metadata("2.targets.json"));
  expect(unwrap(readTargets(text)).content.expiresAtMs).toBeGreaterThan(later + LIFETIMES_MS.targets - 2_000);
});

test("without a first root nothing is opened", async () => {
  const dir = join(temporaryFolder("repository-"), "repository");
  expect(codeOf(await openRepository(dir, Date.now))).toBe("REPOSITORY_EMPTY");
  expect(readdirSync(join(dir, "keys"))).toHaveLength(3);
});
