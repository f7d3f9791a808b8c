import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { hostname, networkInterfaces } from "node:os";
import { join } from "node:path";
import { createSecureContext, type SecureContext } from "node:tls";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { certificatesOf, fingerprintOf } from "@bellwether/protocol/tls/fingerprint.ts";
import { isAddress } from "@bellwether/protocol/tls/verify.ts";
import { writeDurably } from "../files.io.ts";
import type { Signed } from "../registry/expiries.ts";
import type { CertificateAndKey } from "./certificates.io.ts";

/** What the server shows and holds on its TLS ports. */
export interface ServerTls {
  /** The certificate (with what it is signed by) and its key as they are now, as PEM. */
  current(): CertificateAndKey;
  /** The same, made ready once for every handshake. */
  context(): SecureContext;
  /** Of the CA that devices pin; absent where a certificate was brought without its CA. */
  readonly caFingerprint: string | undefined;
  /** What it answers to; the first is in its URLs. */
  readonly names: readonly string[];
  /** True when this start made the development CA. */
  readonly madeCa: boolean;
  /** Told when the certificate was renewed or its files changed; sessions that are open go on. */
  onRenewed(listener: (now: CertificateAndKey) => void): void;
  /** When the certificate ends, and the CA that it is shown with. */
  signed(): readonly Signed[];
  /** Renews what is due; the server does so by itself every hour. */
  renewIfDue(): Promise<void>;
  close(): void;
}

export interface ServerTlsOptions {
  /** Where the development CA lives. */
  readonly dir: string;
  /** Names and addresses the server answers to; the first is in its URLs. */
  readonly names: readonly string[];
  /** A certificate of one's own, with its key. */
  readonly own?: { readonly certificateFile: string; readonly keyFile: string };
  readonly now: () => number;
  report(problem: string, detail: unknown): void;
}

const DAY_MS = 86_400_000;
const CERTIFICATE_DAYS = 90;
const RENEW_BEFORE_MS = 30 * DAY_MS;
const CHECK_MS = 3_600_000;

/** Opens the server's certificate: one's own, or one of the development CA, which is made on the first start. */
export async function openServerTls(options: ServerTlsOptions): Promise<Result<ServerTls>> {
  const source = options.own ? ownSource(options.own) : await developmentSource(options);
  const first = await source.load();
  if (!first.ok) return first;
  let loaded = first.value;
  const listeners: ((now: CertificateAndKey) => void)[] = [];

  async function renewIfDue(): Promise<void> {
    const next = await source.load();
    // A file that is half written, or wrong, keeps nothing from going on as before.
    if (!next.ok) return options.report(next.error.message, next.error.code);
    if (next.value.pair.certificate === loaded.pair.certificate) return;
    loaded = next.value;
    for (const listener of listeners) listener(loaded.pair);
  }
  const timer = setInterval(() => void renewIfDue().catch((cause) => options.report("tls", cause)), CHECK_MS);
  timer.unref();
  return ok({
    current: () => loaded.pair,
    context: () => loaded.context,
    caFingerprint: loaded.caFingerprint,
    signed: () => lifetimes(loaded.pair.certificate, options.own === undefined),
    names: options.names,
    madeCa: source.madeCa,
    onRenewed: (listener) => void listeners.push(listener),
    renewIfDue,
    close: () => clearInterval(timer),
  });
}

interface Loaded {
  readonly pair: CertificateAndKey;
  readonly context: SecureContext;
  readonly caFingerprint: string | undefined;
}
interface Source {
  readonly madeCa: boolean;
  load(): Promise<Result<Loaded>>;
}

function ownSource({ certificateFile, keyFile }: NonNullable<ServerTlsOptions["own"]>): Source {
  return {
    madeCa: false,
    async load() {
      const texts: string[] = [];
      for (const file of [certificateFile, keyFile]) {
        const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => cause);
        if (typeof text !== "string") return unusable(file, text.code ?? text.message);
        texts.push(text);
      }
      const [certificate = "", key = ""] = texts;
      return ready({ certificate, key }, certificateFile);
    },
  };
}

function unusable(file: string, reason: string) {
  return err("TLS_FILE_UNUSABLE", { what: `The file ${file}`, reason });
}

function ready(pair: CertificateAndKey, file: string): Result<Loaded> {
  const chain = certificatesOf(pair.certificate, `The file ${file}`);
  if (!chain.ok) return chain;
  try {
    const context = createSecureContext({ cert: pair.certificate, key: pair.key, minVersion: "TLSv1.2" });
    const ca = chain.value.findLast((certificate) => certificate.ca);
    return ok({ pair, context, caFingerprint: ca && fingerprintOf(ca) });
  } catch (cause) {
    return unusable(file, (cause as Error).message);
  }
}

async function developmentSource({ dir, names, now }: ServerTlsOptions): Promise<Source> {
  const ca = (await readPair(dir, "ca")) ?? undefined;
  const authority = ca ?? (await makeAuthority(dir, now()));
  return {
    madeCa: ca === undefined,
    async load() {
      let server = await readPair(dir, "server");
      if (server === undefined || isDue(server, authority, names, now())) {
        const { issueServer } = await import("./certificates.io.ts");
        const [commonName = "bellwether"] = names;
        const made = await issueServer({ ca: authority, commonName, nowMs: now(), days: CERTIFICATE_DAYS }, names);
        // The CA is shown too: whoever was told its fingerprint finds it there.
        server = { certificate: made.certificate + authority.certificate, key: made.key };
        // One file, so that no power cut parts a key from its certificate.
        await writeDurably(join(dir, "server.pem"), server.key + server.certificate);
      }
      return ready(server, join(dir, "server.pem"));
    },
  };
}

/** A CA's pair in one file of mode 0600, made where there is none yet. */
export async function authorityIn(
  dir: string,
  name: string,
  commonName: string,
  nowMs: number,
): Promise<CertificateAndKey> {
  const kept = await readPair(dir, name);
  if (kept) return kept;
  const { makeCa } = await import("./certificates.io.ts");
  const made = await makeCa(commonName, nowMs);
  await writeDurably(join(dir, `${name}.pem`), made.key + made.certificate);
  return made;
}

async function makeAuthority(dir: string, nowMs: number): Promise<CertificateAndKey> {
  const made = await authorityIn(dir, "ca", `Bellwether development CA of ${hostname()}`, nowMs);
  // Without its key, for programs that want the CA in a file.
  await writeDurably(join(dir, "ca.crt"), made.certificate, 0o644);
  return made;
}

/** A pair as `writeDurably` left it in one file of mode 0600. */
async function readPair(dir: string, name: string): Promise<CertificateAndKey | undefined> {
  const text = await readFile(join(dir, `${name}.pem`), "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return undefined;
    throw cause;
  });
  const cut = text?.indexOf("-----BEGIN CERTIFICATE-----") ?? -1;
  return text === undefined || cut < 0 ? undefined : { key: text.slice(0, cut), certificate: text.slice(cut) };
}

/** As expiries are watched. The development certificate is renewed 30 days before its end; its CA by nobody. */
function lifetimes(chain: string, development: boolean): Signed[] {
  const certificates = certificatesOf(chain, "The certificate");
  if (!certificates.ok) return [];
  const [leaf, ...above] = certificates.value;
  const lifetime = (role: string, certificate: X509Certificate, renewedBy: Signed["renewedBy"]): Signed => {
    const [fromMs, expiresAtMs] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
    const lifeMs = renewedBy === "server" ? RENEW_BEFORE_MS : expiresAtMs - fromMs;
    return { role, version: 1, expiresAtMs, lifeMs, renewedBy };
  };
  const ca = above.findLast((certificate) => certificate.ca);
  return [
    ...(leaf ? [lifetime("tls", leaf, development ? "server" : "owners")] : []),
    ...(ca ? [lifetime("tls-ca", ca, "owners")] : []),
  ];
}

/** Whether a certificate ends soon, is of another CA, or lacks a name. */
function isDue(pair: CertificateAndKey, ca: CertificateAndKey, names: readonly string[], nowMs: number): boolean {
  const leaf = new X509Certificate(pair.certificate);
  const named = names.every((name) =>
    isAddress(name) ? leaf.checkIP(name) : leaf.checkHost(name, { subject: "never" }),
  );
  const fits = leaf.checkIssued(new X509Certificate(ca.certificate)) && named;
  const [fromMs, toMs] = [leaf.validFromDate.getTime(), leaf.validToDate.getTime()];
  return !fits || nowMs < fromMs || nowMs > toMs - RENEW_BEFORE_MS;
}

const WILDCARDS = new Set(["0.0.0.0", "::", "*"]);

/** What a server that listens on `host` is called: what people say, or the host, or this machine's names and addresses. */
export function namesOf(host: string, given: readonly string[]): string[] {
  const own = WILDCARDS.has(host)
    ? [
        hostname(),
        ...Object.values(networkInterfaces()).flatMap((addresses) =>
          (addresses ?? []).filter(({ internal, scopeid }) => !internal && !scopeid).map(({ address }) => address),
        ),
      ]
    : [host];
  // The command line on the machine itself asks by these.
  return [...new Set([...given, ...own, "localhost", "127.0.0.1"])];
}
