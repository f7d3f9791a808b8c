import type { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Client } from "aedes";
import { createWebSocketStream, WebSocketServer } from "ws";
import { isLoggedIn } from "./inside.io.ts";
import type { BrokerLimits } from "./limits.ts";

/** What the broker lends its WebSockets: the same door, guard and counts as the raw port's. */
export interface WebSocketPorts {
  admit(socket: Duplex): boolean;
  serve(socket: Duplex, stream: Duplex): Client;
  oversized(): void;
}

/** Where MQTT is spoken on the HTTP port. */
const PATH = "/mqtt";
/** What frames, masks and the packets' own headers may add to the packets before a login. */
const OVERHEAD_BYTES = 256;

/**
 * MQTT over WebSocket (MQTT 3.1.1, 6): connections of the HTTP port become connections of the broker. Nothing is
 * compressed: a small frame must not become a large one in memory.
 */
export function createWebSockets(limits: BrokerLimits, ports: WebSocketPorts) {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    // A message may hold a packet with its header, or parts of several.
    maxPayload: 2 * limits.packetBytes,
    handleProtocols: (offered) => (offered.has("mqtt") ? "mqtt" : false),
  });

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const failed = () => socket.destroy();
    socket.once("error", failed);
    const refusal = whyNot(request);
    if (refusal !== undefined) {
      socket.end(`HTTP/1.1 ${refusal}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    if (!ports.admit(socket)) return;
    if (socket instanceof Socket) socket.setNoDelay(true).setKeepAlive(true, 60_000);
    server.handleUpgrade(request, socket, head, (webSocket) => {
      const stream = createWebSocketStream(webSocket);
      const client = ports.serve(socket, stream);
      let bytes = head.length;
      // The guard sees packets; a frame is kept whole before, and nobody without a login may fill memory with frames.
      const watch = (chunk: Buffer) => {
        if (isLoggedIn(client)) return void socket.off("data", watch);
        bytes += chunk.length;
        if (bytes <= limits.packetBytesBeforeLogin + OVERHEAD_BYTES) return;
        ports.oversized();
        socket.destroy();
      };
      socket.prependListener("data", watch);
      socket.off("error", failed);
    });
  }
  return { upgrade };
}

/** The status of whoever asks for something else than MQTT. */
function whyNot({ url = "/", headers }: IncomingMessage): string | undefined {
  if (url.split("?")[0] !== PATH) return "404 Not Found";
  const offered = (headers["sec-websocket-protocol"] ?? "").split(",").map((one) => one.trim());
  return offered.includes("mqtt") ? undefined : "400 Bad Request";
}
