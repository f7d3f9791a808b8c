import { createServer as createHttp, type IncomingMessage } from "node:http";
import { createServer as createHttps } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls, TLSSocket } from "node:tls";
import { onTestFinished } from "vitest";
import { makeCertificate, type TestCertificate } from "./certificates.ts";

export interface ConnectProxy {
  readonly port: number;
  /** Tunnels that were opened, by their target. */
  readonly tunnels: readonly string[];
  /** What was refused, with the status. */
  readonly refused: readonly string[];
  /** Cuts every tunnel. */
  cut(): void;
}

export interface ConnectProxyOptions {
  readonly user: string;
  readonly password: string;
  /** Names that only this proxy knows: "host:port" -> port of loopback. Nothing else is let through. */
  readonly names: Readonly<Record<string, number>>;
  /** The proxy's own TLS. */
  readonly tls?: TestCertificate;
  /** Opens TLS and shows certificates of this CA in everybody's name; the true server is asked as a client of `ca`. */
  readonly intercept?: { readonly by: TestCertificate; readonly ca: string };
}

/** A customer's proxy: CONNECT with Basic authentication, to the named targets and nowhere else. */
export async function startConnectProxy(options: ConnectProxyOptions): Promise<ConnectProxy> {
  const tunnels: string[] = [];
  const refused: string[] = [];
  const open = new Set<Duplex>();
  const wanted = `Basic ${Buffer.from(`${options.user}:${options.password}`).toString("base64")}`;
  const { tls } = options;
  const server = tls ? createHttps({ key: tls.keyPem, cert: tls.pem }) : createHttp();
  server.on("request", (_request, response) => response.writeHead(405).end());
  server.on("connect", (request: IncomingMessage, socket: Duplex) => {
    const target = request.url ?? "";
    socket.on("error", () => undefined);
    const refuse = (status: string) => {
      refused.push(`${target} ${status.slice(0, 3)}`);
      socket.end(`HTTP/1.1 ${status}\r\ncontent-length: 0\r\n\r\n`);
    };
    if (request.headers["proxy-authorization"] !== wanted) return refuse("407 Proxy Authentication Required");
    const port = options.names[target];
    if (port === undefined) return refuse("403 Forbidden");
    const upstream = connect(port, "127.0.0.1", () => {
      tunnels.push(target);
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      if (options.intercept) void interceptedBy(options.intercept, target, socket as Socket, upstream, open);
      else join(socket, upstream, open);
    });
    upstream.on("error", () => socket.destroy());
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const cut = () => {
    for (const stream of open) stream.destroy();
  };
  onTestFinished(() => {
    cut();
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, tunnels, refused, cut };
}

function join(one: Duplex, other: Duplex, open: Set<Duplex>): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    open.add(from);
    from.pipe(to);
    from
      .on("error", () => to.destroy())
      .on("close", () => {
        open.delete(from);
        to.destroy();
      });
  }
}

async function interceptedBy(
  { by, ca }: NonNullable<ConnectProxyOptions["intercept"]>,
  target: string,
  socket: Socket,
  upstream: Socket,
  open: Set<Duplex>,
): Promise<void> {
  const host = target.split(":")[0]!;
  const shown = await makeCertificate({ by, names: [host] });
  const inside = new TLSSocket(socket, { isServer: true, key: shown.keyPem, cert: shown.pem });
  const outside = connectTls({ socket: upstream, ca, servername: host });
  inside.on("_tlsError", () => socket.destroy());
  join(inside, outside, open);
}
