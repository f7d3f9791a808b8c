import { expect, test } from "vitest";
import {
  type CertificateWish,
  CLIENT_AUTH,
  makeCertificate,
  rsa,
  strangeExtension,
  type TestCertificate,
} from "../../../test/kit/certificates.ts";
import { type KnownTime, verifyClient, verifyServer } from "./verify.ts";

const DAY_MS = 86_400_000;
const NOW = Date.now();
const TIME: KnownTime = { nowMs: NOW, clockSynced: true, floorMs: 0 };
const KEY_CERT_SIGN = 32;

function judge(shown: readonly TestCertificate[], anchor: TestCertificate, name = "localhost", time = TIME) {
  const certificates = shown.map(({ certificate }) => certificate);
  const verdict = verifyServer(certificates, [anchor.certificate], name, time);
  return verdict.ok ? "ok" : verdict.error.code;
}

test("a server's certificate of the pinned CA is accepted by name and address, also below another CA, in any order", async () => {
  const ca = await makeCertificate({ ca: true });
  const leaf = await makeCertificate({ by: ca });
  expect(judge([leaf], ca)).toBe("ok");
  expect(judge([leaf, ca], ca, "127.0.0.1")).toBe("ok");
  const between = await makeCertificate({ ca: true, by: ca, subject: "CN=between", pathLength: 0 });
  const below = await makeCertificate({ by: between });
  const stranger = await makeCertificate({ ca: true, subject: "CN=stranger" });
  expect(judge([below, stranger, between], ca)).toBe("ok");
  for (const algorithm of [rsa(2_048, "SHA-256"), { name: "Ed25519" }]) {
    const other = await makeCertificate({ ca: true, algorithm });
    expect(judge([await makeCertificate({ by: other })], other), algorithm.name).toBe("ok");
  }
});

test("another CA, one of the same name, another name, and no name at all are refused by code", async () => {
  const ca = await makeCertificate({ ca: true });
  const leaf = await makeCertificate({ by: ca });
  const sameName = await makeCertificate({ ca: true });
  expect(judge([leaf], ca)).toBe("ok");
  expect(judge([leaf], sameName)).toBe("TLS_CA_UNKNOWN");
  expect(judge([leaf, ca], sameName)).toBe("TLS_CA_UNKNOWN");
  expect(judge([], ca)).toBe("TLS_CA_UNKNOWN");
  expect(judge([await makeCertificate()], ca), "signed by itself").toBe("TLS_CA_UNKNOWN");
  expect(judge([leaf], ca, "fleet.example")).toBe("TLS_NAME_WRONG");
  expect(judge([leaf], ca, "127.0.0.2")).toBe("TLS_NAME_WRONG");
  const nameless = await makeCertificate({ by: ca, names: [], subject: "CN=localhost" });
  expect(judge([nameless], ca), "the subject is no name").toBe("TLS_NAME_WRONG");
});

test("certificates that are not meant for this are refused, each for its own reason", async () => {
  const ca = await makeCertificate({ ca: true, pathLength: 1 });
  const between = (wish: CertificateWish = {}) => makeCertificate({ ca: true, by: ca, subject: "CN=between", ...wish });
  const narrow = await makeCertificate({ ca: true, pathLength: 0, subject: "CN=narrow" });
  const cases: [string, TestCertificate[], TestCertificate, RegExp][] = [];
  const add = async (what: RegExp, wish: CertificateWish) =>
    cases.push([what.source, [await makeCertificate({ by: ca, ...wish })], ca, what]);
  await add(/not for a TLS server/, { usages: [CLIENT_AUTH] });
  await add(/CA's own certificate/, { ca: true, subject: "CN=x" });
  await add(/not for signatures/, { keyUsage: 4 });
  await add(/critical extension/, { more: [strangeExtension(true)] });
  await add(/key that is too weak/, { algorithm: rsa(1_024, "SHA-256") });
  const old = await makeCertificate({ ca: true, algorithm: rsa(2_048, "SHA-1"), subject: "CN=old" });
  cases.push(["SHA-1", [await makeCertificate({ by: old })], old, /signature that is too weak/]);
  const noCa = await makeCertificate({ by: ca, subject: "CN=between", keyUsage: KEY_CERT_SIGN + 1 });
  cases.push(["no CA", [await makeCertificate({ by: noCa }), noCa], ca, /no CA's/]);
  const noSigner = await between({ keyUsage: 1 });
  expect(judge([await makeCertificate({ by: noSigner }), noSigner], ca)).toBe("TLS_CA_UNKNOWN");
  const delegated = await makeCertificate({ ca: true, by: narrow, subject: "CN=between" });
  cases.push(["too far", [await makeCertificate({ by: delegated }), delegated], narrow, /delegate so far/]);
  const limited = await between({ more: [strangeExtension(true)] });
  cases.push(["limited CA", [await makeCertificate({ by: limited }), limited], ca, /critical extension/]);
  for (const [what, shown, anchor, reason] of cases) {
    const verdict = verifyServer(
      shown.map(({ certificate }) => certificate),
      [anchor.certificate],
      "localhost",
      TIME,
    );
    expect(verdict, what).toMatchObject({ error: { code: "TLS_USAGE_WRONG" } });
    expect(verdict.ok ? "" : verdict.error.detail["reason"], what).toMatch(reason);
  }
  const whole = await between({ keyUsage: KEY_CERT_SIGN });
  const harmless = await makeCertificate({ by: whole, more: [strangeExtension(false)] });
  expect(judge([harmless, whole], ca)).toBe("ok");
});

test("time: a clock nobody set is not asked, what the CA signed is; a set clock is believed above that floor", async () => {
  const ca = await makeCertificate({ ca: true, fromMs: NOW - 100 * DAY_MS, toMs: NOW + 3_000 * DAY_MS });
  const leaf = await makeCertificate({ by: ca, fromMs: NOW - 10 * DAY_MS, toMs: NOW + 10 * DAY_MS });
  const at = (nowDays: number, clockSynced: boolean, floorDays: number) =>
    judge([leaf], ca, "localhost", {
      nowMs: NOW + nowDays * DAY_MS,
      clockSynced,
      floorMs: NOW + floorDays * DAY_MS,
    });
  expect(at(0, true, -100)).toBe("ok");
  expect(
    verifyServer([leaf.certificate], [ca.certificate], "localhost", { nowMs: 0, clockSynced: false, floorMs: 0 }),
  ).toEqual({
    ok: true,
    value: { notBeforeMs: leaf.certificate.validFromDate.getTime() },
  });
  expect(at(-20_000, false, -100), "in 1972").toBe("ok");
  expect(at(3_650, false, -10), "ten years ahead").toBe("ok");
  expect(at(3_650, true, -10), "ten years ahead, by a time server").toBe("TLS_EXPIRED");
  expect(at(-20, true, -100), "not yet valid by a set clock").toBe("TLS_EXPIRED");
  expect(at(-20_000, false, 11), "the CA signed something later than its end").toBe("TLS_EXPIRED");
  expect(at(-20_000, true, 11), "a clock below the floor").toBe("TLS_EXPIRED");
  expect(at(0, false, 9)).toBe("ok");
});

test("a client's certificate is judged by the CA of devices", async () => {
  const ca = await makeCertificate({ ca: true });
  const device = await makeCertificate({ by: ca, usages: [CLIENT_AUTH] });
  const other = await makeCertificate({ ca: true });
  expect(verifyClient([device.certificate], [ca.certificate], NOW)).toBeUndefined();
  expect(verifyClient([device.certificate], [other.certificate], NOW)).toMatch(/not signed/);
  expect(verifyClient([device.certificate], [ca.certificate], NOW + 200 * DAY_MS)).toMatch(/out of date/);
  const server = await makeCertificate({ by: ca });
  expect(verifyClient([server.certificate], [ca.certificate], NOW)).toMatch(/not for a TLS client/);
});
