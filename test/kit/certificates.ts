import "reflect-metadata";
import { webcrypto, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";

x509.cryptoProvider.set(webcrypto);

/** A certificate of a test with its key, both ways. */
export interface TestCertificate {
  readonly certificate: X509Certificate;
  readonly pem: string;
  readonly keyPem: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly algorithm: Algorithm;
  readonly subject: string;
}

type Algorithm = { readonly name: string } & Record<string, unknown>;

export interface CertificateWish {
  readonly subject?: string;
  /** Who signs; itself by default. */
  readonly by?: TestCertificate;
  readonly ca?: boolean;
  readonly pathLength?: number;
  readonly names?: readonly string[];
  readonly usages?: readonly string[];
  readonly keyUsage?: number;
  readonly fromMs?: number;
  readonly toMs?: number;
  readonly algorithm?: Algorithm;
  readonly more?: readonly x509.Extension[];
}

const DAY_MS = 86_400_000;
export const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
export const rsa = (modulusLength: number, hash: string) => ({
  name: "RSASSA-PKCS1-v1_5",
  hash,
  modulusLength,
  publicExponent: new Uint8Array([1, 0, 1]),
});
export const SERVER_AUTH = x509.ExtendedKeyUsage.serverAuth;
export const CLIENT_AUTH = x509.ExtendedKeyUsage.clientAuth;
let serial = 1;

/** A certificate as a test wants it: of a server called `localhost` unless told otherwise. */
export async function makeCertificate(wish: CertificateWish = {}): Promise<TestCertificate> {
  const { by, ca = false, names = ["localhost", "127.0.0.1"], usages = [SERVER_AUTH], algorithm = ECDSA } = wish;
  const { subject = ca ? "CN=test CA" : "CN=test server", fromMs = Date.now() - DAY_MS } = wish;
  const keys = (await webcrypto.subtle.generateKey(algorithm as never, true, [
    "sign",
    "verify",
  ])) as never as webcrypto.CryptoKeyPair;
  const { keyCertSign, digitalSignature } = x509.KeyUsageFlags;
  const made = await x509.X509CertificateGenerator.create({
    serialNumber: (serial++).toString(16).padStart(4, "0"),
    subject,
    issuer: by?.subject ?? subject,
    notBefore: new Date(fromMs),
    notAfter: new Date(wish.toMs ?? Date.now() + 90 * DAY_MS),
    publicKey: keys.publicKey,
    signingKey: (by?.keys ?? keys).privateKey,
    signingAlgorithm: (by?.algorithm ?? algorithm) as never,
    extensions: [
      new x509.BasicConstraintsExtension(ca, wish.pathLength, true),
      new x509.KeyUsagesExtension(wish.keyUsage ?? (ca ? keyCertSign : digitalSignature), true),
      ...(ca || usages.length === 0 ? [] : [new x509.ExtendedKeyUsageExtension([...usages])]),
      ...(ca || names.length === 0
        ? []
        : [
            new x509.SubjectAlternativeNameExtension(
              names.map((value) => ({ type: /^[\d.]+$|:/.test(value) ? ("ip" as const) : ("dns" as const), value })),
            ),
          ]),
      ...(wish.more ?? []),
    ],
  });
  const pem = `${made.toString("pem")}\n`;
  const body = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  const keyPem = `-----BEGIN PRIVATE KEY-----\n${body.replace(/.{1,64}/g, "$&\n")}-----END PRIVATE KEY-----\n`;
  return { certificate: new X509Certificate(pem), pem, keyPem, keys, algorithm, subject };
}

/** An extension that nobody knows. */
export function strangeExtension(critical: boolean): x509.Extension {
  return new x509.Extension("1.3.6.1.4.1.55555.1", critical, new Uint8Array([0x05, 0x00]));
}
