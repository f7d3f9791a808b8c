import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import { beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { suiteFolder, temporaryFolder } from "../kit/folder.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const CLIENT = join(import.meta.dirname, "tuf-client.ts");
const TARGET = "models/pump/manifest.json";
const HOW =
  "python-tuf is not here: python3 -m venv .cache/python && .cache/python/bin/pip install -r test/interop/python/requirements.txt (or BELLWETHER_PYTHON)";

/** A Python that has python-tuf. */
function python(): string {
  const own = join(ROOT, ".cache/python/bin/python3");
  return process.env["BELLWETHER_PYTHON"] ?? (existsSync(own) ? own : "python3");
}

const repository = suiteFolder("bellwether-python-tuf-");
beforeAll(() => {
  const script = join(import.meta.dirname, "python/repository.py");
  const made = spawnSync(python(), [script, repository], { encoding: "utf8" });
  // Without it nothing of this suite is worth a word: that is a failure, and not a skip.
  if (made.status !== 0) throw new Error(`${HOW}\n${made.error ?? made.stderr}`);
});

let edition: string;
let asked: string[];
let url: string;
let dir: string;
beforeEach(async () => {
  edition = "1";
  asked = [];
  dir = temporaryFolder();
  for (const folder of ["metadata", "targets"]) mkdirSync(join(dir, folder));
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? "");
    asked.push(path);
    const file = [edition, "2"].map((name) => join(repository, name, path)).find((one) => existsSync(one));
    // Every edition but the first stands on the root of the second.
    if (file === undefined || (edition === "1" && !file.startsWith(join(repository, "1"))))
      response.writeHead(404).end();
    else response.end(readFileSync(file));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  onTestFinished(() => void server.close().closeAllConnections());
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

/** Runs the command as the TUF project's conformance suite does. */
function client(...args: string[]): Promise<{ code: number; said: string }> {
  const all = [CLIENT, "--metadata-dir", join(dir, "metadata"), ...args];
  return new Promise((done) => {
    execFile(process.execPath, all, (cause, _out, said) => done({ code: cause ? Number(cause.code) : 0, said }));
  });
}
const init = () => client("init", join(repository, "initial-root.json"));
const refresh = () => client("--metadata-url", `${url}/metadata`, "refresh");
function download() {
  const where = ["--target-dir", join(dir, "targets"), "--target-base-url", `${url}/targets`];
  return client("--metadata-url", `${url}/metadata`, "--target-name", TARGET, ...where, "download");
}
function versions(): Record<string, number> {
  const files = readdirSync(join(dir, "metadata")).filter((name) => name.endsWith(".json"));
  return Object.fromEntries(
    files.map((name) => [
      name.slice(0, -5),
      JSON.parse(readFileSync(join(dir, "metadata", name), "utf8")).signed.version,
    ]),
  );
}
const files = () => readdirSync(join(dir, "targets")).map((name) => readFileSync(join(dir, "targets", name), "utf8"));

test("what python-tuf signs is taken: init, refresh, download, a new root and a new edition, and nothing twice", async () => {
  expect(await init()).toEqual({ code: 0, said: "" });
  expect(asked).toEqual([]);
  expect(versions()).toEqual({ root: 1 });
  expect(await refresh()).toEqual({ code: 0, said: "" });
  expect(versions()).toEqual({ root: 1, timestamp: 1, snapshot: 1, targets: 1 });
  expect(await download()).toEqual({ code: 0, said: "" });
  expect(files()).toEqual(["content 1"]);
  edition = "2";
  expect(await download()).toEqual({ code: 0, said: "" });
  expect(versions()).toEqual({ root: 2, timestamp: 2, snapshot: 2, targets: 2, models: 2 });
  expect(files()).toEqual(["content 2"]);
  asked = [];
  expect(await download()).toEqual({ code: 0, said: "" });
  expect(asked.filter((path) => path.startsWith("/targets/"))).toEqual([]);
});

test.each([
  ["rollback", /is less than current version/, 2],
  ["expired", /is expired/, 2],
  ["threshold", /was signed by 1\/2 keys/, 2],
  ["thief", /was signed by 0\/1 keys/, 2],
  ["tampered", /DIGEST_MISMATCH/, 3],
])("what python-tuf signs and is no update is refused: %s", async (bent, why, version) => {
  await init();
  edition = "2";
  expect(await download()).toEqual({ code: 0, said: "" });
  edition = bent;
  const refused = await download();
  expect(refused).toMatchObject({ code: 1, said: expect.stringMatching(why) });
  expect(versions()).toMatchObject({ root: 2, timestamp: version, targets: version });
  expect(files()).toEqual(["content 2"]);
  edition = "3";
  expect(await download()).toEqual({ code: 0, said: "" });
  expect(versions()).toMatchObject({ root: 3, timestamp: 3 });
  expect(files()).toEqual(["content 3"]);
});
