import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { Aedes } from "aedes";
import { onTestFinished } from "vitest";

/** A plant's own broker, and readings that somebody publishes on it until they are stopped. */
export interface SiteBroker {
  readonly url: string;
  /** Publishes 1, 2, 3, 1, 2, 3, … on a topic, so many times a second. */
  feed(topic: string, perSecond: number): void;
  /** From now on nothing is published on the topic; its subscribers stay connected. */
  endFeed(topic: string): void;
}

/** Starts a site broker on a free port; it ends with the test. */
export async function startSiteBroker(): Promise<SiteBroker> {
  const broker = await Aedes.createBroker();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    broker.handle(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const feeds = new Map<string, NodeJS.Timeout>();
  onTestFinished(async () => {
    for (const timer of feeds.values()) clearInterval(timer);
    await new Promise<void>((done) => broker.close(done));
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    url: `mqtt://127.0.0.1:${(server.address() as { port: number }).port}`,
    feed(topic, perSecond) {
      let count = 0;
      const publish = () => {
        const payload = String((count++ % 3) + 1);
        broker.publish({ cmd: "publish", topic, payload, qos: 0, retain: false, dup: false }, () => undefined);
      };
      feeds.set(topic, setInterval(publish, 1_000 / perSecond));
    },
    endFeed(topic) {
      clearInterval(feeds.get(topic));
      feeds.delete(topic);
    },
  };
}
