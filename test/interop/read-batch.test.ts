import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { seededRandom } from "@bellwether/protocol/random.ts";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { partsOfRun } from "../../fleet-server/src/store/sqlite/ingest-batches.ts";
import { snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const HOW =
  "Python lacks zstandard: python3 -m venv .cache/python && .cache/python/bin/pip install -r test/interop/python/requirements.txt (or BELLWETHER_PYTHON)";

/** The reader as it stands in docs/TOPICS.md, and nothing else of ours. */
function readByPython(message: Uint8Array): { seq: number }[] {
  const [, reader] = /```python\n(.*?)```/s.exec(readFileSync(join(ROOT, "docs/TOPICS.md"), "utf8")) ?? [];
  const own = join(ROOT, ".cache/python/bin/python3");
  const python = process.env["BELLWETHER_PYTHON"] ?? (existsSync(own) ? own : "python3");
  const { status, stdout, stderr } = spawnSync(python, ["-c", reader ?? ""], { input: message, maxBuffer: 1e8 });
  // Without it nothing of this suite is worth a word: that is a failure, and not a skip.
  if (status !== 0) throw new Error(`${HOW}\n${stderr}`);
  const lines = stdout.toString().split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line));
}

function batchOf(records: readonly TelemetryRow[], fromSeq: number): StreamBatch {
  const clock = { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: true };
  return { v: 1, epoch: "00000000000000aa", stream: "telemetry", fromSeq, records, hist: false, clock };
}

test("thirty lines of Python read every batch as it was written: grids, failed reads, qualities, several assets", () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const { next, below } = seededRandom(seed);
  const resolutions = [0.01, 0.001, 0.25, 1, 10, 0.3, 1e-6, undefined];
  for (const length of [1, 7, 800]) {
    const records = Array.from({ length }, (_, n): TelemetryRow => {
      const values: Record<string, number | null> = {};
      const quality: Record<string, "uncertain" | "bad"> = {};
      for (const [channel, resolution = 1e-12] of resolutions.entries()) {
        if (below(20) === 0) continue;
        const name = `c${channel}`;
        values[name] = below(15) === 0 ? null : Math.round(next() * 1e4) * resolution - 5;
        if (values[name] === null) quality[name] = "bad";
        else if (below(15) === 0) quality[name] = "uncertain";
      }
      const marked = Object.keys(quality).length > 0 ? { quality } : {};
      return { asset: `pump-${below(3)}`, observedAtMs: 1e12 + n * 1_000 - below(3_000), values, ...marked };
    });
    const bytes = encodeBatch(batchOf(records, 41), (_, channel) => resolutions[Number(channel.slice(1))]);
    const told = readByPython(bytes);
    expect(told, `seed ${seed}`).toEqual(records.map((record, n) => ({ seq: 41 + n, ...record })));
  }
  const gap = { ...batchOf([], 5), gap: { count: 3, reason: "evicted" } } as StreamBatch;
  expect(readByPython(encodeBatch(gap))).toEqual([]);
});

test("and the packets of a real agent with its default configuration, as the server keeps them", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"));
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1");
  const yaml =
    "assets: [{id: pump-1}, {id: pump-2}]\ninputs: [{id: sim, type: simulator, rowsPerSecond: 200, rows: 1000}]\n";
  const agent = startAgentProcess(folder, stateDir, yaml);
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online");
  const samples = await eventually(
    "all rows",
    async () => {
      const found = await fleet.samples("?device=edge-1");
      return found.length === 2_000 && found;
    },
    60_000,
  );
  await agent.stop();
  await fleet.process.stop();
  const db = new Database(join(fleet.dir, "fleet.sqlite"), { readonly: true });
  const runs = db
    .prepare("SELECT from_seq, bytes, unpacked_bytes, cuts FROM telemetry_batches ORDER BY from_seq")
    .all();
  db.close();
  const packets = (runs as Parameters<typeof partsOfRun>[0][]).flatMap(partsOfRun).map(({ bytes }) => bytes);
  const read = packets.flatMap(readByPython);
  expect(read).toMatchObject(samples.map(({ seq, observedAtMs, values }) => ({ seq, observedAtMs, values })));
}, 120_000);
