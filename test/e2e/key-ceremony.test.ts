import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Updater } from "tuf-js";
import { DownloadHTTPError } from "tuf-js/dist/error.js";
import { expect, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { ceremony } from "../kit/ceremony.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage } from "../kit/packages.ts";
import { runProcess } from "../kit/processes.ts";
import { uploadTo } from "../kit/release.ts";

const LONG = { timeout: 240_000 };

/** An independent client that pinned the first root, and has followed it to the newest metadata. */
async function client(server: Bellwether) {
  const dir = temporaryFolder("tuf-");
  mkdirSync(join(dir, "targets"));
  const options = { token: server.admin };
  const first = await server.call("GET /v1/repository/metadata/1.root.json", undefined, options);
  writeFileSync(join(dir, "root.json"), JSON.stringify(first.body));
  const url = `${server.url}/v1/repository`;
  const headers = { authorization: `Bearer ${server.admin}` };
  const fetcher = {
    async downloadBytes(path: string) {
      const answer = await fetch(path, { headers });
      if (!answer.ok) throw new DownloadHTTPError("not there", answer.status);
      return Buffer.from(await answer.arrayBuffer());
    },
    downloadFile: () => Promise.reject(new Error("metadata only")),
  };
  const updater = new Updater({
    ...{ metadataDir: dir, metadataBaseUrl: `${url}/metadata`, fetcher },
    ...{ targetDir: join(dir, "targets"), targetBaseUrl: `${url}/targets` },
  });
  await updater.refresh();
  return updater;
}

const rootOf = async (server: Bellwether, version: number) =>
  (await server.call(`GET /v1/repository/metadata/${version}.root.json`)).body.signed;

test(
  "keys made offline serve in production; one of three root keys is lost and replaced, with the manual's commands",
  LONG,
  async () => {
    const { folder, dir, run, sign, attempt, follow, reach } = ceremony();
    // Without keys of its own a production server does not start, and makes none.
    const env = { NODE_ENV: "production" };
    const refused = await runProcess("bellwether", ["up", "--dir", dir, "--port", "0", "--mqtt-port", "0"], { env });
    expect([refused.ended, refused.stderr]).toEqual([1, expect.stringMatching(/^REPOSITORY_EMPTY/m)]);

    await follow("## A new fleet");
    const files = readdirSync(join(folder, "keys")).filter((name) => name.endsWith(".key"));
    expect(files.map((name) => name.split("-")[0])).toEqual(["root", "root", "root", "targets"]);
    for (const name of files) expect(statSync(join(folder, "keys", name)).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, "keys")).mode & 0o777).toBe(0o700);
    const init = ["keys", "init", "--online", "online.json", "--keys", "more"];
    expect((await attempt(...init, "--out", "second.json")).stderr).toMatch(/^PASSPHRASE_MISSING/);
    expect((await attempt("keys", "install", "first.json", "--dir", dir)).stderr).toMatch(/^REPOSITORY_THERE/);

    const server = await startBellwether({ dir, env });
    reach(server);
    const { version } = await uploadTo(server, testPackage());
    await run("release", "request", `pump-rul/${version}`, "--out", "request.json");
    const said = await sign("keys", "release", "sign", "request.json", "--out", "signed.json");
    expect(said).toContain(`release pump-rul ${version} to every device: sha256:`);
    expect((await attempt("release", "publish", "request.json")).stderr).toContain("nobody has signed it yet");
    await run("release", "publish", "signed.json");
    expect((await server.call(`GET /v1/models/pump-rul/versions/${version}`)).body.phase).toBe("released");

    // The drill: a root key is lost. The other two put a new one in its place.
    const lost = files.find((name) => name.startsWith("root"))!;
    const publicKey = JSON.parse(readFileSync(join(folder, "keys", lost), "utf8")).publicKey as string;
    rmSync(join(folder, "keys", lost));
    const [found, rotated, published, status] = await follow("**Practise it.**", { KEY: publicKey.slice(0, 12) });
    expect(found).toMatch(new RegExp(`${publicKey.slice(0, 12)}.*elsewhere`));
    expect(rotated).toContain(`no longer let the key ${publicKey} sign for root`);
    expect(rotated).toContain("root.json can be published");
    expect([published, status]).toEqual([expect.any(String), expect.stringMatching(/^root +2 /m)]);
    const root = await rootOf(server, 2);
    expect(root.roles.root.keyids).toHaveLength(3);
    expect(JSON.stringify(root.keys)).not.toContain(publicKey);
    const rows = JSON.parse(await run("keys", "status", "--keys", join(folder, "keys"), "-o", "json"));
    expect(rows.filter(({ role, here }: Record<string, string>) => role === "root" && here === "sealed")).toHaveLength(
      3,
    );
    const expiries = JSON.parse(await run("keys", "status", "-o", "json"));
    expect(expiries).toMatchObject([
      { role: "root", version: 2, alarm: null, renewedBy: "owners" },
      { role: "targets", version: 2, alarm: null, renewedBy: "owners" },
      { role: "snapshot", alarm: null, renewedBy: "server" },
      { role: "timestamp", alarm: null, renewedBy: "server" },
    ]);

    // A fourth holder comes, and one of the first three goes.
    const [gone] = root.roles.root.keyids.map((id: string) => root.keys[id].keyval.public as string);
    for (const [order, ...key] of [["add"], ["revoke", gone.slice(0, 12)]] as const) {
      await sign("keys", "keys", order, "root", ...key, "--out", `${order}.json`);
      await run("release", "publish", `${order}.json`);
    }
    expect((await rootOf(server, 3)).roles.root.keyids).toHaveLength(4);
    const { keys, roles } = await rootOf(server, 4);
    expect(roles.root.keyids).toHaveLength(3);
    expect(JSON.stringify(keys)).not.toContain(gone);
    const updater = await client(server);
    expect(await updater.getTargetInfo(`models/pump-rul/${version}/manifest.json`)).toBeDefined();
  },
);

test("stolen online keys and a lost targets key are replaced, by holders who are not at one place", LONG, async () => {
  const { folder, dir, run, sign, attempt, reach } = ceremony();
  await run("keys", "online", "--dir", dir, "--out", "online.json");
  await sign("a", "keys", "init", "--online", "online.json", "--out", "first.json");
  // The third root key goes to another holder, who keeps it with a copy of the root.
  const third = readdirSync(join(folder, "a"))
    .filter((name) => name.startsWith("root-"))
    .slice(1);
  mkdirSync(join(folder, "b"));
  for (const name of third) renameSync(join(folder, "a", name), join(folder, "b", name));
  writeFileSync(join(folder, "b", "root.json"), readFileSync(join(folder, "a", "root.json")));
  await run("keys", "install", "first.json", "--dir", dir);
  const server = await startBellwether({ dir });
  reach(server);
  const { version } = await uploadTo(server, testPackage());

  // The server's disk was seen by somebody: it makes new keys, and the owners name them.
  for (const role of ["snapshot", "timestamp"]) {
    await run("keys", "online", "--dir", dir, "--new", role, "--out", "new.json");
    const half = await sign("a", "keys", "rotate", role, "--online", "new.json", "--out", `${role}.json`);
    expect(half).toContain("still needs 1 signatures");
    expect((await attempt("release", "publish", `${role}.json`)).stderr).toMatch(/^PUBLICATION_UNSIGNED/);
    await sign("b", "release", "sign", `${role}.json`, "--out", `${role}.whole.json`);
    await run("release", "publish", `${role}.whole.json`);
    // The first holder goes on from what the second completed.
    await run("keys", "adopt", `${role}.whole.json`, "--keys", join(folder, "a"));
  }
  await run("keys", "online", "--dir", dir, "--new", "director", "--out", "new.json");
  await run("release", "request", `pump-rul/${version}`, "--director", "--out", "request.json");
  await sign("a", "release", "sign", "request.json", "--out", "signed.json");
  await run("release", "publish", "signed.json");
  const kept = readdirSync(join(dir, "repository/keys")).toSorted();
  expect(kept).toEqual(["director.2.key", "snapshot.2.key", "timestamp.2.key"]);

  // The targets key is lost: a new one is named, and signs what the old one had signed.
  await run("release", "request", "--out", "base.json");
  const old = readdirSync(join(folder, "a")).find((name) => name.startsWith("targets-"))!;
  rmSync(join(folder, "a", old));
  await sign("a", "keys", "rotate", "targets", "--request", "base.json", "--out", "targets.json");
  await sign("b", "release", "sign", "targets.json", "--out", "targets.whole.json");
  // Without targets under the new key every device would refuse all installs.
  const { root } = JSON.parse(readFileSync(join(folder, "targets.whole.json"), "utf8"));
  writeFileSync(join(folder, "alone.json"), JSON.stringify({ v: 1, root }));
  expect((await attempt("release", "publish", "alone.json")).stderr).toMatch(/^PUBLICATION_UNSIGNED/);
  await run("release", "publish", "targets.whole.json");
  expect((await rootOf(server, 4)).version).toBe(4);
  const updater = await client(server);
  expect(await updater.getTargetInfo(`models/pump-rul/${version}/manifest.json`)).toBeDefined();
  // The server starts again from what was published.
  await server.stop();
  const again = await startBellwether({ dir });
  expect((await again.call("GET /v1/repository/expiries")).body.items[0]).toMatchObject({ role: "root", version: 4 });
});
