import type { X509Certificate } from "node:crypto";
import { err, ok, type Result } from "../result.ts";
import { type CertificateFacts, factsOf } from "./extensions.ts";

/** What the device knows about time. A clock may stand in 1970 or years ahead; the floor was signed by the pinned CA. */
export interface KnownTime {
  readonly nowMs: number;
  /** Something that knows the time set this clock. */
  readonly clockSynced: boolean;
  /** It is later than this, whatever the clock says: the start of the newest certificate that was verified. */
  readonly floorMs: number;
}

/** What a verified chain shows about time: it is at least this. */
export interface Verified {
  readonly notBeforeMs: number;
}

/** Certificates between the server's and the pinned CA. */
const BETWEEN_MAX = 3;
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const SIGNATURES = /^(ecdsa-with-sha(256|384|512)|sha(256|384|512)withrsaencryption|ed25519)$/i;
const CURVES = new Set(["prime256v1", "secp384r1", "secp521r1"]);

/**
 * Verifies the certificate that a server showed (`shown[0]`; what it sent beside follows) up to one of the pinned CAs:
 * signatures, names, usage, delegation and validity. Everything is judged here, because OpenSSL stops telling what else
 * is wrong once the clock is: docs/decisions/0117.
 */
export function verifyServer(
  shown: readonly X509Certificate[],
  anchors: readonly X509Certificate[],
  name: string,
  time: KnownTime,
): Result<Verified> {
  const path = pathTo(shown, anchors, name);
  if (!path.ok) return path;
  const [leaf] = path.value;
  const usage = usageFault(path.value, SERVER_AUTH);
  if (usage !== undefined) return err("TLS_USAGE_WRONG", { name, reason: usage });
  const named = isAddress(name) ? leaf!.checkIP(name) : leaf!.checkHost(name, { subject: "never" });
  if (named === undefined) {
    return err("TLS_NAME_WRONG", { name, actual: leaf!.subjectAltName ?? "no name at all" });
  }
  return judgeTime(path.value, name, time);
}

/**
 * What is wrong with the certificate that a client showed (`shown[0]`; what it sent beside follows), judged by the CAs of
 * devices; undefined when nothing is.
 */
export function verifyClient(
  shown: readonly X509Certificate[],
  anchors: readonly X509Certificate[],
  nowMs: number,
): string | undefined {
  const path = pathTo(shown, anchors, "the client");
  if (!path.ok) return "it is not signed by a CA of devices";
  const usage = usageFault(path.value, CLIENT_AUTH);
  if (usage !== undefined) return usage;
  const time = judgeTime(path.value, "the client", { nowMs, clockSynced: true, floorMs: 0 });
  return time.ok ? undefined : "it is out of date";
}

/** An IP address, in the form a URL's host has without its brackets. */
export function isAddress(name: string): boolean {
  return /^\d+(\.\d+){3}$|:/.test(name);
}

/** The server's certificate and everything between it and a pinned CA, which is the last. */
function pathTo(
  shown: readonly X509Certificate[],
  anchors: readonly X509Certificate[],
  name: string,
): Result<readonly X509Certificate[]> {
  const path: X509Certificate[] = [];
  let next = shown[0];
  while (next !== undefined && path.length <= BETWEEN_MAX) {
    const current: X509Certificate = next;
    path.push(current);
    const anchor = anchors.find((candidate) => issued(candidate, current));
    if (anchor !== undefined) return ok([...path, anchor]);
    next = shown.find((candidate) => !path.includes(candidate) && issued(candidate, current));
  }
  return err("TLS_CA_UNKNOWN", { name });
}

function issued(issuer: X509Certificate, certificate: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/** Why these certificates must not be used for this purpose. */
function usageFault(path: readonly X509Certificate[], purpose: string): string | undefined {
  for (const [index, certificate] of path.entries()) {
    const facts = readFacts(certificate);
    if (facts === undefined) return "a certificate that cannot be read";
    if (facts.unknownCritical.length > 0) return `a critical extension that is not known (${facts.unknownCritical[0]})`;
    const weak = weakness(certificate, index === path.length - 1);
    if (weak !== undefined) return weak;
    const fault = index === 0 ? leafFault(certificate, facts, purpose) : authorityFault(facts, index - 1);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function readFacts(certificate: X509Certificate): CertificateFacts | undefined {
  try {
    return factsOf(certificate.raw);
  } catch {
    return undefined; // said as a fault
  }
}

function leafFault(certificate: X509Certificate, facts: CertificateFacts, purpose: string): string | undefined {
  if (facts.ca || certificate.ca) return "a CA's own certificate is no server's and no device's";
  // keyUsage of node:crypto is the extended one.
  if (certificate.keyUsage !== undefined && !certificate.keyUsage.includes(purpose)) {
    return purpose === SERVER_AUTH ? "it is not for a TLS server" : "it is not for a TLS client";
  }
  if (facts.keyUsage && !facts.keyUsage.digitalSignature) return "its key is not for signatures";
  return undefined;
}

function authorityFault(facts: CertificateFacts, below: number): string | undefined {
  if (!facts.ca) return "it is signed by a certificate that is no CA's";
  if (facts.keyUsage && !facts.keyUsage.keyCertSign) return "it is signed by a key that may not sign certificates";
  if (facts.pathLength !== undefined && below > facts.pathLength) return "its CA may not delegate so far";
  return undefined;
}

/** A pinned certificate is believed for itself: how it was signed shows nothing. */
function weakness(certificate: X509Certificate, pinned: boolean): string | undefined {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = certificate.publicKey;
  const strong =
    type === "ed25519" ||
    (type === "ec" && CURVES.has(details?.namedCurve ?? "")) ||
    (type === "rsa" && (details?.modulusLength ?? 0) >= 2_048);
  if (!strong) return `a key that is too weak (${type})`;
  const signature = certificate.signatureAlgorithm ?? "none";
  return pinned || SIGNATURES.test(signature) ? undefined : `a signature that is too weak (${signature})`;
}

/**
 * Without a clock that somebody set, only what the pinned CA itself signed is known of the time: a certificate is out of
 * date when it ended before that. A synchronised clock is believed, but never below the floor.
 */
function judgeTime(path: readonly X509Certificate[], name: string, time: KnownTime): Result<Verified> {
  const atMs = time.clockSynced ? Math.max(time.nowMs, time.floorMs) : time.floorMs;
  let notBeforeMs = 0;
  for (const { validFromDate, validToDate } of path) {
    const [fromMs, toMs] = [validFromDate.getTime(), validToDate.getTime()];
    if (atMs > toMs || (time.clockSynced && atMs < fromMs)) {
      const [at, from, to] = [atMs, fromMs, toMs].map((ms) => new Date(ms).toISOString());
      return err("TLS_EXPIRED", { name, at, from, to });
    }
    notBeforeMs = Math.max(notBeforeMs, fromMs);
  }
  return ok({ notBeforeMs });
}
