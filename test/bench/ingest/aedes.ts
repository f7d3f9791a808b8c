/** Bare aedes at QoS 1 under the same load: `node test/bench/ingest/aedes.ts SIZE`; with `--serve` it is only the broker. */
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { startFile } from "../child.io.ts";
import { loadOnce } from "./clients.ts";
import type { Size } from "./packets.ts";

if (process.argv.includes("--serve")) {
  silenceDebug();
  const { Aedes } = await import("aedes");
  const aedes = new Aedes();
  await aedes.listen();
  const server = createServer((socket) => aedes.handle(socket));
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as { port: number };
    process.stdout.write(`${JSON.stringify({ port })}\n`);
  });
} else {
  const broker = startFile("ingest/aedes.ts", ["--serve"]);
  const { port } = await broker.next<{ port: number }>("port");
  const figure = await loadOnce(port, process.argv[2] as Size);
  process.stdout.write(`${JSON.stringify({ figure })}\n`);
  await broker.stop();
  process.exit(0);
}

/** Its parser calls `debug` at every step of every packet; whoever runs it for speed takes that away. */
function silenceDebug(): void {
  const { cache, resolve } = createRequire(fileURLToPath(import.meta.resolve("mqtt-packet")));
  const silent = () => Object.assign(() => undefined, { enabled: false });
  cache[resolve("debug")] = { id: "debug", loaded: true, exports: silent } as unknown as NodeJS.Module;
}
