/**
 * mosquitto and a subscriber that commits before it confirms, under the same load: `node test/bench/ingest/mosquitto.ts`.
 * A PUBACK of mosquitto says nothing of durability: what counts is what the subscriber has committed (groups of what
 * arrived while the commit before ran, SQLite in WAL mode with synchronous=FULL).
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import Database from "better-sqlite3";
import { startFile } from "../child.io.ts";
import { loadOnce } from "./clients.ts";
import { openMqtt } from "./mqtt.ts";

const GROUP_MAX = 512;
const IDLE_MS = 1_000;
const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));

if (process.argv.includes("--subscribe")) await subscribe(Number(process.argv.at(-1)));
else await measure();

async function measure(): Promise<void> {
  const port = await freePort();
  const config = join(folder, "mosquitto.conf");
  // Its defaults drop what a slow subscriber has not taken yet; here nothing may be lost.
  writeFileSync(
    config,
    `listener ${port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\n`,
  );
  const broker = spawn("mosquitto", ["-c", config], { stdio: "ignore" });
  await wait(500);
  const subscriber = startFile("ingest/mosquitto.ts", ["--subscribe", String(port)]);
  await subscriber.next("subscribed");
  await loadOnce(port, "100B");
  process.stdout.write(`${JSON.stringify(await subscriber.next("figure"))}\n`);
  await subscriber.stop();
  broker.kill();
  rmSync(folder, { recursive: true, force: true });
  process.exit(0);
}

async function subscribe(port: number): Promise<void> {
  const db = new Database(join(folder, "peer.sqlite"));
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = FULL");
  db.exec("CREATE TABLE messages (id INTEGER PRIMARY KEY, topic TEXT, bytes BLOB)");
  const insert = db.prepare("INSERT INTO messages (topic, bytes) VALUES (?, ?)");
  const waiting: { topic: string; payload: Buffer; confirm(): void }[] = [];
  let committed = 0;
  let firstMs = 0;
  let lastMs = 0;
  const commit = () => {
    const group = waiting.splice(0, GROUP_MAX);
    db.transaction(() => {
      for (const { topic, payload } of group) insert.run(topic, payload);
    })();
    for (const { confirm } of group) confirm();
    committed += group.length;
    lastMs = performance.now();
    if (waiting.length > 0) setImmediate(commit);
  };
  await openMqtt(port, { clientId: "store" }, ["bw/#"], {
    message(topic, payload, confirm) {
      firstMs ||= performance.now();
      waiting.push({ topic, payload, confirm });
      if (waiting.length === 1) setImmediate(commit);
    },
  });
  process.stdout.write('{"subscribed":true}\n');
  while (committed === 0 || performance.now() - lastMs < IDLE_MS) await wait(50);
  process.stdout.write(`${JSON.stringify({ figure: (committed / (lastMs - firstMs)) * 1_000 })}\n`);
  db.close();
  rmSync(folder, { recursive: true, force: true });
  process.exit(0);
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
