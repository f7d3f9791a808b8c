import { resolve } from "node:path";
import { failure } from "./failure.ts";

/** Where a server with TLS listens, and what it is called. */
export interface Listen {
  readonly host: string;
  readonly names: readonly string[];
  readonly own?: { readonly certificateFile: string; readonly keyFile: string };
  /** Devices must show a certificate; `caFile` has the CAs of a PKI of one's own. */
  readonly clientCertificates?: { readonly caFile?: string };
}

/** What `up` is told of it. */
export interface ListenOptions {
  readonly port: number;
  readonly listen?: string;
  readonly name?: readonly string[];
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly clientCertificates?: boolean;
  readonly clientCa?: string;
  readonly tls: boolean;
}

/** Where the REST API listens, and with what certificate. Nothing leaves this machine in clear text. */
export function addressOf(options: ListenOptions): { readonly port: number; readonly listen?: Listen } {
  const { listen, name = [], tlsCert, tlsKey, tls, port, clientCa } = options;
  const certified = options.clientCertificates === true || clientCa !== undefined;
  const wrong = (option: string, expected: string) => failure("ARGUMENT_INVALID", { name: option, expected });
  if ((tlsCert === undefined) !== (tlsKey === undefined)) throw wrong("--tls-cert", "goes together with --tls-key");
  if (listen === undefined) {
    if (tlsCert !== undefined || name.length > 0 || certified)
      throw wrong("--listen", "must say where, when TLS is asked for");
    return { port };
  }
  const [, host, portText] = /^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.*-]+):(\d{1,5})$/.exec(listen) ?? [];
  if (host === undefined || Number(portText) > 65_535) throw wrong("--listen", 'must look like "0.0.0.0:8443"');
  const bare = host.replace(/^\[(.*)\]$/, "$1");
  if (!tls) {
    if (certified) throw wrong("--client-certificates", "does not go together with --no-tls");
    if (tlsCert !== undefined) throw wrong("--tls-cert", "does not go together with --no-tls");
    if (bare !== "localhost" && bare !== "127.0.0.1") throw failure("LISTEN_INSECURE", { host: bare });
    return { port: Number(portText) };
  }
  const own =
    tlsCert !== undefined && tlsKey !== undefined
      ? { own: { certificateFile: resolve(tlsCert), keyFile: resolve(tlsKey) } }
      : {};
  const clients = certified ? { clientCertificates: clientCa === undefined ? {} : { caFile: resolve(clientCa) } } : {};
  return { port: Number(portText), listen: { host: bare === "*" ? "0.0.0.0" : bare, names: name, ...own, ...clients } };
}
