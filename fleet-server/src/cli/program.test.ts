import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cli } from "../../../test/kit/cli.ts";
import { age, formatRecord, formatRows, labels, member, time } from "./print.ts";

let server: Server;
let url: string;
let folder: string;
const seen: { method?: string; url?: string; authorization?: string | undefined; body?: string }[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bellwether-cli-"));
  server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString();
    seen.push({ method: request.method!, url: request.url!, authorization: request.headers.authorization, body });
    const busy = request.headers.authorization === "Bearer busy" && seen.at(-2)?.authorization !== "Bearer busy";
    if (busy) {
      response.writeHead(503, { "content-type": "application/problem+json", "retry-after": "1" });
      return response.end(JSON.stringify({ code: "VALIDATION_BUSY", detail: "Others are before you." }));
    }
    if (request.headers.authorization === "Bearer broken") {
      response.writeHead(200, { "content-type": "text/csv" });
      return response.write("device,asset\n", () => response.destroy());
    }
    if (request.headers.authorization === "Bearer away") {
      // A server that is started again: nobody, then somebody who is not ready, then the rollout at its end.
      if (seen.length <= 3) return request.socket.destroy();
      const closing = seen.length === 4;
      response.writeHead(closing ? 503 : 200, { "content-type": "application/json" });
      const rollout = { id: "r-1", model: "m", version: 2, phase: "finished", waves: [], incompatible: 0 };
      return response.end(JSON.stringify(closing ? { code: "UNAVAILABLE", detail: "Not now." } : rollout));
    }
    const good = request.headers.authorization !== "Bearer bad";
    response.writeHead(good ? 200 : 401, { "content-type": "application/json" });
    response.end(JSON.stringify(good ? { version: "9.9.9" } : { code: "UNAUTHENTICATED", detail: "No valid token." }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

describe("exit codes and sentences", () => {
  it("prints what was asked for in each format", async () => {
    const env = { BELLWETHER_URL: url, BELLWETHER_TOKEN: "good" };
    expect(await cli(["server-version"], env)).toEqual({ exitCode: 0, stdout: "version  9.9.9\n", stderr: "" });
    expect((await cli(["-o", "json", "server-version"], env)).stdout).toBe('{\n  "version": "9.9.9"\n}\n');
    expect((await cli(["server-version", "-o", "yaml"], env)).stdout).toBe("version: 9.9.9\n");
  });

  it("says the server's own sentence on standard error and exits 1", async () => {
    const run = await cli(["server-version"], { BELLWETHER_URL: url, BELLWETHER_TOKEN: "bad" });
    expect(run).toEqual({ exitCode: 1, stdout: "", stderr: "UNAUTHENTICATED: No valid token.\n" });
  });

  it("comes back when a busy server said so, and says what it waits for", async () => {
    const run = await cli(["-o", "yaml", "server-version"], { BELLWETHER_URL: url, BELLWETHER_TOKEN: "busy" });
    expect(run).toEqual({ exitCode: 0, stdout: "version: 9.9.9\n", stderr: "Others are before you. Waiting.\n" });
  });

  it.each([
    [["nonsense"], 2, "unknown command"],
    [["-o", "xml", "server-version"], 2, "Allowed choices"],
    [["server-version", "--toke", "x"], 2, "unknown option"],
    [["server-version"], 1, "TOKEN_MISSING"],
    [["--url", "ftp://x", "server-version"], 2, "ARGUMENT_INVALID"],
    [["--url", "http://example.test", "server-version"], 1, "INSECURE_URL"],
    [["--token-file", "/nowhere/token", "server-version"], 1, "/nowhere/token"],
  ])("%j exits %i", async (args, exitCode, words) => {
    const run = await cli(args, {});
    expect(run.exitCode).toBe(exitCode);
    expect(run.stderr).toContain(words);
    expect(run.stdout).toBe("");
  });

  it("says that no server answered", async () => {
    const run = await cli(["--url", "http://127.0.0.1:1", "server-version"], { BELLWETHER_TOKEN: "x" });
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain("SERVER_UNREACHABLE");
  });

  it.each([
    [["--rul-cap", "90"], { kind: "rul", cap: 90 }],
    [["--horizon-rows", "20"], { kind: "binary", horizonRows: 20 }],
    [["--horizon-hours", "8"], { kind: "binary", horizonHours: 8 }],
    [["--binary-column", "broke"], { kind: "binary", column: "broke" }],
    [["--column", "wear"], { kind: "column", column: "wear" }],
  ])("training start %j learns %j", async (options, target) => {
    seen.length = 0;
    const env = { BELLWETHER_URL: url, BELLWETHER_TOKEN: "bad" };
    await cli(["training", "start", "m", "--history", "h", ...options], env);
    expect(JSON.parse(seen[0]!.body!)).toEqual({ model: "m", history: "h", target });
    expect(
      (await cli(["training", "start", "m", "--history", "h", ...options, "--rul-cap", "1", "--column", "x"], env))
        .exitCode,
    ).toBe(2);
  });

  it("makes an account of the feed for some classes of it, and only for what is one", async () => {
    seen.length = 0;
    const make = (...classes: string[]) =>
      cli(["subscribers", "create", "scada", "--site", "a", ...classes], {
        BELLWETHER_URL: url,
        BELLWETHER_TOKEN: "bad",
      });
    await make("--class", "alarm", "--class", "last");
    await make();
    expect(seen.map(({ body }) => JSON.parse(body!))).toEqual([
      { account: "scada", sites: ["a"], classes: ["alarm", "last"] },
      { account: "scada", sites: ["a"] },
    ]);
    expect(await make("--class", "secrets")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("telemetry"),
    });
  });

  it("watches on when the server was away for a while, and says that it waits", async () => {
    seen.length = 0;
    const run = await cli(["rollouts", "watch", "r-1"], { BELLWETHER_URL: url, BELLWETHER_TOKEN: "away" });
    expect(run).toMatchObject({ exitCode: 0, stdout: "m 2  finished\n\n" });
    expect(run.stderr).toMatch(/^No answer.* Waiting\.\n$/);
    expect(seen).toHaveLength(5);
  });

  it("never takes half an answer for the whole", async () => {
    const run = await cli(["samples", "export"], { BELLWETHER_URL: url, BELLWETHER_TOKEN: "broken" });
    expect(run).toMatchObject({ exitCode: 1, stdout: "device,asset\n" });
    expect(run.stderr).toContain("ANSWER_BROKEN");
    expect(run.stderr).toContain("--after");
  });

  it.each([
    [["rollouts", "start", "../devices/gw-1/revoke?"], "/v1/rollouts/..%2Fdevices%2Fgw-1%2Frevoke%3F/start"],
    [["rollouts", "gates", "r-1#"], "/v1/rollouts/r-1%23/gates?limit=1000"],
    [["training", "show", "a/b"], "/v1/training-runs/a%2Fb"],
    [
      ["retraining", "approve", "x/../../tokens/t-1/revoke"],
      "/v1/retrainings/x%2F..%2F..%2Ftokens%2Ft-1%2Frevoke/approve",
    ],
    [["devices", "show", "gw 1"], "/v1/devices/gw%201"],
    [["models", "show", "a?b"], "/v1/models/a%3Fb/versions"],
  ])("%j asks for nothing but %s: a name is no path", async (args, path) => {
    seen.length = 0;
    await cli(args, { BELLWETHER_URL: url, BELLWETHER_TOKEN: "bad" });
    expect(seen[0]?.url).toBe(path);
  });

  it.each([
    ["rollouts", "stop", ".."],
    ["devices", "revoke", "."],
    ["rollouts", "show", ""],
  ])("%s %s %j is no name", async (...args) => {
    seen.length = 0;
    const run = await cli(args, { BELLWETHER_URL: url, BELLWETHER_TOKEN: "good" });
    expect(run).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("must be a name") });
    expect(seen).toEqual([]);
  });

  it("reads the token from a file and warns where others may read it", async () => {
    const file = join(folder, "token");
    await writeFile(file, "good\n", { mode: 0o600 });
    const args = ["--url", url, "--token-file", file, "server-version"];
    expect(await cli(args)).toMatchObject({ exitCode: 0, stderr: "" });
    await chmod(file, 0o644);
    expect((await cli(args)).stderr).toContain("chmod 600");
  });

  it("helps on standard output and exits 0", async () => {
    const run = await cli(["--help"]);
    expect(run.exitCode).toBe(0);
    expect(run.stdout).toContain("Usage: bellwether");
  });
});

describe("the program as a process", () => {
  const bin = fileURLToPath(new URL("../../bin/bellwether.mjs", import.meta.url));
  const env = () => ({ ...process.env, BELLWETHER_URL: url, BELLWETHER_TOKEN: "good" });

  it("prints and exits by itself", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [bin, "server-version"], { env: env() });
    expect(stdout).toBe("version  9.9.9\n");
  });

  it("ends quietly when its reader has enough", async () => {
    const child = spawn(process.execPath, [bin, "--help"], { env: env(), stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.destroy();
    const [stderr, [exitCode]] = await Promise.all([child.stderr.toArray(), once(child, "exit")]);
    expect([exitCode, Buffer.concat(stderr).toString()]).toEqual([0, ""]);
  });

  it("goes its way when nobody reads what it says", async () => {
    const child = spawn(process.execPath, [bin, "nonsense"], { env: env(), stdio: ["ignore", "ignore", "pipe"] });
    child.stderr.destroy();
    expect(await once(child, "exit")).toEqual([2, null]);
  });

  it("gives up at Ctrl-C with 130", async () => {
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    const args = [bin, "--url", `http://127.0.0.1:${port}`, "server-version"];
    const child = spawn(process.execPath, args, { env: env(), stdio: "ignore" });
    await once(silent, "request");
    child.kill("SIGINT");
    const [exitCode] = await once(child, "exit");
    silent.closeAllConnections();
    silent.close();
    expect(exitCode).toBe(130);
  });
});

describe("printing", () => {
  it("aligns columns and shows no escape sequence of a device", () => {
    const rows = [
      { device: "pump-1", note: "\u001b[31mfine" },
      { device: "p2", note: "é" },
    ];
    expect(formatRows("table", rows, [member("device"), member("note")])).toBe(
      "DEVICE  NOTE\npump-1  \\u001b[31mfine\np2      é\n",
    );
    expect(formatRows("table", [], [])).toBe("(none)\n");
    expect(formatRecord("table", rows[1]!, [member("note", "n"), member("device")])).toBe("n       é\ndevice  p2\n");
  });
  it.each([
    [undefined, "never"],
    [999, "0 s"],
    [59_999, "59 s"],
    [60_000, "1 min"],
    [7_200_000, "2 h"],
    [400_000_000, "4 d"],
  ])("says the age %s as %s", (ms, words) => expect(age(ms)).toBe(words));
  it("writes a time that no date can say as it is", () => {
    expect([time(0), time(8.64e15 + 7_000)]).toEqual(["1970-01-01T00:00:00.000Z", "8640000000007000 ms"]);
  });
  it("writes labels as selectors", () => expect(labels({ b: 2, a: "x" })).toBe("a=x,b=2"));
});
