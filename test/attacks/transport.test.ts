import { createServer } from "node:https";
import { type AddressInfo, createServer as createTcp } from "node:net";
import type { TlsOptions } from "node:tls";
import { nonceResponse } from "@bellwether/protocol/messages/device.ts";
import { expect, onTestFinished, test } from "vitest";
import { openConnection } from "../../agent/src/link/connection.io.ts";
import { postJson } from "../../agent/src/link/http.io.ts";
import type { Reach } from "../../agent/src/link/reach.io.ts";
import { makeCertificate, type TestCertificate } from "../kit/certificates.ts";
import { named } from "./table/row.ts";
import { DAY_MS, IMPOSTORS } from "./table/tls.ts";

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
  return {
    transport: () => ({ ca: ca.pem, time: { clockSynced: false, floorMs } }),
    onTimeShown: () => undefined,
    show: () => undefined,
  };
}

/** What the device finds: a nonce, or the code of why there is none. */
async function nonceFrom(port: number, reach: Reach, host = "localhost"): Promise<string> {
  const answer = await postJson(`https://${host}:${port}`, "v1/device/nonce", { device: "gw-1" }, nonceResponse, reach);
  return answer.ok ? "a nonce" : answer.error.code;
}

test.each(named(IMPOSTORS))("%s is told nothing, over HTTPS and MQTT", async (_, { bend, code }) => {
  const nowMs = Date.now();
  const ca = await makeCertificate({ ca: true, pathLength: 0, toMs: nowMs + 3_000 * DAY_MS });
  const honest = await answering(await makeCertificate({ by: ca }));
  expect(await nonceFrom(honest.port, reachOf(ca))).toBe("a nonce");
  expect(honest.heard()).toBeGreaterThan(0);

  const { certificate, options, chain, floorMs } = await bend({ ca, nowMs });
  const impostor = await answering(certificate, options, chain);
  const reach = reachOf(ca, floorMs);
  expect(await nonceFrom(impostor.port, reach)).toBe(code);
  const url = `mqtts://localhost:${impostor.port}`;
  const dialled = openConnection({ url, reach, onMessage: () => undefined, onClosed: () => undefined });
  await expect(dialled).rejects.toMatchObject({ problem: { code } });
  expect(impostor.heard()).toBe(0);
});

test("a certificate that is only out of time is believed by a device whose clock nobody set", async () => {
  const nowMs = Date.now();
  const ca = await makeCertificate({ ca: true, toMs: nowMs + 3_000 * DAY_MS });
  const times = { fromMs: nowMs - 20 * DAY_MS, toMs: nowMs - DAY_MS };
  const honest = await answering(await makeCertificate({ by: ca, ...times }));
  expect(await nonceFrom(honest.port, reachOf(ca))).toBe("a nonce");
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
