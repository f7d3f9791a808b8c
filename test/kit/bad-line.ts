import type { AddressInfo } from "node:net";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import type { Random } from "@bellwether/protocol/random.ts";
import { PacketCutter } from "./mqtt-packets.ts";

/** A line to a broker that loses whole MQTT packets, or carries few bytes a second. */
export interface BadLine {
  readonly port: number;
  /** Share of the packets that never arrive, in both directions; TCP itself never learns of it. */
  dropShare: number;
  /** Bytes a second in each direction. */
  bytesPerSecond: number;
  /** Packets that were lost so far. */
  readonly dropped: number;
  close(): void;
}

/** Listens on a free port of loopback and forwards to `targetPort`. */
export async function startBadLine(targetPort: number, random: Random): Promise<BadLine> {
  const open = new Set<Socket>();
  const line = { dropShare: 0, bytesPerSecond: Number.POSITIVE_INFINITY, dropped: 0 };
  const server = createServer((client) => {
    const upstream = connect(targetPort, "127.0.0.1");
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => undefined);
      socket.once("close", () => {
        open.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    void carry(client, upstream);
    void carry(upstream, client);
  });
  async function carry(from: Socket, to: Socket): Promise<void> {
    const cutter = new PacketCutter();
    try {
      for await (const bytes of from as AsyncIterable<Buffer>) {
        for (const packet of cutter.push(bytes)) {
          if (random.next() < line.dropShare) {
            line.dropped++;
            continue;
          }
          await new Promise<void>((written) => void to.write(packet, () => written()));
          if (line.bytesPerSecond < Number.POSITIVE_INFINITY) await wait((packet.length / line.bytesPerSecond) * 1_000);
        }
      }
    } catch {
      // One of both ends is gone, and the other with it.
    }
  }
  await new Promise<void>((listening) => void server.listen(0, "127.0.0.1", listening));
  server.unref();
  return Object.assign(line, {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  });
}
