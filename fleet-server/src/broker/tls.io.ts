import type { Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";

/**
 * Makes TLS of a connection that was let in, and hands it over once it is; whoever is slow or speaks something else is
 * cut off. The certificate is the one of this moment, so a renewed one needs no new port.
 */
export function handshake(
  socket: Socket,
  secureContext: SecureContext,
  timeoutMs: number,
  requestCert: boolean,
  done: (stream: TLSSocket) => void,
): void {
  const stream = new TLSSocket(socket, {
    isServer: true,
    secureContext,
    // Whatever is shown is judged at the login, which says whose it must be.
    requestCert,
    rejectUnauthorized: false,
  });
  const late = setTimeout(() => socket.destroy(), timeoutMs);
  const failed = () => socket.destroy();
  stream.once("secure", () => {
    clearTimeout(late);
    stream.off("error", failed);
    done(stream);
  });
  // Before the handshake's end Node tells TLS faults by this event only.
  stream.once("_tlsError", failed).once("error", failed);
  stream.once("close", () => {
    clearTimeout(late);
    socket.destroy();
  });
  socket.once("close", () => clearTimeout(late));
}
