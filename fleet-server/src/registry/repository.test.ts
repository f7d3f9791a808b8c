import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Updater } from "tuf-js";
import { describe, expect, it, onTestFinished } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { openRepository, type ReleaseRepository } from "./repository.io.ts";

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

describe("the release repository", () => {
  it("is understood by an independent client: releases, counters, the director's key, withdrawal", async () => {
    const repository = await openRepository(temporaryFolder("repository-"), Date.now);
    onTestFinished(() => repository.close());
    expect(repository.madeKeys).toBe(true);
    const updater = await client(repository);
    const target = async (path: string) => {
      const one = updater();
      await one.refresh();
      return one.getTargetInfo(path);
    };
    expect((await target("director.json"))?.custom).toEqual({
      keys: [Buffer.from(repository.directorKey.publicKey).toString("hex")],
    });
    await repository.release({ model: "m", version: 1, manifestDigest: digest("a"), manifestLength: 10 });
    await repository.release({ model: "m", version: 2, manifestDigest: digest("b"), manifestLength: 20 });
    const second = await target("models/m/2/manifest.json");
    expect([second?.length, second?.hashes, second?.custom]).toEqual([
      20,
      { sha256: "b".repeat(64) },
      { releaseCounter: 2 },
    ]);
    await repository.withdraw("m", 2);
    expect(await target("models/m/2/manifest.json")).toBeUndefined();
    expect(await target("models/m/1/manifest.json")).toBeDefined();
  });

  it("keeps keys and counters over a restart, and its keys to itself", async () => {
    const dir = temporaryFolder("repository-");
    const first = await openRepository(dir, Date.now);
    const root = await first.rootMetadata();
    await first.release({ model: "m", version: 1, manifestDigest: digest("a"), manifestLength: 1 });
    await first.close();
    const second = await openRepository(dir, Date.now);
    onTestFinished(() => second.close());
    expect(second.madeKeys).toBe(false);
    expect(await second.rootMetadata()).toBe(root);
    const again = await second.release({ model: "n", version: 1, manifestDigest: digest("c"), manifestLength: 1 });
    expect(again.ok && again.value.releaseCounter).toBe(2);
    expect(readFileSync(join(dir, "keys/root-1.key")).length).toBe(65);
    expect(await second.metadata("../keys/root-1.key")).toBeUndefined();
  });

  it("never lets a released version change", async () => {
    const repository = await openRepository(temporaryFolder("repository-"), Date.now);
    onTestFinished(() => repository.close());
    const release = { model: "m", version: 1, manifestDigest: digest("a"), manifestLength: 1 };
    await repository.release(release);
    expect((await repository.release(release)).ok).toBe(true);
    const changed = await repository.release({ ...release, manifestDigest: digest("b") });
    expect(changed.ok ? undefined : changed.error.code).toBe("RELEASE_EXISTS");
  });

  it("signs again before anything expires", async () => {
    let nowMs = Date.now();
    const repository = await openRepository(temporaryFolder("repository-"), () => nowMs);
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
});
