import { createHash, X509Certificate } from "node:crypto";
import { err, ok, type Result } from "../result.ts";

/** The SHA-256 of a certificate's DER, as people compare it: `sha256:` and 64 hex digits. */
export function fingerprintOf(certificate: X509Certificate): string {
  return `sha256:${createHash("sha256").update(certificate.raw).digest("hex")}`;
}

/** Reads a fingerprint; colons and capitals, as other programs print it, are taken. */
export function parseFingerprint(text: string): string | undefined {
  const hex = text
    .trim()
    .toLowerCase()
    .replace(/^sha-?256[:=]/, "")
    .replaceAll(":", "");
  return /^[0-9a-f]{64}$/.test(hex) ? `sha256:${hex}` : undefined;
}

/** Certificates that are read from one PEM text at most. */
const CERTIFICATES_MAX = 64;

/** Every certificate of a PEM text; `what` names it where there is none, or one that cannot be read. */
export function certificatesOf(pem: string, what: string): Result<readonly X509Certificate[]> {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0 || blocks.length > CERTIFICATES_MAX) {
    const reason = blocks.length === 0 ? "there is no PEM certificate in it" : `more than ${CERTIFICATES_MAX} in it`;
    return err("TLS_FILE_UNUSABLE", { what, reason });
  }
  try {
    return ok(blocks.map((block) => new X509Certificate(block)));
  } catch (cause) {
    return err("TLS_FILE_UNUSABLE", { what, reason: (cause as Error).message });
  }
}
