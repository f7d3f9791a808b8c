import { spawn } from "node:child_process";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startBellwether } from "../kit/bellwether.ts";
import { temporaryFolder } from "../kit/folder.ts";

const ENTRY = resolve(import.meta.dirname, "../../fleet-server/bin/bellwether.mjs");

/** Runs `bellwether up` to its end: for starts that fail. */
async function upEnds(dir: string, ...more: string[]) {
  const args = [ENTRY, "up", "--dir", dir, "--port", "0", "--mqtt-port", "0", ...more];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [out, err]: string[][] = [[], []];
  child.stdout.on("data", (chunk) => out?.push(String(chunk)));
  child.stderr.on("data", (chunk) => err?.push(String(chunk)));
  const code = await new Promise((done) => child.once("exit", done));
  return { code, out: out?.join(""), err: err?.join("") };
}

test("starts on free ports, keeps its secrets to itself, and ends cleanly on SIGTERM", async () => {
  const server = await startBellwether();
  expect((await server.call("GET /healthz", undefined, { token: null })).body).toEqual({ alive: true });
  expect((await server.call("GET /readyz", undefined, { token: null })).http).toBe(200);
  expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(server.mqttUrl).toMatch(/^mqtt:\/\/127\.0\.0\.1:\d+$/);
  for (const file of ["admin.token", "server.json"]) {
    expect(statSync(join(server.dir, file)).mode & 0o077, file).toBe(0);
  }
  const begunMs = performance.now();
  await server.stop("SIGTERM");
  expect(performance.now() - begunMs).toBeLessThan(5_000);
  // Closed in good order: the write-ahead log is folded back into the file.
  expect(readdirSync(server.dir)).toContain("fleet.sqlite");
  expect(readdirSync(server.dir).filter((name) => name.endsWith("-wal"))).toEqual([]);
});

test("folders that cannot be are refused with a code, at once", async () => {
  const folder = temporaryFolder("bellwether-up-");
  const file = join(folder, "file");
  writeFileSync(file, "");
  // A file; below a file; a file system that takes no folders, where mkdir -p of Node's never ends.
  for (const dir of [file, join(file, "x"), "/proc/bellwether/data"]) {
    const { code, out, err } = await upEnds(dir);
    expect({ dir, code, out }).toEqual({ dir, code: 1, out: "" });
    expect(err).toMatch(new RegExp(`^STORE_UNUSABLE: .*${dir}.*\\n$`));
  }
  for (const keys of [join(file, "keys"), "/proc/bellwether/keys"]) {
    const { code, err } = await upEnds(join(folder, "data"), "--keys", keys);
    expect([code, err]).toEqual([1, expect.stringMatching(/^FILE_UNREADABLE: .*\n$/)]);
  }
});

test("a second server on the same folder, and a port that is taken, are refused with a code and leave no process", async () => {
  const server = await startBellwether();
  const second = await upEnds(server.dir);
  expect(second).toMatchObject({ code: 1, out: "" });
  expect(second.err).toContain("STORE_IN_USE");

  const blocker = createServer();
  const port = await new Promise<number>((done) =>
    blocker.listen(0, "127.0.0.1", () => {
      const address = blocker.address();
      done(typeof address === "object" && address ? address.port : 0);
    }),
  );
  onTestFinished(() => void blocker.close());
  for (const option of ["--port", "--mqtt-port"]) {
    const blocked = await upEnds(join(temporaryFolder("bellwether-up-"), "data"), option, String(port));
    expect(blocked.code).toBe(1);
    expect(blocked.err).toMatch(new RegExp(`^PORT_UNAVAILABLE: .*${port}`, "m"));
  }
  expect(server.alive()).toBe(true);
});
