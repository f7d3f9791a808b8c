import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";

/** A TCP proxy between an agent and the broker: the network of this story, and the attacker on it. */
export interface NetworkProxy {
  readonly port: number;
  /** Resets every connection and refuses new ones. */
  cut(): void;
  /** Half-open: connections stay, bytes vanish both ways, nobody is told. */
  blackhole(): void;
  /** Lets traffic through again; what was swallowed is gone. */
  heal(): void;
  /** Slips bytes into what the broker sends to the agent, between two of its MQTT packets. */
  inject(bytes: Buffer): void;
  close(): Promise<void>;
}

interface Pair {
  readonly client: Socket;
  readonly upstream: Socket;
  /** Bytes of the broker's current packet that are still to come; 0 between packets. */
  owed: number;
  /** Start of a packet whose length is not complete yet. */
  header: Buffer;
  readonly waiting: Buffer[];
}

/** Listens on a free port of loopback and forwards to `targetPort`. */
export async function startProxy(targetPort: number): Promise<NetworkProxy> {
  let mode: "open" | "cut" | "blackhole" = "open";
  const pairs = new Set<Pair>();
  const server: Server = createServer((client) => {
    if (mode === "cut") return client.destroy();
    const upstream = connect(targetPort, "127.0.0.1");
    const pair: Pair = { client, upstream, owed: 0, header: Buffer.alloc(0), waiting: [] };
    pairs.add(pair);
    client.on("data", (bytes) => mode === "open" && upstream.write(bytes));
    upstream.on("data", (bytes) => mode === "open" && toClient(pair, bytes));
    const end = () => {
      pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) socket.on("close", end).on("error", end);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A network keeps nobody alive.
  server.unref();
  const resetAll = () => {
    for (const pair of pairs) {
      pair.client.resetAndDestroy();
      pair.upstream.resetAndDestroy();
    }
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      mode = "cut";
      resetAll();
    },
    blackhole() {
      mode = "blackhole";
    },
    heal() {
      // Both ends of a swallowed conversation are out of step: they must find that out, so nothing old may pass.
      if (mode === "blackhole") resetAll();
      mode = "open";
    },
    inject(bytes) {
      for (const pair of pairs) {
        pair.waiting.push(bytes);
        if (pair.owed === 0 && pair.header.length === 0) flush(pair);
      }
    },
    close() {
      resetAll();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function flush(pair: Pair): void {
  for (const bytes of pair.waiting.splice(0)) pair.client.write(bytes);
}

/** Follows the packet boundaries of MQTT (fixed header: type, then 1 to 4 length bytes) while forwarding. */
function toClient(pair: Pair, bytes: Buffer): void {
  let rest = bytes;
  while (rest.length > 0) {
    if (pair.owed > 0) {
      const part = rest.subarray(0, pair.owed);
      pair.client.write(part);
      pair.owed -= part.length;
      rest = rest.subarray(part.length);
    } else {
      pair.header = Buffer.concat([pair.header, rest.subarray(0, 1)]);
      rest = rest.subarray(1);
      const last = pair.header.at(-1) as number;
      if (pair.header.length > 1 && last < 128) {
        let length = 0;
        for (let index = pair.header.length - 1; index >= 1; index--)
          length = length * 128 + ((pair.header[index] as number) & 127);
        pair.client.write(pair.header);
        pair.owed = length;
        pair.header = Buffer.alloc(0);
      }
    }
    if (pair.owed === 0 && pair.header.length === 0) flush(pair);
  }
}
