import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import { isAddress } from "@bellwether/protocol/tls/verify.ts";
import * as x509 from "@peculiar/x509";

// Loaded only where certificates are made: neither a server on loopback nor one that was given its certificate needs it.

/** A certificate and its private key, as PEM. */
export interface CertificateAndKey {
  readonly certificate: string;
  readonly key: string;
}

const DAY_MS = 86_400_000;
/** A CA outlives the devices that pin it; a server's certificate is renewed by itself long before its end. */
const CA_DAYS = 3_650;
/** Devices and servers whose clocks are a little apart must still agree. */
const EARLIER_MS = 3_600_000;
const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

x509.cryptoProvider.set(webcrypto);

/** A CA with a key of its own that signs servers' and devices' certificates, and no further CA. */
export async function makeCa(commonName: string, nowMs: number): Promise<CertificateAndKey> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: [{ CN: [commonName] }],
    notBefore: new Date(nowMs - EARLIER_MS),
    notAfter: new Date(nowMs + CA_DAYS * DAY_MS),
    keys,
    signingAlgorithm: ECDSA,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: pem(certificate), key: await pemOfKey(keys.privateKey) };
}

export interface Issuing {
  readonly ca: CertificateAndKey;
  readonly commonName: string;
  readonly nowMs: number;
  readonly days: number;
  readonly organization?: string;
}

/** A server's certificate for these names and addresses, with a key of its own. */
export async function issueServer(issuing: Issuing, names: readonly string[]): Promise<CertificateAndKey> {
  const keys = await newKeys();
  const certificate = await issue(issuing, keys.publicKey, x509.ExtendedKeyUsage.serverAuth, [
    new x509.SubjectAlternativeNameExtension(
      names.map((value) => ({ type: isAddress(value) ? ("ip" as const) : ("dns" as const), value })),
    ),
  ]);
  return { certificate: pem(certificate), key: await pemOfKey(keys.privateKey) };
}

/** A device's certificate for the key it has already: it signs nothing but its own side of a TLS handshake. */
export async function issueDevice(issuing: Issuing, publicHex: string, site: string): Promise<string> {
  const bytes = Buffer.from(publicHex, "hex");
  const publicKey = await webcrypto.subtle.importKey("raw", bytes, { name: "Ed25519" }, true, ["verify"]);
  return pem(await issue({ ...issuing, organization: site }, publicKey, x509.ExtendedKeyUsage.clientAuth, []));
}

async function issue(
  { ca, commonName, nowMs, days, organization }: Issuing,
  publicKey: x509.PublicKeyType,
  usage: x509.ExtendedKeyUsage,
  more: readonly x509.Extension[],
): Promise<x509.X509Certificate> {
  const issuer = new x509.X509Certificate(ca.certificate);
  const body = Buffer.from(ca.key.replace(/-----[^-]+-----|\s/g, ""), "base64");
  const signingKey = await webcrypto.subtle.importKey("pkcs8", body, ECDSA, false, ["sign"]);
  return await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: [{ CN: [commonName] }, ...(organization === undefined ? [] : [{ O: [organization] }])],
    issuer: issuer.subjectName,
    notBefore: new Date(nowMs - EARLIER_MS),
    notAfter: new Date(nowMs + days * DAY_MS),
    publicKey,
    signingKey,
    signingAlgorithm: ECDSA,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([usage]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      ...more,
    ],
  });
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(ECDSA, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
}

/** Positive and random, as RFC 5280 (4.1.2.2) wants it. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x01;
  return bytes.toString("hex");
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

async function pemOfKey(key: webcrypto.CryptoKey): Promise<string> {
  const body = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key)).toString("base64");
  return `-----BEGIN PRIVATE KEY-----\n${body.replace(/.{1,64}/g, "$&\n")}-----END PRIVATE KEY-----\n`;
}
