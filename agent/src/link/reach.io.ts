import { statSync } from "node:fs";
import { join } from "node:path";
import { readText } from "@bellwether/protocol/files/read.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { certificatesOf } from "@bellwether/protocol/tls/fingerprint.ts";
import type { ProxyServer, Transport } from "@bellwether/protocol/tls/transport.ts";
import type { AgentConfig, ProxyConfig } from "../config/config.ts";
import { writeDurably } from "../durable.io.ts";
import { readIfThere } from "./files.io.ts";

/** How this device reaches its server, and what it has learnt of the time on the way. */
export interface Reach {
  /** As it is now: plain data, which threads can be given. */
  transport(): Transport;
  /** A certificate of the pinned CA was verified: it is later than this, whatever the clock says. */
  onTimeShown(notBeforeMs: number): void;
  /** From now on this is shown where a server wants to see a certificate; one of the owner's PKI stays. */
  show(client: NonNullable<Transport["client"]>): void;
}

export interface ReachOptions {
  readonly stateDir: string;
  readonly proxy?: ProxyConfig | undefined;
  readonly clientCertificate?: AgentConfig["link"]["clientCertificate"];
  /** Whether something that knows the time set the device's clock. */
  readonly clockSynced: () => boolean;
}

/** The pinned CA, in the state directory; absent where the server's certificate is publicly trusted. */
export const CA_FILE = "ca.pem";
/** The start of the newest certificate that was verified, in milliseconds since 1970. */
const TIME_FILE = "trusted-time";
/** Longest file of certificates, or of a name and password. */
const FILE_BYTES_MAX = 1_048_576;

/** Reads what was pinned at enrolment and how the proxy is spoken to. */
export function openReach({ stateDir, proxy, clientCertificate, clockSynced }: ReachOptions): Result<Reach> {
  const ca = readIfThere(join(stateDir, CA_FILE));
  if (ca !== undefined) {
    const readable = certificatesOf(ca, "The pinned CA");
    if (!readable.ok) return readable;
  }
  const through = proxy === undefined ? ok(undefined) : readProxy(proxy);
  if (!through.ok) return through;
  const own = clientCertificate === undefined ? ok(undefined) : readOwn(clientCertificate);
  if (!own.ok) return own;
  let client = own.value;
  const timeFile = join(stateDir, TIME_FILE);
  // Without a number it is 1970: certificates of the pinned CA are then as good as they were before it was known.
  let floorMs = Number(readIfThere(timeFile)?.trim()) || 0;
  return ok({
    transport: () => ({
      ...(ca === undefined ? {} : { ca }),
      ...(through.value === undefined ? {} : { proxy: through.value }),
      ...(client === undefined ? {} : { client }),
      time: { clockSynced: clockSynced(), floorMs },
    }),
    show(shown) {
      client = own.value ?? shown;
    },
    onTimeShown(notBeforeMs) {
      if (notBeforeMs <= floorMs) return;
      floorMs = notBeforeMs;
      try {
        writeDurably(timeFile, `${notBeforeMs}\n`);
      } catch {
        // A full disk costs the floor after the next start, not the connection.
      }
    },
  });
}

function readOwn({
  certificateFile,
  keyFile,
}: NonNullable<ReachOptions["clientCertificate"]>): Result<NonNullable<Transport["client"]>> {
  const certificate = readSmall(certificateFile);
  if (!certificate.ok) return certificate;
  const readable = certificatesOf(certificate.value, `link.clientCertificate, ${certificateFile},`);
  if (!readable.ok) return readable;
  const key = readSmall(keyFile);
  if (!key.ok) return key;
  if ((statSync(keyFile).mode & 0o077) !== 0) {
    return err("LINK_FILE_UNUSABLE", { file: keyFile, reason: 'others may read it; "chmod 600" it' });
  }
  return ok({ certificate: certificate.value, key: key.value });
}

function readProxy({ url, credentialsFile, caFile, intercepts }: ProxyConfig): Result<ProxyServer> {
  let ca: string | undefined;
  if (caFile !== undefined) {
    const text = readSmall(caFile);
    if (!text.ok) return text;
    const readable = certificatesOf(text.value, `The CA of link.proxy, ${caFile},`);
    if (!readable.ok) return readable;
    ca = text.value;
  }
  const trust = { ...(ca === undefined ? {} : { ca }), intercepts };
  if (credentialsFile === undefined) return ok({ url, ...trust });
  const text = readSmall(credentialsFile);
  if (!text.ok) return text;
  if ((statSync(credentialsFile).mode & 0o077) !== 0) {
    return err("LINK_FILE_UNUSABLE", { file: credentialsFile, reason: 'others may read it; "chmod 600" it' });
  }
  const line = text.value.replace(/\r?\n$/, "");
  const cut = line.indexOf(":");
  if (cut < 1 || line.includes("\n")) {
    return err("LINK_FILE_UNUSABLE", { file: credentialsFile, reason: 'it must hold one line, "user:password"' });
  }
  return ok({ url, ...trust, username: line.slice(0, cut), password: line.slice(cut + 1) });
}

function readSmall(file: string): Result<string> {
  const text = readText(file, FILE_BYTES_MAX);
  return typeof text === "string" ? ok(text) : err("LINK_FILE_UNUSABLE", { file, reason: text.reason });
}
