import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { TLSSocket } from "node:tls";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { shownBy } from "@bellwether/protocol/tls/dial.io.ts";
import { certificatesOf } from "@bellwether/protocol/tls/fingerprint.ts";
import type { Signed } from "../registry/expiries.ts";
import type { CertificateAndKey } from "./certificates.io.ts";
import { type DeviceShown, judgeDevice } from "./device-certificates.ts";
import { authorityIn } from "./server-tls.io.ts";

const DAY_MS = 86_400_000;
const CERTIFICATE_DAYS = 90;

/** The certificates that devices have beside their keys, and what is asked of one that is shown. */
export interface DeviceCertificates {
  /** A certificate for the device's present key, with the CA that signed it, as PEM. */
  issue(device: DeviceShown): Promise<{ certificate: string; ca: string; notAfterMs: number }>;
  /** Whether a connection of a device must show one. */
  readonly required: boolean;
  /** Why a device's connection is not let in, by what was shown at its TLS handshake; undefined lets it in. */
  refusal(connection: unknown, device: DeviceShown): string | undefined;
  signed(): readonly Signed[];
}

export interface DeviceCertificatesOptions {
  /** Where the CA of devices lives. */
  readonly dir: string;
  /** Absent: devices need show none. `caFile`: certificates of a PKI of the owner's count, too. */
  readonly required?: { readonly caFile?: string };
  readonly now: () => number;
}

/** Opens the CA of devices, which the first start makes: a key of its own, so that no device can pose as a server. */
export async function openDeviceCertificates(options: DeviceCertificatesOptions): Promise<Result<DeviceCertificates>> {
  const { dir, required, now } = options;
  const own = await authorityIn(dir, "devices", `Bellwether CA of devices of ${hostname()}`, now());
  const anchor = new X509Certificate(own.certificate);
  const theirs = required?.caFile === undefined ? ok([]) : await certificatesIn(required.caFile);
  if (!theirs.ok) return theirs;
  return ok({
    issue: (device) => issue(own, device, now()),
    required: required !== undefined,
    refusal(connection, device) {
      if (required === undefined) return undefined;
      const shown = connection instanceof TLSSocket ? shownBy(connection) : [];
      return judgeDevice(shown, { own: anchor, theirs: theirs.value }, device, now());
    },
    signed() {
      const [fromMs, expiresAtMs] = [anchor.validFromDate.getTime(), anchor.validToDate.getTime()];
      return [{ role: "devices-ca", version: 1, expiresAtMs, lifeMs: expiresAtMs - fromMs, renewedBy: "owners" }];
    },
  });
}

async function issue(ca: CertificateAndKey, { device, site, publicHex }: DeviceShown, nowMs: number) {
  // Loaded only where somebody has TLS: certificates.io.ts says why.
  const { issueDevice } = await import("./certificates.io.ts");
  const certificate = await issueDevice({ ca, commonName: device, nowMs, days: CERTIFICATE_DAYS }, publicHex, site);
  return { certificate, ca: ca.certificate, notAfterMs: nowMs + CERTIFICATE_DAYS * DAY_MS };
}

async function certificatesIn(file: string): Promise<Result<readonly X509Certificate[]>> {
  const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => cause);
  const what = `The file ${file}`;
  if (typeof text !== "string") return err("TLS_FILE_UNUSABLE", { what, reason: text.code ?? text.message });
  return certificatesOf(text, what);
}
