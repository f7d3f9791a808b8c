import type { X509Certificate } from "node:crypto";
import { request } from "node:http";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { type Problem, problem } from "../errors.ts";
import { certificatesOf } from "./fingerprint.ts";
import type { ProxyServer, Transport } from "./transport.ts";
import { isAddress, verifyServer } from "./verify.ts";

/** What kept a connection from being opened, as a code. */
export class TransportError extends Error {
  readonly problem: Problem;
  constructor(cause: Problem) {
    super(cause.message);
    this.problem = cause;
  }
}

/** Where to. */
export interface Target {
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
}

export interface Dialing {
  readonly signal?: AbortSignal;
  /** Told what a verified certificate of a pinned CA shows about time: it is at least this. */
  onTimeShown?(notBeforeMs: number): void;
}

/** The target of a URL with the ports that its scheme stands for. */
export function targetOf(url: URL): Target {
  const port = { "http:": 80, "ws:": 80, "mqtt:": 1_883, "mqtts:": 8_883 }[url.protocol] ?? 443;
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? port : Number(url.port),
    tls: /^(https|wss|mqtts):$/.test(url.protocol),
  };
}

/**
 * Opens a connection, through the proxy where there is one, and hands it over once whoever answers has proven to be
 * meant. Nothing is written before. Throws a TransportError, or what the network throws.
 */
export async function dial(target: Target, transport: Transport, dialing: Dialing = {}): Promise<Socket> {
  const raw = transport.proxy
    ? await throughProxy(target, transport.proxy, transport, dialing.signal)
    : await openTcp(target.host, target.port, dialing.signal);
  if (!target.tls) return raw;
  const { proxy } = transport;
  // An intercepting proxy shows certificates of its own CA in the server's name; believing them is the owner's wish.
  const ca = proxy?.intercepts ? [transport.ca, proxy.ca].filter(Boolean).join("\n") || undefined : transport.ca;
  return await secure(raw, target.host, { ...transport, ...(ca === undefined ? {} : { ca }) }, dialing);
}

/** Destroys the socket when the signal says so; the returned function ends that. */
function bound(socket: Socket, signal: AbortSignal | undefined): () => void {
  const stop = () => socket.destroy(signal?.reason instanceof Error ? signal.reason : new Error("given up"));
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop, { once: true });
  return () => signal?.removeEventListener("abort", stop);
}

async function openTcp(host: string, port: number, signal: AbortSignal | undefined): Promise<Socket> {
  const socket = connectTcp({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
  const free = bound(socket, signal);
  try {
    await opened(socket, "connect");
    return socket;
  } finally {
    free();
  }
}

/** Resolves with the event, rejects when the socket fails or closes before. */
function opened(socket: Socket, event: "connect" | "secureConnect"): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = () => reject(new Error("the connection was closed"));
    socket.once("close", closed).once("error", reject);
    socket.once(event, () => {
      socket.off("close", closed).off("error", reject);
      resolve();
    });
  });
}

/** TLS over an open connection, verified. */
async function secure(raw: Socket, name: string, transport: Transport, dialing: Dialing): Promise<TLSSocket> {
  const { ca, client } = transport;
  const anchors = ca === undefined ? undefined : certificatesOf(ca, "the pinned CA");
  if (anchors && !anchors.ok) throw new TransportError(anchors.error);
  const socket = connectTls({
    socket: raw,
    ...(isAddress(name) ? {} : { servername: name }),
    host: name,
    minVersion: "TLSv1.2",
    ...(ca === undefined ? {} : { ca }),
    ...(client === undefined ? {} : { cert: client.certificate, key: client.key }),
    // The adapter below judges a pinned chain, because OpenSSL would refuse it on a device without a clock.
    rejectUnauthorized: ca === undefined,
  });
  const free = bound(socket, dialing.signal);
  try {
    await opened(socket, "secureConnect");
  } catch (cause) {
    socket.destroy();
    throw tlsFailure(cause as NodeJS.ErrnoException, name, ca === undefined);
  } finally {
    free();
  }
  if (anchors === undefined) return socket;
  const verdict = judge(socket, name, anchors.value, transport);
  if (!verdict.ok) {
    socket.destroy();
    throw new TransportError(verdict.error);
  }
  dialing.onTimeShown?.(verdict.value.notBeforeMs);
  return socket;
}

/** Errors of OpenSSL that only say that the clock and the certificate's time do not fit. */
const TIME_ERRORS = new Set(["CERT_NOT_YET_VALID", "CERT_HAS_EXPIRED"]);

function judge(socket: TLSSocket, name: string, anchors: readonly X509Certificate[], transport: Transport) {
  const time = { nowMs: Date.now(), clockSynced: true, floorMs: 0, ...transport.time };
  const verdict = verifyServer(shownBy(socket), anchors, name, time);
  const doubt = socket.authorizationError as unknown as string | Error | null | undefined;
  const code = doubt instanceof Error ? doubt.message : doubt;
  // Both must agree, but for the clock: what one of them overlooks, the other does not.
  if (verdict.ok && code && !TIME_ERRORS.has(code)) {
    return { ok: false as const, error: problem("TLS_USAGE_WRONG", { name, reason: code }) };
  }
  return verdict;
}

const CHAIN_MAX = 8;

/** The certificates that the other side showed, its own first. */
export function shownBy(socket: TLSSocket): X509Certificate[] {
  const shown: X509Certificate[] = [];
  let next = socket.getPeerX509Certificate();
  while (next && shown.length < CHAIN_MAX) {
    shown.push(next);
    next = next.issuerCertificate;
  }
  return shown;
}

const UNTRUSTED = /SELF_SIGNED|UNABLE_TO|UNTRUSTED/;

function tlsFailure(cause: NodeJS.ErrnoException, name: string, publicly: boolean): Error {
  const code = cause.code ?? "";
  if (publicly && UNTRUSTED.test(code)) return new TransportError(problem("TLS_PIN_MISSING", { name, reason: code }));
  if (publicly && code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return new TransportError(problem("TLS_NAME_WRONG", { name, actual: "other names" }));
  }
  if (/^(ERR_SSL|EPROTO|CERT_|ERR_TLS)/.test(code) || cause.message === "the connection was closed") {
    return new TransportError(problem("TLS_FAILED", { name, reason: code || cause.message }));
  }
  // Node's "disconnected before secure TLS connection was established" and the like.
  return cause;
}

/** A tunnel to the target. */
async function throughProxy(
  target: Target,
  proxy: ProxyServer,
  transport: Transport,
  signal: AbortSignal | undefined,
): Promise<Socket> {
  const url = new URL(proxy.url);
  const at = targetOf(url);
  const { time } = transport;
  let socket = await openTcp(at.host, at.port, signal);
  if (at.tls) {
    const trust = { ...(proxy.ca === undefined ? {} : { ca: proxy.ca }), ...(time === undefined ? {} : { time }) };
    socket = await secure(socket, at.host, trust, signal ? { signal } : {});
  }
  const authority = `${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}`;
  const secret = Buffer.from(`${proxy.username ?? ""}:${proxy.password ?? ""}`).toString("base64");
  const free = bound(socket, signal);
  const refused = (reason: string) => {
    socket.destroy();
    return new TransportError(problem("PROXY_REFUSED", { proxy: url.host, target: authority, reason }));
  };
  try {
    return await new Promise((resolve, reject) => {
      const asked = request({
        method: "CONNECT",
        path: authority,
        headers: {
          host: authority,
          ...(proxy.username === undefined ? {} : { "proxy-authorization": `Basic ${secret}` }),
        },
        createConnection: () => socket,
      });
      asked.once("connect", (answer, tunnel, head) => {
        if (answer.statusCode !== 200) return reject(refused(`it answered ${answer.statusCode}`));
        if (head.length > 0) tunnel.unshift(head);
        resolve(tunnel as Socket);
      });
      // A proxy that refuses answers like a server: Node gives that out as a response, not as a tunnel.
      asked.once("response", (answer) => reject(refused(`it answered ${answer.statusCode}`)));
      asked.once("error", (cause) => reject(refused(cause.message)));
      asked.end();
    });
  } finally {
    free();
  }
}
