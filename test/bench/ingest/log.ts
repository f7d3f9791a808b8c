/**
 * The slower of bare aedes and a raw log: `node test/bench/ingest/log.ts SIZE`. The log appends the same messages as
 * ready-made bytes, all that the clients have on their way with one write and one fdatasync.
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { figureOf } from "../child.io.ts";
import { CLIENTS } from "./clients.ts";
import { groupOf, ON_THEIR_WAY, SHAPES, type Size, TelemetryPackets } from "./packets.ts";

const WARM_UP_MS = 500;
const MEASURED_MS = 3_000;

const size = process.argv[2] as Size;
const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
const file = openSync(join(folder, "log"), "a");
const shape = SHAPES[size];
const messages = CLIENTS * ON_THEIR_WAY;
const bytes = new TelemetryPackets("t", "0".repeat(16), shape.rows, groupOf(shape)).next(messages);
spell(WARM_UP_MS);
const log = spell(MEASURED_MS);
closeSync(file);
rmSync(folder, { recursive: true, force: true });
const aedes = await figureOf("ingest/aedes.ts", [size]);
process.stdout.write(`${JSON.stringify({ figure: Math.min(log, aedes), log, aedes })}\n`);

/** Messages a second. */
function spell(ms: number): number {
  const startMs = performance.now();
  let written = 0;
  while (performance.now() - startMs < ms) {
    writeSync(file, bytes);
    fdatasyncSync(file);
    written += messages;
  }
  return (written * 1_000) / (performance.now() - startMs);
}
