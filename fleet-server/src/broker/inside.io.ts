import type { Client } from "aedes";
import type { BrokerLimits } from "./limits.ts";

/** The parts of aedes' client that are not in its types: pinned at 1.2.0 and held by the broker's tests. */
interface ClientInside {
  readonly _parser: {
    packet: { length: number };
    _parseLength(): boolean;
    _emitError(error: Error): void;
  };
  readonly _authorized: boolean;
  readonly _keepaliveTimer: NodeJS.Timeout | null;
  _parsingBatch: number;
  closed: boolean;
  pause(): void;
  resume(): void;
}

function insideOf(client: Client): ClientInside {
  return client as object as ClientInside;
}

/**
 * Refuses a packet by the length its header announces, before a byte of its body is kept: aedes itself has no limit,
 * and four sockets without a login could fill the memory.
 */
export function guardPackets(client: Client, limits: BrokerLimits, onOversized: () => void): void {
  const inside = insideOf(client);
  const parser = inside._parser;
  const parseLength = parser._parseLength.bind(parser);
  parser._parseLength = () => {
    if (!parseLength()) return false;
    const limit = inside._authorized ? limits.packetBytes : limits.packetBytesBeforeLogin;
    if (parser.packet.length <= limit) return true;
    onOversized();
    parser._emitError(new Error(`a packet of ${parser.packet.length} bytes, more than ${limit}`));
    return false;
  };
}

/** Whether the client's login was accepted. */
export function isLoggedIn(client: Client): boolean {
  return insideOf(client)._authorized;
}

/** Stops reading a client: TCP makes it wait. */
export function pauseReading(client: Client): void {
  insideOf(client).pause();
}

export function resumeReading(client: Client): void {
  const inside = insideOf(client);
  if (inside.closed) return;
  // Packets that ended while it was paused were not counted down: without this the socket would never be read again.
  inside._parsingBatch = 1;
  inside.resume();
}

/** A client that is not read cannot show that it lives: its keepalive begins anew. */
export function keepAlive(client: Client): void {
  insideOf(client)._keepaliveTimer?.refresh();
}
