import { once } from "node:events";
import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";
import { seededRandom } from "@bellwether/protocol/random.ts";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../../../test/kit/eventually.ts";
import { shareReads, takeReads } from "./shared-reads.io.ts";

/** Connections to a server of this process, which are handed to `serve` as it accepts them. */
async function connections(count: number, serve: (socket: Socket, index: number) => void): Promise<Socket[]> {
  const accepted: Socket[] = [];
  const server = createServer((socket) => serve(socket, accepted.push(socket) - 1)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const clients: Socket[] = [];
  for (let index = 0; index < count; index++) {
    const client = createConnection((server.address() as AddressInfo).port, "127.0.0.1");
    await once(client, "connect");
    clients.push(client);
    await eventually("the connection is accepted", () => accepted.length > index);
  }
  onTestFinished(async () => {
    for (const socket of [...clients, ...accepted]) socket.destroy();
    await new Promise((closed) => server.close(closed));
  });
  return clients;
}

test("connections that share the memory of their reads each bring their own bytes, in order", async () => {
  const { next: random } = seededRandom(7);
  const COUNT = 6;
  const got: Buffer[][] = Array.from({ length: COUNT }, () => []);
  const ended: boolean[] = [];
  const taken = { directly: 0, through: 0 };
  const clients = await connections(COUNT, (socket, index) => {
    expect(shareReads(socket)).toBe(true);
    takeReads(socket, (bytes) => {
      // Nobody at all takes what the first brings; of the others some goes through the stream, which may be paused.
      if (index === 0 || random() < 0.3) return false;
      taken.directly++;
      got[index]?.push(Buffer.from(bytes));
      return true;
    });
    socket.on("readable", async () => {
      if (random() < 0.3) await new Promise(setImmediate);
      for (let read = socket.read(); read !== null; read = socket.read()) {
        taken.through++;
        got[index]?.push(read);
      }
    });
    socket.on("end", () => {
      ended[index] = true;
    });
  });
  const sent: Buffer[][] = clients.map(() => []);
  await Promise.all(
    clients.map(async (client, index) => {
      for (let piece = 0; piece < 60; piece++) {
        const bytes = Buffer.alloc(1 + Math.floor(random() * 40_000), 16 * index + (piece % 16));
        sent[index]?.push(bytes);
        if (!client.write(bytes)) await once(client, "drain");
        if (random() < 0.5) await new Promise(setImmediate);
      }
      client.end();
    }),
  );
  await eventually("all have ended", () => ended.filter(Boolean).length === COUNT);
  for (const [index, all] of sent.entries()) {
    expect(Buffer.concat(got[index] as Buffer[]).equals(Buffer.concat(all))).toBe(true);
  }
  expect(taken.directly).toBeGreaterThan(0);
  expect(taken.through).toBeGreaterThan(0);
});

test("a connection that nobody reads is not read without end, and holds up no other", async () => {
  const sockets: Socket[] = [];
  const read: number[] = [];
  const [still, other] = await connections(2, (accepted, index) => {
    shareReads(accepted);
    sockets.push(accepted);
    if (index === 0) accepted.on("readable", () => undefined);
    else accepted.on("data", (bytes) => read.push(bytes.length));
  });
  const bytes = Buffer.alloc(65_536);
  // More than the kernel's buffers of both ends hold.
  for (let wrote = 0; wrote < 400; wrote++) still?.write(bytes);
  const [held] = sockets;
  await eventually("as much as may wait does", () => held && held.readableLength >= held.readableHighWaterMark);
  for (let turn = 1; turn <= 20; turn++) {
    other?.write("x");
    await eventually("the other is read", () => read.length === turn, 15_000, 1);
  }
  expect(held?.bytesRead).toBeLessThanOrEqual((held?.readableHighWaterMark ?? 0) + bytes.length);
  expect(still?.writableLength).toBeGreaterThan(0);
});
