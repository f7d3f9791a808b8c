/**
 * The same list over plain node:http: the same query on the same tables, the same JSON, nothing else (no login, no
 * checks). `node test/bench/api/plain.ts` measures; with `--serve` it is only the server.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { migrate } from "../../../fleet-server/src/store/sqlite/migrations.ts";
import { figureOf, startFile } from "../child.io.ts";

const DEVICES = 100;

if (process.argv.includes("--serve")) serve();
else {
  const server = startFile("api/plain.ts", ["--serve"]);
  const { url } = await server.next<{ url: string }>("url");
  process.stdout.write(`${JSON.stringify({ figure: await figureOf("api/load.ts", [url]) })}\n`);
  await server.stop();
}

function serve(): void {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const db = new Database(join(folder, "fleet.sqlite"));
  db.pragma("journal_mode = WAL");
  migrate(db);
  for (let i = 1; i <= DEVICES; i++) {
    db.prepare(
      `INSERT INTO devices (device, site, public_hex, phase, labels, facts, enrolled_at_ms, session, director_version,
       reported_rev) VALUES (?, 'bench', ?, 'active', '{}', '{}', ?, 0, 0, 0)`,
    ).run(`gw-${i}`, "00".repeat(32), Date.now());
  }
  const list = db.prepare<[string, number], Record<string, unknown>>(
    "SELECT * FROM devices WHERE device > ? ORDER BY device LIMIT ?",
  );
  const server = createServer((_request, response) => {
    const items = list.all("", DEVICES).map((row) => ({
      device: row["device"],
      site: row["site"],
      phase: row["phase"],
      presence: "never",
      ageMs: null,
      lastSeenAtMs: row["last_seen_at_ms"],
      labels: JSON.parse(row["labels"] as string),
      facts: JSON.parse(row["facts"] as string),
      serial: row["serial"],
      agentVersion: row["agent_version"],
      enrolledAtMs: row["enrolled_at_ms"],
      cloned: row["cloned_at_ms"] !== null,
      clonedAtMs: row["cloned_at_ms"],
      replacedBy: row["replaced_by"],
    }));
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ items }));
  });
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as { port: number };
    process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}/` })}\n`);
  });
  process.on("SIGTERM", () => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(0);
  });
}
