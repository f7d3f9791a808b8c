import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { type CertificateWish, makeCertificate } from "../kit/certificates.ts";
import { startConnectProxy } from "../kit/connect-proxy.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolArgs, enrolDevice, startFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { runProcess } from "../kit/processes.ts";
import { updateDevice } from "../kit/release.ts";
import { eventsOf } from "../kit/update-lives.ts";

const DAY_MS = 86_400_000;
const settings = "rollouts: {tickMs: 200}\n";

test("a device pins the CA by its fingerprint, is updated over TLS, and speaks to nobody with another CA", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings, tls: [] });
  const stateDir = join(folder, "edge-1");
  const args = await enrolArgs(fleet, stateDir, "edge-1");
  for (const [more, code] of [
    [[], "TLS_PIN_MISSING"],
    [["--ca", `sha256:${"0".repeat(64)}`], "TLS_FINGERPRINT_WRONG"],
  ] as const) {
    const refused = await runProcess("bellwether-agent", [...args, ...more]);
    expect(refused.ended).toBe(1);
    expect(refused.stderr).toContain(code);
  }
  expect(await runProcess("bellwether-agent", [...args, "--ca", fleet.caFingerprint])).toMatchObject({ ended: 0 });
  const pinned = join(stateDir, "ca.pem");
  expect(statSync(pinned).mode & 0o777).toBe(0o600);

  const agent = startAgentProcess(folder, stateDir, replayOf(folder));
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online");
  await updateDevice(fleet, "edge-1");
  expect(Number(readFileSync(join(stateDir, "trusted-time"), "utf8"))).toBeGreaterThan(Date.now() - DAY_MS);
  expect((await agent.stop()).ended).toBe(0);

  const own = readFileSync(pinned);
  writeFileSync(pinned, (await makeCertificate({ ca: true })).pem);
  const doubting = startAgentProcess(folder, stateDir, replayOf(folder));
  const { link } = await snapshotWhere("it doubts", stateDir, (snapshot) => snapshot.link.problem !== undefined);
  expect(link).toMatchObject({ sessions: 0, problem: { code: "TLS_CA_UNKNOWN" } });
  expect((await doubting.stop()).ended).toBe(0);
  const told = eventsOf(stateDir).filter(({ kind }) => kind === "security");
  expect(told).toMatchObject([{ code: "TLS_CA_UNKNOWN" }]);

  writeFileSync(pinned, own);
  const plain = `${replayOf(folder)}server: {mqttUrl: "${fleet.mqttUrl.replace("mqtts", "mqtt")}"}\n`;
  const clear = startAgentProcess(folder, stateDir, plain);
  const said = () => clear.log().map(({ code }) => code);
  await expect.poll(said).toContain("LINK_INSECURE");
  expect(await clear.ended).toBe(1);
});

test("a device behind a proxy with a password reaches a server that only the proxy can name, for everything", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { settings, tls: ["--name", "fleet.plant.invalid"] });
  const { host, port } = new URL(fleet.publicUrl);
  const ca = await makeCertificate({ ca: true, subject: "CN=customer" });
  const own = await makeCertificate({ by: ca });
  const proxy = await startConnectProxy({ user: "edge", password: "p:w", names: { [host]: Number(port) }, tls: own });
  writeFileSync(join(folder, "proxy.ca"), ca.pem);
  writeFileSync(join(folder, "proxy.secret"), "edge:p:w\n", { mode: 0o600 });
  const link = (file: string) =>
    `link: {websocket: true, proxy: {url: "https://localhost:${proxy.port}", credentialsFile: ${file}, caFile: proxy.ca}}\n`;
  const config = join(folder, "agent.yaml");
  const stateDir = join(folder, "edge-1");
  const args = [...(await enrolArgs(fleet, stateDir, "edge-1")), "--ca", fleet.caFingerprint];
  expect((await runProcess("bellwether-agent", args)).stderr, "the direct way").toContain("SERVER_UNREACHABLE");
  for (const [secret, mode, code] of [
    ["edge:wrong\n", 0o600, "PROXY_REFUSED"],
    ["edge:p:w\n", 0o644, "LINK_FILE_UNUSABLE"],
    ["no password", 0o600, "LINK_FILE_UNUSABLE"],
  ] as const) {
    const file = join(folder, `wrong-${mode}-${secret.length}`);
    writeFileSync(file, secret, { mode });
    writeFileSync(config, replayOf(folder) + link(file));
    expect((await runProcess("bellwether-agent", [...args, "--config", config])).stderr, secret).toContain(code);
  }
  expect(proxy.tunnels).toEqual([]);

  writeFileSync(config, replayOf(folder) + link("proxy.secret"));
  expect(await runProcess("bellwether-agent", [...args, "--config", config])).toMatchObject({ ended: 0 });
  const agent = startAgentProcess(folder, stateDir, replayOf(folder) + link("proxy.secret"));
  await snapshotWhere("it is online", stateDir, ({ link: { phase } }) => phase === "online");
  await updateDevice(fleet, "edge-1");
  const before = (await fleet.samples()).length;
  expect(before).toBeGreaterThan(0);
  proxy.cut();
  await snapshotWhere("it came again", stateDir, ({ link: { phase, sessions } }) => phase === "online" && sessions > 1);
  await eventually("samples after the cut", async () => (await fleet.samples()).length > before);
  expect(new Set(proxy.tunnels)).toEqual(new Set([host]));
  expect((await agent.stop()).ended).toBe(0);
});

test("a proxy that opens TLS is believed only where the configuration says so", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"), { tls: ["--name", "fleet.plant.invalid"] });
  const { host, port } = new URL(fleet.publicUrl);
  const by = await makeCertificate({ ca: true, subject: "CN=intercepting" });
  const proxy = await startConnectProxy({
    user: "edge",
    password: "pw",
    names: { [host]: Number(port) },
    intercept: { by, ca: fleet.ca! },
  });
  writeFileSync(join(folder, "proxy.ca"), by.pem);
  writeFileSync(join(folder, "proxy.secret"), "edge:pw\n", { mode: 0o600 });
  const config = join(folder, "agent.yaml");
  const stateDir = join(folder, "edge-1");
  const caFile = join(fleet.dir, "tls/ca.crt");
  const args = [...(await enrolArgs(fleet, stateDir, "edge-1")), "--ca", caFile, "--config", config];
  const link = (more: string) =>
    `link: {websocket: true, proxy: {url: "http://localhost:${proxy.port}", credentialsFile: proxy.secret, caFile: proxy.ca${more}}}\n`;
  writeFileSync(config, replayOf(folder) + link(""));
  expect((await runProcess("bellwether-agent", args)).stderr).toContain("TLS_CA_UNKNOWN");
  writeFileSync(config, replayOf(folder) + link(", intercepts: true"));
  expect(await runProcess("bellwether-agent", args)).toMatchObject({ ended: 0 });
  startAgentProcess(folder, stateDir, replayOf(folder) + link(", intercepts: true"));
  await snapshotWhere("it is online", stateDir, ({ link: { phase } }) => phase === "online");
  expect(proxy.tunnels.length).toBeGreaterThan(2);
});

test("a device without a clock connects to its CA, whatever its clock says, but not to a certificate that ended before the last", async () => {
  const folder = temporaryFolder();
  const ca = await makeCertificate({ ca: true, fromMs: Date.now() - 100 * DAY_MS, toMs: Date.now() + 4_000 * DAY_MS });
  const [certificate, key] = [join(folder, "server.crt"), join(folder, "server.key")];
  const put = async (wish: CertificateWish) => {
    const made = await makeCertificate({ by: ca, ...wish });
    writeFileSync(certificate, made.pem + ca.pem);
    writeFileSync(key, made.keyPem, { mode: 0o600 });
  };
  const stateDir = join(folder, "edge-1");
  writeFileSync(join(folder, "ca.crt"), ca.pem);
  const now = Date.now();
  const own = ["--tls-cert", certificate, "--tls-key", key, "--name", "127.0.0.1"];

  await put({ fromMs: now - 50 * DAY_MS, toMs: now - 10 * DAY_MS });
  const fleet = await startFleet(join(folder, "server"), { tls: own, reachedBy: join(folder, "ca.crt") });
  await enrolDevice(fleet, stateDir, "edge-1", {}, "--ca", join(folder, "ca.crt"));
  const ports = { port: Number(new URL(fleet.publicUrl).port), mqttPort: Number(new URL(fleet.mqttUrl).port) };
  startAgentProcess(folder, stateDir, replayOf(folder));
  await snapshotWhere("online with a clock that is ahead", stateDir, ({ link }) => link.phase === "online");
  const floor = () => Math.round((Number(readFileSync(join(stateDir, "trusted-time"), "utf8")) - now) / DAY_MS);
  expect(floor()).toBe(-50);

  fleet.process.signal("SIGKILL");
  await fleet.process.ended;
  await put({ fromMs: now + 365 * DAY_MS, toMs: now + 455 * DAY_MS });
  const later = await startFleet(join(folder, "server"), { tls: own, reachedBy: join(folder, "ca.crt"), ...ports });
  await eventually("the floor rises to the newest certificate", () => floor() === 365, 40_000);
  await snapshotWhere("online with a clock that is behind", stateDir, ({ link }) => link.phase === "online");
  later.process.signal("SIGKILL");
  await later.process.ended;
  await put({ fromMs: now - 50 * DAY_MS, toMs: now + 40 * DAY_MS });
  await startFleet(join(folder, "server"), { tls: own, reachedBy: join(folder, "ca.crt"), ...ports });
  const { link } = await snapshotWhere(
    "it refuses one that ended before the last began",
    stateDir,
    (snapshot) => snapshot.link.problem?.code === "TLS_EXPIRED",
    40_000,
  );
  expect(link.phase).not.toBe("online");
});
