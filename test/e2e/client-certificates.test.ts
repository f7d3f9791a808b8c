import { X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { privateKeyPem } from "@bellwether/protocol/trust/keys.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { CLIENT_AUTH, makeCertificate } from "../kit/certificates.ts";
import { connectDevice, deviceLogin, type EnrolledDevice, enrol } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { suiteFolder, temporaryFolder } from "../kit/folder.ts";
import { runProcess } from "../kit/processes.ts";

const folder = suiteFolder("bellwether-mtls-");
let server: Bellwether;
let customer: Awaited<ReturnType<typeof makeCertificate>>;
beforeAll(async () => {
  customer = await makeCertificate({ ca: true, subject: "CN=the plant's own CA" });
  const caFile = join(folder, "customer.pem");
  writeFileSync(caFile, customer.pem);
  const tls = ["--name", "localhost", "--client-ca", caFile];
  server = await startBellwether({ dir: join(folder, "data"), until: "caller", tls });
});
afterAll(async () => await server?.stop());

let names = 0;
const device = () => enrol(server, `gw-${++names}`);
/** The certificate that the server gives the device, with its key. */
async function ownOf(one: EnrolledDevice) {
  const { token } = (await deviceLogin(server, one)).body;
  const { body, http } = await server.call("POST /v1/device/certificate", {}, { token });
  expect(http, JSON.stringify(body)).toBe(200);
  return { cert: body.certificate as string, key: privateKeyPem(one.seed), ca: body.ca as string };
}
const theirs = async (subject: string, by = customer) => {
  const made = await makeCertificate({ subject, by, usages: [CLIENT_AUTH], names: [] });
  return { cert: made.pem, key: made.keyPem };
};
/** Connects with the device's own login, and what it shows at TLS. */
const connect = (one: EnrolledDevice, shown: { cert?: string; key?: string } = {}, session = 1) =>
  connectDevice(server, one, { session, mqtt: { ...shown, ca: server.ca!, servername: "localhost" } });

test("a device is let in by a certificate of the server's or of the owner's CA, and by no other", async () => {
  const one = await device();
  const own = await ownOf(one);
  const certificate = new X509Certificate(own.cert);
  expect(certificate.subject.split("\n").toSorted()).toEqual([`CN=${one.device}`, `O=${one.site}`]);
  expect(certificate.verify(new X509Certificate(own.ca).publicKey)).toBe(true);
  expect((await connect(one, own)).connected()).toBe(true);
  expect((await connect(one, await theirs(`CN=${one.device}`), 2)).connected()).toBe(true);

  const other = await device();
  const stranger = await makeCertificate({ ca: true, subject: "CN=a stranger's CA" });
  const serverOnly = await makeCertificate({ subject: `CN=${one.device}`, by: customer });
  for (const [what, shown] of [
    ["no certificate", {}],
    ["another device's", await ownOf(other)],
    ["the owner's for another device", await theirs(`CN=${other.device}`)],
    ["two names in one", await theirs(`CN=${other.device}, CN=${one.device}`)],
    ["a stranger's", await theirs(`CN=${one.device}`, stranger)],
    ["a server's", { cert: serverOnly.pem, key: serverOnly.keyPem }],
  ] as const) {
    await expect(connect(one, shown, 3), what).rejects.toThrow(/refused|closed/i);
  }
  const noted = await server.call(`GET /v1/audit?caller=device:${one.device}`);
  expect(
    noted.body.items.map(({ code }: { code: string }) => code),
    "once an hour",
  ).toEqual(["CLIENT_CERTIFICATE_REFUSED"]);
  // A certificate alone opens nothing: the login and the device's phase count as before, at once.
  expect((await server.call(`POST /v1/devices/${one.device}/revoke`)).http).toBe(200);
  await expect(connect(one, own, 4)).rejects.toThrow(/refused|closed/i);
});

test("an agent fetches its certificate by itself, over either way in, and another one with a new key", async () => {
  const at = temporaryFolder();
  const stateDir = join(at, "state");
  const token = await server.call("POST /v1/enrolment-tokens", { site: "plant-a" });
  writeFileSync(join(at, "token"), token.body.secret, { mode: 0o600 });
  const args = ["enroll", "--url", server.url, "--token-file", join(at, "token"), "--device", "edge-1"];
  const enrolled = await runProcess("bellwether-agent", [...args, "--ca", server.caFingerprint!, "--state", stateDir]);
  expect(enrolled).toMatchObject({ ended: 0 });
  const shown = () => new X509Certificate(readFileSync(join(stateDir, "device.crt")));
  const agent = startAgentProcess(at, stateDir, replayOf(at));
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online");
  const first = shown();
  const rotated = await runProcess("bellwether-agent", ["rotate-key", "--state", stateDir]);
  expect(rotated).toMatchObject({ ended: 0 });
  await eventually("its new key is certified", () => shown().fingerprint256 !== first.fingerprint256, 60_000);
  await snapshotWhere("it is online again", stateDir, ({ link }) => link.phase === "online" && link.sessions > 1);
  expect((await agent.stop()).ended).toBe(0);

  const webSocket = startAgentProcess(at, stateDir, `${replayOf(at)}link: {websocket: true}\n`);
  await snapshotWhere("it is online by WebSocket", stateDir, ({ link }) => link.phase === "online");
  expect((await webSocket.stop()).ended).toBe(0);
});
