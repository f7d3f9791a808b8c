import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { makeCertificate } from "../kit/certificates.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolArgs, startFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { freePort } from "../kit/port.ts";
import { runProcess, startProcess } from "../kit/processes.ts";
import { updateDevice } from "../kit/release.ts";

const DAY_MS = 86_400_000;
const NAME = "fleet.plant.invalid";

/** Debian's Squid as a customer sets it up: a password, CONNECT to one name and port, and nothing else. */
async function startSquid(folder: string, target: { readonly name: string; readonly port: number }) {
  // Started by root, it goes on as an account of its own, which must reach its files.
  chmodSync(folder, 0o755);
  const dir = join(folder, "squid");
  mkdirSync(dir);
  chmodSync(dir, 0o777);
  const port = await freePort();
  const password = execFileSync("openssl", ["passwd", "-5", "p:w"], { encoding: "utf8" }).trim();
  writeFileSync(join(dir, "passwords"), `edge:${password}\n`);
  writeFileSync(join(dir, "hosts"), `127.0.0.1 ${target.name} other.plant.invalid\n`);
  const config = join(dir, "squid.conf");
  writeFileSync(
    config,
    [
      `http_port 127.0.0.1:${port}`,
      `pid_filename ${dir}/pid`,
      `cache_log ${dir}/cache.log`,
      `access_log stdio:${dir}/access.log`,
      `coredump_dir ${dir}`,
      `hosts_file ${dir}/hosts`,
      "cache deny all",
      "pinger_enable off",
      "shutdown_lifetime 0 seconds",
      `auth_param basic program /usr/lib/squid/basic_ncsa_auth ${dir}/passwords`,
      "auth_param basic children 2",
      "auth_param basic realm plant",
      "acl known proxy_auth REQUIRED",
      `acl fleet dstdomain ${target.name}`,
      `acl tls port ${target.port}`,
      "http_access deny !CONNECT",
      "http_access allow CONNECT tls fleet known",
      "http_access deny all",
      "",
    ].join("\n"),
  );
  const process = startProcess("/usr/sbin/squid", ["-N", "-f", config], { env: { PATH: "/usr/bin:/bin" } });
  await eventually(
    "squid listens",
    () => readFileSync(join(dir, "cache.log"), "utf8").includes("Accepting HTTP"),
    30_000,
  );
  return {
    process,
    port,
    /** Its log: result and status, method, target, user. */
    log: () =>
      readFileSync(join(dir, "access.log"), "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => line.trim().split(/\s+/))
        .map(([, , , result, , method, asked, user]) => `${result} ${method} ${asked} ${user}`),
  };
}

/** The status of a CONNECT with the right password. */
async function tunnel(port: number, path: string): Promise<number | undefined> {
  const headers = { "proxy-authorization": `Basic ${Buffer.from("edge:p:w").toString("base64")}` };
  const asked = request({ host: "127.0.0.1", port, method: "CONNECT", path, headers });
  asked.end();
  const [answer] = (await once(asked, "connect")) as [IncomingMessage];
  asked.destroy();
  return answer.statusCode;
}

test("Squid with a password and a customer's CA lets a device reach its server for everything, and nothing else", async () => {
  const folder = temporaryFolder();
  const now = Date.now();
  const ca = await makeCertificate({ ca: true, subject: "CN=customer", toMs: now + 1_000 * DAY_MS });
  const own = await makeCertificate({ by: ca, names: [NAME, "127.0.0.1"] });
  const caFile = join(folder, "customer.crt");
  const [certificate, key] = [join(folder, "server.crt"), join(folder, "server.key")];
  writeFileSync(caFile, ca.pem);
  writeFileSync(certificate, own.pem + ca.pem);
  writeFileSync(key, own.keyPem, { mode: 0o600 });
  const fleet = await startFleet(join(folder, "server"), {
    settings: "rollouts: {tickMs: 200}\n",
    tls: ["--tls-cert", certificate, "--tls-key", key, "--name", NAME],
    reachedBy: caFile,
  });
  const { host, port } = new URL(fleet.publicUrl);
  expect(host).toBe(`${NAME}:${port}`);
  const squid = await startSquid(folder, { name: NAME, port: Number(port) });

  writeFileSync(join(folder, "right.secret"), "edge:p:w\n", { mode: 0o600 });
  writeFileSync(join(folder, "wrong.secret"), "edge:other\n", { mode: 0o600 });
  const link = (secret: string) =>
    `link: {websocket: true, proxy: {url: "http://127.0.0.1:${squid.port}", credentialsFile: ${secret}}}\n`;
  const config = join(folder, "agent.yaml");
  const stateDir = join(folder, "edge-1");
  const args = [...(await enrolArgs(fleet, stateDir, "edge-1")), "--ca", caFile];
  expect((await runProcess("bellwether-agent", args)).stderr, "the direct way").toContain("SERVER_UNREACHABLE");
  writeFileSync(config, replayOf(folder) + link("wrong.secret"));
  expect((await runProcess("bellwether-agent", [...args, "--config", config])).stderr).toContain("PROXY_REFUSED");
  expect(new Set(squid.log().map((line) => line.split(" ").slice(0, 3).join(" ")))).toEqual(
    new Set([`TCP_DENIED/407 CONNECT ${host}`]),
  );

  writeFileSync(config, replayOf(folder) + link("right.secret"));
  expect(await runProcess("bellwether-agent", [...args, "--config", config])).toMatchObject({ ended: 0 });
  const agent = startAgentProcess(folder, stateDir, replayOf(folder) + link("right.secret"));
  await snapshotWhere("it is online", stateDir, (snapshot) => snapshot.link.phase === "online");
  await updateDevice(fleet, "edge-1");
  expect((await fleet.samples()).length).toBeGreaterThan(0);
  expect((await agent.stop()).ended).toBe(0);

  // A device that asks for anything else by the right password is not let through: the rules hold.
  const elsewhere = await tunnel(squid.port, `other.plant.invalid:${port}`);
  expect([elsewhere, await tunnel(squid.port, `${NAME}:${new URL(fleet.mqttUrl).port}`)]).toEqual([403, 403]);
  const through = squid.log().filter((line) => !line.startsWith("TCP_DENIED/"));
  expect(through.length).toBeGreaterThan(3);
  expect(new Set(through)).toEqual(new Set([`TCP_TUNNEL/200 CONNECT ${host} edge`]));
  expect((await squid.process.stop()).ended).toBe(0);
});
