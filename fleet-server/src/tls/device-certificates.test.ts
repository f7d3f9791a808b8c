import { randomBytes, X509Certificate } from "node:crypto";
import { unwrap } from "@bellwether/protocol/result.ts";
import { keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { expect, test } from "vitest";
import { CLIENT_AUTH, makeCertificate } from "../../../test/kit/certificates.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { openDeviceCertificates } from "./device-certificates.io.ts";
import { judgeDevice } from "./device-certificates.ts";

const DAY_MS = 86_400_000;
const key = () => Buffer.from(keyPairOf(randomBytes(32)).publicKey).toString("hex");

test("a certificate goes with one device and its present key, for its time", async () => {
  const nowMs = Date.now();
  const certificates = unwrap(await openDeviceCertificates({ dir: temporaryFolder(), required: {}, now: () => nowMs }));
  const device = { device: "gw-1", site: "plant-a", publicHex: key() };
  const { certificate, ca, notAfterMs } = await certificates.issue(device);
  const shown = new X509Certificate(certificate);
  const customer = await makeCertificate({ ca: true, subject: "CN=customer" });
  const anchors = { own: new X509Certificate(ca), theirs: [customer.certificate] };
  expect(shown.subject.split("\n").toSorted()).toEqual(["CN=gw-1", "O=plant-a"]);
  expect(judgeDevice([shown], anchors, device, nowMs)).toBeUndefined();
  expect(judgeDevice([], anchors, device, nowMs)).toEqual(expect.stringMatching(/no certificate/));
  expect(judgeDevice([shown], anchors, { ...device, device: "gw-2" }, nowMs)).toEqual(
    expect.stringMatching(/somebody else/),
  );
  expect(judgeDevice([shown], anchors, { ...device, publicHex: key() }, nowMs)).toEqual(
    expect.stringMatching(/older key/),
  );
  expect(judgeDevice([shown], anchors, device, notAfterMs + DAY_MS)).toEqual(expect.stringMatching(/out of date/));

  const usages = [CLIENT_AUTH];
  const theirs = await makeCertificate({ subject: "CN=gw-1", by: customer, usages, names: [] });
  expect(judgeDevice([theirs.certificate], anchors, device, nowMs)).toBeUndefined();
  const twice = await makeCertificate({ subject: "CN=gw-2, CN=gw-1", by: customer, usages, names: [] });
  expect(judgeDevice([twice.certificate], anchors, device, nowMs)).toEqual(expect.stringMatching(/somebody else/));
  const itself = await makeCertificate({ subject: "CN=gw-1", usages, names: [] });
  expect(judgeDevice([itself.certificate], anchors, device, nowMs)).toEqual(expect.stringMatching(/not signed/));
  expect(certificates.refusal("no TLS at all", device)).toEqual(expect.stringMatching(/no certificate/));
});
