import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { makeCertificate } from "../kit/certificates.ts";
import { connectMqtt, credentials, enrol } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { runProcess } from "../kit/processes.ts";

/** `bellwether …` against a server, with what is said about its CA. */
function asked(server: Bellwether, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return runProcess("bellwether", args, {
    env: { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin, ...env },
  });
}

test("a server with TLS makes its CA, and the command line reaches it by fingerprint or file, and not without", async () => {
  const server = await startBellwether({ tls: ["--name", "localhost"] });
  expect(server.url).toMatch(/^https:\/\/localhost:\d+$/);
  expect(server.mqttUrl).toMatch(/^mqtts:\/\/localhost:\d+$/);
  expect(server.log.join("\n")).toContain("DEVELOPMENT CA");
  const fingerprint = server.caFingerprint!;
  expect(fingerprint).toMatch(/^sha256:[0-9a-f]{64}$/);

  const list = ["devices", "list", "-o", "json"];
  const file = join(server.dir, "tls/ca.crt");
  for (const ca of [
    file,
    fingerprint,
    fingerprint
      .slice(7)
      .toUpperCase()
      .replace(/..(?=.)/g, "$&:"),
  ]) {
    expect(await asked(server, ["--ca", ca, ...list]), ca).toMatchObject({ ended: 0, stderr: "" });
  }
  expect(await asked(server, list, { BELLWETHER_CA: fingerprint })).toMatchObject({ ended: 0 });
  const without = await asked(server, list);
  expect(without.ended).toBe(1);
  expect(without.stderr).toMatch(/^TLS_PIN_MISSING: .*--ca sha256/);
  const wrong = await asked(server, ["--ca", `sha256:${"0".repeat(64)}`, ...list]);
  expect(wrong.stderr).toContain("TLS_FINGERPRINT_WRONG");
  expect(wrong.stderr).toContain(fingerprint);
  const other = join(temporaryFolder(), "other.crt");
  writeFileSync(other, (await makeCertificate({ ca: true })).pem);
  expect((await asked(server, ["--ca", other, ...list])).stderr).toContain("TLS_CA_UNKNOWN");
  const named = { ...server, url: server.url.replace("localhost", "127.0.0.2") };
  expect((await asked(named, ["--ca", file, ...list])).stderr).toMatch(/TLS_NAME_WRONG|SERVER_UNREACHABLE/);

  // The next start has the same CA.
  await server.stop();
  const again = await startBellwether({ dir: server.dir, tls: ["--name", "localhost"] });
  expect(again.caFingerprint).toBe(fingerprint);
  expect(again.log.join("\n")).not.toContain("DEVELOPMENT CA");
});

test("devices log in over MQTTS and over WebSocket on the HTTPS port; in clear text neither port answers", async () => {
  const server = await startBellwether({ tls: [] });
  const ca = server.ca!;
  const device = await enrol(server, "gw-1");
  const wss = server.url.replace("https", "wss");
  for (const url of [server.mqttUrl, `${wss}/mqtt`]) {
    const login = { ...(await credentials(server, device)), clientId: "gw-1", ca };
    const connection = await connectMqtt({ ...server, mqttUrl: url }, login);
    expect(await connection.subscribe("bw/v1/plant-a/gw-1/down/ack"), url).toBe(0);
    await connection.end();
  }
  const login = { ...(await credentials(server, device)), clientId: "gw-1" };
  await expect(connectMqtt(server, login), "without the CA").rejects.toThrow(/self-signed|verify/i);
  await expect(connectMqtt({ ...server, mqttUrl: server.mqttUrl.replace("mqtts", "mqtt") }, login)).rejects.toThrow();
  await expect(connectMqtt({ ...server, mqttUrl: `${wss}/other` }, { ...login, ca })).rejects.toThrow();
  const http = fetch(server.url.replace("https", "http"));
  await expect(http).rejects.toThrow();
  expect(server.alive()).toBe(true);
});

test("a renewed certificate is shown to who comes, and whoever is there stays", async () => {
  const dir = temporaryFolder("bellwether-up-");
  const ca = await makeCertificate({ ca: true });
  const own = [join(dir, "own.crt"), join(dir, "own.key")] as const;
  const put = async () => {
    const made = await makeCertificate({ by: ca });
    writeFileSync(own[1], made.keyPem, { mode: 0o600 });
    writeFileSync(own[0], made.pem + ca.pem);
    return made.certificate.fingerprint256;
  };
  const first = await put();
  const server = await startBellwether({
    dir,
    tls: ["--tls-cert", own[0], "--tls-key", own[1], "--name", "localhost"],
  });
  const shown = async (url: string) => {
    const socket = connectTls({
      port: Number(new URL(url).port),
      host: "127.0.0.1",
      ca: ca.pem,
      servername: "localhost",
    });
    await once(socket, "secureConnect");
    const { fingerprint256 } = socket.getPeerCertificate();
    return { socket, fingerprint256 };
  };
  const before = await Promise.all([shown(server.url), shown(server.mqttUrl)]);
  expect(before.map(({ fingerprint256 }) => fingerprint256)).toEqual([first, first]);
  const second = await put();
  process.kill(server.pid, "SIGHUP");
  await eventually("the new certificate on both ports", async () => {
    const now = await Promise.all([shown(server.url), shown(server.mqttUrl)]);
    for (const { socket } of now) socket.destroy();
    return now.every(({ fingerprint256 }) => fingerprint256 === second);
  });
  for (const { socket } of before) {
    expect(socket.readyState).toBe("open");
    socket.destroy();
  }
});

test("what is no TLS, what is slow and what comes too often does not keep others out", async () => {
  const server = await startBellwether({ tls: [] });
  const ends = (bytes: string | undefined) =>
    new Promise<void>((done, fail) => {
      const socket = connectTcp(server.mqttPort, "127.0.0.1", () => bytes !== undefined && socket.write(bytes));
      socket.once("close", () => done());
      socket.on("error", () => undefined);
      setTimeout(() => fail(new Error("still open")), 20_000).unref();
    });
  // An MQTT CONNECT in clear text, a browser, and one that says nothing for the ten seconds it has.
  await Promise.all([
    ends("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"),
    ends("GET / HTTP/1.1\r\n\r\n"),
    ends(undefined),
  ]);
  const device = await enrol(server, "gw-1");
  const login = { ...(await credentials(server, device)), clientId: "gw-1", ca: server.ca! };
  const connection = await connectMqtt(server, login);
  expect(connection.connected()).toBe(true);
});

test("over WebSocket packets have the bounds of the raw port, before a login and after it", async () => {
  const server = await startBellwether({ tls: [] });
  const url = `${server.url.replace("https", "wss")}/mqtt`;
  const cut = async () => {
    const { body } = await server.call("GET /metrics");
    return Number(/^bellwether_mqtt_oversized_total (\S+)$/m.exec(body)?.[1]);
  };
  const frames = async (...sent: readonly Buffer[]) => {
    const socket = new WebSocket(url, "mqtt", { ca: server.ca! });
    onTestFinished(() => socket.terminate());
    await once(socket, "open");
    for (const bytes of sent) socket.send(bytes, { fin: false }, () => undefined);
    await once(socket, "close");
  };
  expect(await cut()).toBe(0);
  // A frame without end, as one that is never whole, and many of them: none reaches the guard of packets.
  await frames(Buffer.alloc(4_096));
  await frames(...Array.from({ length: 40 }, () => Buffer.alloc(100)));
  expect(await cut()).toBe(2);

  const device = await enrol(server, "gw-1");
  const login = { ...(await credentials(server, device)), clientId: "gw-1", ca: server.ca! };
  const connection = await connectMqtt({ ...server, mqttUrl: url }, login);
  const topic = "bw/v1/plant-a/gw-1/up/telemetry";
  await connection.publish(topic, Buffer.alloc(60_000));
  await expect(connection.publish(topic, Buffer.alloc(66_000))).rejects.toThrow(/closed/);
  expect(await cut()).toBe(3);
  expect(server.alive()).toBe(true);
});

test("beyond loopback there is TLS or nothing", async () => {
  const up = (...more: string[]) => runProcess("bellwether", ["up", "--dir", join(temporaryFolder(), "data"), ...more]);
  for (const host of ["0.0.0.0", "10.1.2.3", "[::]"]) {
    const refused = await up("--listen", `${host}:0`, "--no-tls");
    expect(refused, host).toMatchObject({ ended: 1 });
    expect(refused.stderr, host).toMatch(/^LISTEN_INSECURE: /);
  }
  expect((await up("--listen", "nonsense")).ended).toBe(2);
  expect((await up("--tls-cert", "x")).ended).toBe(2);
  expect((await up("--listen", "0.0.0.0:0", "--tls-cert", "/none", "--tls-key", "/none")).stderr).toMatch(
    /^TLS_FILE_UNUSABLE: /m,
  );
});
