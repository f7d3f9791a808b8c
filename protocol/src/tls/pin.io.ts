import type { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { connect } from "node:tls";
import { err, ok, type Result } from "../result.ts";
import { dial, shownBy, TransportError, targetOf } from "./dial.io.ts";
import { certificatesOf, fingerprintOf, parseFingerprint } from "./fingerprint.ts";
import { DIRECT, type Transport } from "./transport.ts";
import { isAddress } from "./verify.ts";

const LOOK_MS_MAX = 10_000;

/**
 * The PEM of the CA that a person named: a file's, or that of the certificate with this fingerprint, which the server
 * itself shows. Nothing but its certificates is heard from the server before.
 */
export async function findCa(named: string, serverUrl: string, transport: Transport = DIRECT): Promise<Result<string>> {
  const fingerprint = parseFingerprint(named);
  if (fingerprint !== undefined) return await caWithFingerprint(fingerprint, serverUrl, transport);
  const what = `The CA file ${named}`;
  const text = await readFile(named, "utf8").catch((cause: NodeJS.ErrnoException) => cause);
  if (typeof text !== "string") return err("TLS_FILE_UNUSABLE", { what, reason: text.code ?? text.message });
  const certificates = certificatesOf(text, what);
  if (!certificates.ok) return certificates;
  return ok(pemOf(certificates.value));
}

async function caWithFingerprint(expected: string, serverUrl: string, transport: Transport): Promise<Result<string>> {
  const target = targetOf(new URL(serverUrl));
  try {
    const signal = AbortSignal.timeout(LOOK_MS_MAX);
    const raw = await dial({ ...target, tls: false }, transport, { signal });
    const shown = await new Promise<X509Certificate[]>((resolve, reject) => {
      const socket = connect({
        socket: raw,
        ...(isAddress(target.host) ? {} : { servername: target.host }),
        // Only what the server shows is looked at; the fingerprint says which of it is believed from here on.
        rejectUnauthorized: false,
      });
      const late = () => socket.destroy(new Error("it took too long"));
      signal.addEventListener("abort", late, { once: true });
      socket.once("error", reject).once("close", () => reject(new Error("the connection was closed")));
      socket.once("secureConnect", () => {
        resolve(shownBy(socket));
        signal.removeEventListener("abort", late);
        socket.destroy();
      });
    });
    const found = shown.find((certificate) => fingerprintOf(certificate) === expected && certificate.ca);
    if (found !== undefined) return ok(pemOf([found]));
    const actual = shown.filter(({ ca }) => ca).map(fingerprintOf);
    return err("TLS_FINGERPRINT_WRONG", { name: target.host, expected, actual: actual.join(", ") || "no CA at all" });
  } catch (cause) {
    if (cause instanceof TransportError) return { ok: false, error: cause.problem };
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code !== undefined && /^(ERR_SSL|EPROTO)/.test(code)) {
      return err("TLS_FAILED", { name: target.host, reason: code });
    }
    return err("SERVER_UNREACHABLE", { url: serverUrl, reason: code ?? message });
  }
}

function pemOf(certificates: readonly X509Certificate[]): string {
  return certificates.map(String).join("");
}
