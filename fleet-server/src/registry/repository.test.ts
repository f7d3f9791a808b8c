import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { unwrap } from "@bellwether/protocol/result.ts";
import { Updater } from "tuf-js";
import { describe, expect, it, onTestFinished } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { keysOf, ownedRepository, ownerOf } from "../../../test/kit/owner.ts";
import type { ReleaseRepository } from "./repository.io.ts";

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;

async function serve(repository: ReleaseRepository): Promise<string> {
  const server = createServer((request, response) => {
    const name = request.url?.split("/").at(-1) ?? "";
    repository.metadata(name).then((bytes) => {
      response.writeHead(bytes ? 200 : 404);
      response.end(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function client(repository: ReleaseRepository): Promise<() => Updater> {
  const dir = temporaryFolder("tuf-");
  mkdirSync(join(dir, "targets"));
  writeFileSync(join(dir, "root.json"), await repository.rootMetadata());
  const url = await serve(repository);
  return () =>
    new Updater({ metadataDir: dir, metadataBaseUrl: url, targetDir: join(dir, "targets"), targetBaseUrl: url });
}

const ROLE = { model: "m", cohort: "line-3" };
const PATH = "retrained/m/line-3/1/manifest.json";
const retrained = (version: number, letter: string) => ({
  ...{ ...ROLE, version, by: "retraining" },
  ...{ manifestDigest: digest(letter), manifestLength: 10 },
});

const freshFolder = () => join(temporaryFolder("repository-"), "repository");

/** A repository and what its owner orders, each order signed by the keys beside it. */
async function owned(now: () => number = Date.now, dir = freshFolder()) {
  const repository = await ownedRepository(dir, now);
  const { order } = ownerOf(repository, dir, now);
  return {
    repository,
    dir,
    release: (one: { model: string; version: number; manifestDigest: string; manifestLength: number }) =>
      order({ change: "release", ...one }),
    withdraw: async (model: string, version: number) => {
      unwrap(await repository.block(model, version));
      return order();
    },
    delegate: (selector: string) => order({ change: "grant", ...ROLE, selector }),
    set: (change: "on" | "off" | "revoke") => order({ change, ...ROLE }),
  };
}

describe("the release repository", () => {
  it("is understood by an independent client: releases, counters, the director's key, withdrawal", async () => {
    const { repository, release, withdraw } = await owned();
    onTestFinished(() => repository.close());
    expect(repository.development).toBe(true);
    const updater = await client(repository);
    const target = async (path: string) => {
      const one = updater();
      await one.refresh();
      return one.getTargetInfo(path);
    };
    expect((await target("director.json"))?.custom).toEqual({
      keys: [Buffer.from(repository.directorKey.publicKey).toString("hex")],
    });
    await release({ model: "m", version: 1, manifestDigest: digest("a"), manifestLength: 10 });
    await release({ model: "m", version: 2, manifestDigest: digest("b"), manifestLength: 20 });
    const second = await target("models/m/2/manifest.json");
    expect([second?.length, second?.hashes, second?.custom]).toEqual([
      20,
      { sha256: "b".repeat(64) },
      { releaseCounter: 2 },
    ]);
    await withdraw("m", 2);
    expect(await target("models/m/2/manifest.json")).toBeUndefined();
    expect(await target("models/m/1/manifest.json")).toBeDefined();
  });

  it("keeps keys and counters over a restart, and its keys to itself", async () => {
    const { dir, repository: first, release } = await owned();
    const root = await first.rootMetadata();
    await release({ model: "m", version: 1, manifestDigest: digest("a"), manifestLength: 1 });
    await first.close();
    const again = await owned(Date.now, dir);
    onTestFinished(() => again.repository.close());
    expect(await again.repository.rootMetadata()).toBe(root);
    const done = await again.release({ model: "n", version: 1, manifestDigest: digest("c"), manifestLength: 1 });
    expect(done.ok && done.value.released).toMatchObject([{ model: "n", releaseCounter: 2 }]);
    expect(readFileSync(join(dir, "keys/snapshot.key")).length).toBe(65);
    expect(await again.repository.metadata("../keys/snapshot.key")).toBeUndefined();
  });

  it("has no key that could sign a release, nor has its folder, and goes on serving without them", async () => {
    const { dir, repository, release } = await owned();
    await release({ model: "m", version: 1, manifestDigest: digest("a"), manifestLength: 1 });
    await repository.close();
    const seeds = readdirSync(keysOf(dir))
      .filter((name) => name.endsWith(".key"))
      .map((name) => JSON.parse(readFileSync(join(keysOf(dir), name), "utf8")).seed as string);
    expect(seeds).toHaveLength(4);
    const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const texts = files.map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"));
    expect(texts.length).toBeGreaterThan(8);
    for (const seed of seeds) expect(texts.filter((text) => text.includes(seed))).toEqual([]);
    renameSync(keysOf(dir), `${keysOf(dir)}-elsewhere`);
    let nowMs = Date.now();
    const again = await owned(() => nowMs, dir);
    onTestFinished(() => again.repository.close());
    nowMs += 5 * 86_400_000;
    await again.repository.renew();
    await (await client(again.repository))().refresh();
    expect(again.repository.releases()).toHaveLength(1);
  });

  it("never lets a released version change", async () => {
    const { repository, release } = await owned();
    onTestFinished(() => repository.close());
    const one = { model: "m", version: 1, manifestDigest: digest("a"), manifestLength: 1 };
    await release(one);
    expect((await release(one)).ok).toBe(true);
    const changed = await release({ ...one, manifestDigest: digest("b") });
    expect(changed.ok ? undefined : changed.error.code).toBe("RELEASE_EXISTS");
  });

  it("signs again before anything expires", async () => {
    let nowMs = Date.now();
    const { repository } = await owned(() => nowMs);
    onTestFinished(() => repository.close());
    nowMs += 13 * 3_600_000;
    await repository.renew();
    const timestamp = JSON.parse(((await repository.metadata("timestamp.json")) as Buffer).toString());
    expect(timestamp.signed.version).toBe(2);
    expect(Date.parse(timestamp.signed.expires)).toBeGreaterThan(nowMs + 23 * 3_600_000);
    nowMs += 100 * 86_400_000;
    await repository.renew();
    const updater = await client(repository);
    await updater().refresh();
  });

  it("signs what a retraining role released again before that expires, while the role is off too", async () => {
    let nowMs = Date.now();
    const { repository, delegate, set } = await owned(() => nowMs);
    onTestFinished(() => repository.close());
    await delegate("line=3");
    await repository.releaseDelegated(retrained(1, "a"));
    await set("off");
    for (let day = 0; day < 30; day++) {
      nowMs += 86_400_000;
      await repository.renew();
    }
    await set("on");
    const file = JSON.parse(String(await repository.metadata("9.retraining~m~line-3.json")));
    expect(Date.parse(file.signed.expires)).toBeGreaterThan(nowMs + 3 * 86_400_000);
    expect(Object.keys(file.signed.targets)).toEqual([PATH]);
  });

  it("points at what was signed last, though it died before it could say so", async () => {
    const { dir, repository: first, release } = await owned();
    const before = await first.metadata("timestamp.json");
    await release({ model: "m", version: 1, manifestDigest: digest("a"), manifestLength: 1 });
    await first.close();
    writeFileSync(join(dir, "metadata/timestamp.json"), before!);
    const second = await ownedRepository(dir);
    onTestFinished(() => second.close());
    const updater = (await client(second))();
    await updater.refresh();
    expect(await updater.getTargetInfo("models/m/1/manifest.json")).toBeDefined();
  });

  it("delegates one model and cohort to an online key, as an independent client sees it", async () => {
    const { repository, delegate, set, withdraw } = await owned();
    onTestFinished(() => repository.close());
    const updater = await client(repository);
    const target = async (path: string) => {
      const one = updater();
      await one.refresh();
      return one.getTargetInfo(path);
    };
    const signedTargets = async () => {
      const { signed } = JSON.parse(String(await repository.metadata("timestamp.json")));
      const snapshot = signed.meta["snapshot.json"].version as number;
      const { meta } = JSON.parse(String(await repository.metadata(`${snapshot}.snapshot.json`))).signed;
      return JSON.parse(String(await repository.metadata(`${meta["targets.json"].version}.targets.json`))).signed;
    };
    expect((await repository.releaseDelegated(retrained(1, "a"))).ok).toBe(false);
    await delegate("line=3");
    const before = await signedTargets();
    expect(before.delegations.roles).toMatchObject([
      {
        name: "retraining~m~line-3",
        terminating: true,
        threshold: 1,
        paths: ["retrained/m/line-3/*/manifest.json"],
        custom: { ...ROLE, selector: "line=3", withdrawn: [] },
      },
    ]);
    expect((await repository.releaseDelegated(retrained(1, "a"))).ok).toBe(true);
    // The offline role has signed nothing for this release.
    expect((await signedTargets()).version).toBe(before.version);
    expect((await target(PATH))?.hashes).toEqual({ sha256: "a".repeat(64) });
    expect(await target("models/m/1/manifest.json")).toBeUndefined();
    expect(repository.retraining()).toMatchObject([{ enabled: true, versions: [{ version: 1, by: "retraining" }] }]);

    await set("off");
    expect(await target(PATH)).toBeUndefined();
    expect(repository.releases()).toEqual([]);
    await set("on");
    expect(await target(PATH)).toBeDefined();

    await withdraw("m", 1);
    expect(await target(PATH)).toBeUndefined();
    expect((await signedTargets()).delegations.roles[0].custom.withdrawn).toEqual([digest("a")]);
    const again = await repository.releaseDelegated(retrained(1, "a"));
    expect(again.ok ? undefined : again.error.code).toBe("RELEASE_WITHDRAWN");
  });

  it("takes a role away with its key and all it released; a new one of that name has another key", async () => {
    const dir = freshFolder();
    const key = () => readFileSync(join(dir, "keys/retraining~m~line-3.key"), "utf8");
    let { repository, delegate, set } = await owned(Date.now, dir);
    const updater = await client(repository);
    await delegate("line=3");
    await repository.releaseDelegated(retrained(1, "a"));
    const first = key();
    const seen = updater();
    await seen.refresh();
    expect(await seen.getTargetInfo(PATH)).toBeDefined();
    const lost = await set("revoke");
    expect(lost.ok && lost.value.withdrawn.map(({ version }) => version)).toEqual([1]);
    expect(key).toThrow("ENOENT");
    expect(repository.retraining()).toEqual([]);
    await updater().refresh();
    await repository.close();

    ({ repository, delegate, set } = await owned(Date.now, dir));
    onTestFinished(() => repository.close());
    await delegate("line in (3,4)");
    expect(key()).not.toBe(first);
    expect(repository.retraining()).toMatchObject([
      { selector: "line in (3,4)", withdrawn: [digest("a")], versions: [] },
    ]);
    await repository.releaseDelegated(retrained(2, "b"));
    // The same client, which has kept what the earlier key signed, follows.
    const later = updater();
    await later.refresh();
    expect(await later.getTargetInfo(PATH)).toBeUndefined();
    expect(await later.getTargetInfo("retrained/m/line-3/2/manifest.json")).toBeDefined();
  });
});
