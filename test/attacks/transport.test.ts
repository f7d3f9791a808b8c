import { createServer } from "node:https";
import { type AddressInfo, createServer as createTcp } from "node:net";
import type { TlsOptions } from "node:tls";
import { nonceResponse } from "@bellwether/protocol/messages/device.ts";
import { expect, onTestFinished, test } from "vitest";
import { openConnection } from "../../agent/src/link/connection.io.ts";
import { postJson } from "../../agent/src/link/http.io.ts";
import type { Reach } from "../../agent/src/link/reach.io.ts";
import { CLIENT_AUTH, makeCertificate, type TestCertificate } from "../kit/certificates.ts";

const DAY_MS = 86_400_000;
const now = Date.now();
const ANSWER = JSON.stringify({ nonce: "n".repeat(40), brokerId: "broker-of-the-test" });

/** Somebody who answers like the server does, showing these certificates; what it was sent is counted. */
async function answering(shown: TestCertificate, options: TlsOptions = {}, chain: readonly TestCertificate[] = []) {
  let heard = 0;
  const cert = [shown, ...chain].map(({ pem }) => pem).join("");
  const server = createServer({ key: shown.keyPem, cert, ...options }, (_request, response) => {
    heard++;
    response.writeHead(200, { "content-type": "application/json" }).end(ANSWER);
  });
  server.on("secureConnection", (socket) => socket.once("data", () => heard++));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, heard: () => heard };
}

function reachOf(ca: TestCertificate, floorMs = 0): Reach {
  return { transport: () => ({ ca: ca.pem, time: { clockSynced: false, floorMs } }), onTimeShown: () => undefined };
}

/** What the device finds: a nonce, or the code of why there is none. */
async function nonceFrom(port: number, reach: Reach, host = "localhost"): Promise<string> {
  const answer = await postJson(`https://${host}:${port}`, "v1/device/nonce", { device: "gw-1" }, nonceResponse, reach);
  return answer.ok ? "a nonce" : answer.error.code;
}

test("whoever answers in the server's name is told nothing, over HTTPS and MQTT, for whatever reason it is not the server", async () => {
  const ca = await makeCertificate({ ca: true, pathLength: 0, toMs: now + 3_000 * DAY_MS });
  const sameName = await makeCertificate({ ca: true });
  const honest = await makeCertificate({ by: ca });
  const device = await makeCertificate({ by: ca, usages: [CLIENT_AUTH], subject: "CN=edge-9", keyUsage: 33 });
  const reach = reachOf(ca);
  const true_ = await answering(honest);
  expect(await nonceFrom(true_.port, reach)).toBe("a nonce");
  expect(true_.heard()).toBeGreaterThan(0);

  const old = { "TLS 1.1": { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } } as const;
  const impostors: [string, TestCertificate, string, TlsOptions?, TestCertificate[]?, Reach?][] = [
    ["a CA of the same name", await makeCertificate({ by: sameName }), "TLS_CA_UNKNOWN", {}, [sameName]],
    ["its own word", await makeCertificate(), "TLS_CA_UNKNOWN"],
    ["another server of this CA", await makeCertificate({ by: ca, names: ["other.example"] }), "TLS_NAME_WRONG"],
    ["a device of this CA", await makeCertificate({ by: ca, usages: [CLIENT_AUTH] }), "TLS_USAGE_WRONG"],
    ["a device as a CA", await makeCertificate({ by: device }), "TLS_USAGE_WRONG", {}, [device]],
    ["the CA itself", await makeCertificate({ ca: true, by: ca, subject: "CN=localhost" }), "TLS_USAGE_WRONG"],
    [
      "an old certificate, found again",
      await makeCertificate({ by: ca, fromMs: now - 20 * DAY_MS, toMs: now - DAY_MS }),
      "TLS_EXPIRED",
      {},
      [],
      reachOf(ca, now),
    ],
    ["an old protocol", honest, "TLS_FAILED", old["TLS 1.1"]],
  ];
  for (const [what, shown, code, options, chain, other] of impostors) {
    const impostor = await answering(shown, options, chain);
    expect(await nonceFrom(impostor.port, other ?? reach), what).toBe(code);
    const dialled = openConnection({
      url: `mqtts://localhost:${impostor.port}`,
      reach: other ?? reach,
      onMessage: () => undefined,
      onClosed: () => undefined,
    });
    await expect(dialled, what).rejects.toMatchObject({ problem: { code } });
    expect(impostor.heard(), what).toBe(0);
  }
});

test("a certificate out of time by its clock hides nothing else that is wrong with it", async () => {
  // OpenSSL names the last fault it met: for these that is the time, whatever was wrong before.
  const times = { fromMs: now - 20 * DAY_MS, toMs: now - DAY_MS };
  const ca = await makeCertificate({ ca: true, toMs: now + 3_000 * DAY_MS });
  const other = await makeCertificate({ ca: true, subject: "CN=other" });
  const reach = reachOf(ca);
  const honest = await answering(await makeCertificate({ by: ca, ...times }));
  expect(await nonceFrom(honest.port, reach)).toBe("a nonce");
  for (const [wish, code] of [
    [{ by: other }, "TLS_CA_UNKNOWN"],
    [{ by: ca, names: ["other.example"] }, "TLS_NAME_WRONG"],
    [{ by: ca, usages: [CLIENT_AUTH] }, "TLS_USAGE_WRONG"],
  ] as const) {
    const impostor = await answering(await makeCertificate({ ...wish, ...times }));
    expect(await nonceFrom(impostor.port, reach), code).toBe(code);
    expect(impostor.heard(), code).toBe(0);
  }
});

test("what answers in clear text, or nothing at all, on the TLS port ends as a code in bounded time", async () => {
  const reach = reachOf(await makeCertificate({ ca: true }));
  for (const [word, code] of [
    ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "TLS_FAILED"],
    ["\x20\x02\x00\x00 as a broker says it", "TLS_FAILED"],
    [undefined, "SERVER_UNREACHABLE"],
  ] as const) {
    const server = createTcp((socket) => {
      socket.on("error", () => undefined);
      if (word !== undefined) socket.end(word);
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    expect(await nonceFrom(port, reach), word?.slice(-20) ?? "silence").toBe(code);
  }
});
