import { X509Certificate } from "node:crypto";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unwrap } from "@bellwether/protocol/result.ts";
import { certificatesOf, fingerprintOf } from "@bellwether/protocol/tls/fingerprint.ts";
import { verifyServer } from "@bellwether/protocol/tls/verify.ts";
import { expect, onTestFinished, test } from "vitest";
import { makeCertificate } from "../../../test/kit/certificates.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { judgeExpiry } from "../registry/expiries.ts";
import { namesOf, openServerTls, type ServerTlsOptions } from "./server-tls.io.ts";

const DAY_MS = 86_400_000;
const START = Date.UTC(2026, 0, 1);

async function opened(change: Partial<ServerTlsOptions> & { readonly dir: string }) {
  const told: unknown[] = [];
  const tls = unwrap(
    await openServerTls({
      names: ["fleet.example", "127.0.0.1"],
      now: () => START,
      report: (...what) => told.push(what),
      ...change,
    }),
  );
  onTestFinished(() => tls.close());
  return { tls, told };
}

test("the first start makes a CA and a certificate for its names; the next finds both", async () => {
  const dir = temporaryFolder();
  const { tls } = await opened({ dir });
  expect(tls.madeCa).toBe(true);
  for (const name of readdirSync(dir).filter((file) => file.endsWith(".pem"))) {
    expect(statSync(join(dir, name)).mode & 0o777, name).toBe(0o600);
  }
  const shown = unwrap(certificatesOf(tls.current().certificate, "it"));
  const ca = shown.find((certificate) => certificate.ca)!;
  expect(tls.caFingerprint).toBe(fingerprintOf(ca));
  for (const name of ["fleet.example", "127.0.0.1"]) {
    unwrap(verifyServer(shown, [ca], name, { nowMs: START, clockSynced: true, floorMs: 0 }));
  }
  const again = (await opened({ dir })).tls;
  expect(again.madeCa).toBe(false);
  expect(again.current()).toEqual(tls.current());
  const renamed = (await opened({ dir, names: ["other.example"] })).tls;
  expect(renamed.caFingerprint).toBe(tls.caFingerprint);
  expect(new X509Certificate(renamed.current().certificate).checkHost("other.example")).toBe("other.example");
});

test("the certificate is renewed 30 days before its end, by the same CA, and listeners hear of it once", async () => {
  let nowMs = START;
  const { tls } = await opened({ dir: temporaryFolder(), now: () => nowMs });
  const first = tls.current();
  const context = tls.context();
  const heard: unknown[] = [];
  tls.onRenewed((pair) => heard.push(pair));
  nowMs = START + 59 * DAY_MS;
  await tls.renewIfDue();
  expect(tls.current()).toBe(first);
  // What renews itself alarms only when that has not happened.
  const [own, ca] = tls.signed();
  const alarmAt = (day: number) => judgeExpiry(own!, START + day * DAY_MS).alarm;
  expect([alarmAt(59), alarmAt(62), alarmAt(77), ca?.renewedBy]).toEqual([null, null, 14, "owners"]);
  nowMs = START + 61 * DAY_MS;
  await tls.renewIfDue();
  await tls.renewIfDue();
  expect(heard).toEqual([tls.current()]);
  expect(tls.context()).not.toBe(context);
  const leaf = new X509Certificate(tls.current().certificate);
  expect(leaf.validToDate.getTime()).toBeGreaterThan(START + 150 * DAY_MS);
  expect(leaf.publicKey.export({ type: "spki", format: "pem" })).not.toBe(
    new X509Certificate(first.certificate).publicKey.export({ type: "spki", format: "pem" }),
  );
});

test("a certificate of one's own is taken, read anew when its files change, and kept when they are wrong", async () => {
  const dir = temporaryFolder();
  const ca = await makeCertificate({ ca: true });
  const own = { certificateFile: join(dir, "server.crt"), keyFile: join(dir, "server.key") };
  const put = async () => {
    const made = await makeCertificate({ by: ca });
    writeFileSync(own.certificateFile, made.pem + ca.pem);
    writeFileSync(own.keyFile, made.keyPem);
  };
  const options = { dir, names: ["localhost"], own };
  const more = { now: () => START, report: () => undefined };
  expect(await openServerTls({ ...options, ...more })).toMatchObject({ error: { code: "TLS_FILE_UNUSABLE" } });
  await put();
  const { tls, told } = await opened(options);
  expect(tls).toMatchObject({ madeCa: false, caFingerprint: fingerprintOf(ca.certificate) });
  const [leaf, above] = tls.signed();
  expect([leaf, above]).toMatchObject([
    {
      role: "tls",
      renewedBy: "owners",
      expiresAtMs: new X509Certificate(tls.current().certificate).validToDate.getTime(),
    },
    { role: "tls-ca", renewedBy: "owners", expiresAtMs: ca.certificate.validToDate.getTime() },
  ]);
  const first = tls.current();
  await put();
  await tls.renewIfDue();
  expect(tls.current()).not.toEqual(first);
  const second = tls.current();
  // Half renewed: a key that is not of this certificate.
  writeFileSync(own.keyFile, first.key);
  expect(await openServerTls({ ...options, ...more })).toMatchObject({ error: { code: "TLS_FILE_UNUSABLE" } });
  expect(told).toEqual([]);
  await tls.renewIfDue();
  expect(tls.current()).toEqual(second);
  expect(told).toEqual([[expect.stringContaining("cannot be used"), "TLS_FILE_UNUSABLE"]]);
});

test("a server is called what people say first, then where it listens", () => {
  expect(namesOf("10.0.0.7", ["fleet.example"])).toEqual(["fleet.example", "10.0.0.7", "localhost", "127.0.0.1"]);
  expect(namesOf("127.0.0.1", [])).toEqual(["127.0.0.1", "localhost"]);
  const everywhere = namesOf("0.0.0.0", []);
  expect(everywhere.length).toBeGreaterThan(2);
  expect(everywhere).not.toContain("0.0.0.0");
});
