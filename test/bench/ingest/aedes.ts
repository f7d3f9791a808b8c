/** Bare aedes at QoS 1 under the same load: `node test/bench/ingest/aedes.ts`; with `--serve` it is only the broker. */
import { createServer } from "node:net";
import { Aedes } from "aedes";
import { startFile } from "../child.io.ts";
import { loadOnce } from "./clients.ts";

if (process.argv.includes("--serve")) {
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
  const figure = await loadOnce(port);
  process.stdout.write(`${JSON.stringify({ figure })}\n`);
  await broker.stop();
  process.exit(0);
}
