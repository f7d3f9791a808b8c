import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CMAPSS_CHANNELS } from "@bellwether/protocol/cmapss.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import Database from "better-sqlite3";
import { startBellwether } from "../../kit/bellwether.ts";
import { sharedData } from "../../kit/shared.ts";
import type { Bench, OpenBench } from "../bench.ts";
import { startCommand } from "../child.io.ts";
import { patiently } from "../patiently.ts";
import { sparkplug } from "./sparkplug.ts";

const FILE = sharedData("cmapss", "train_FD001.txt");
const ENGINES = 100;
/** Rows of each engine. */
const ROWS = 40;
const ENTRY = new URL("../../../agent/bin/bellwether-agent.mjs", import.meta.url).pathname;

/** What a row costs the line. */
export const wireBytes: Bench = {
  what: `bytes of a telemetry row on the line (C-MAPSS, ${CMAPSS_CHANNELS.length} channels, ${ENGINES} engines; MQTT's own bytes, topic and envelope included), from the packets of an agent with its default configuration`,
  over: "the same rows as Sparkplug B DDATA payloads with aliases, topics left out",
  unit: "bytes",
  goal: { of: "value", most: 33 },
  rounds: 1,
  missing: () => (FILE === undefined ? "C-MAPSS is not on this machine (BELLWETHER_DATA)" : undefined),
  open,
};

async function open(): Promise<OpenBench> {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const server = await startBellwether({ dir: join(folder, "server"), until: "caller" });
  return {
    value: () => measured(folder, server),
    baseline: async () => sparkplugBytes(),
    async close() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function measured(folder: string, server: Awaited<ReturnType<typeof startBellwether>>): Promise<number> {
  const state = join(folder, "edge-1");
  const { body } = await server.call("POST /v1/enrolment-tokens", { site: "plant" }, { token: server.admin });
  writeFileSync(`${state}.token`, body.secret, { mode: 0o600 });
  const enrol = [
    "enroll",
    "--url",
    server.url,
    "--token-file",
    `${state}.token`,
    "--device",
    "edge-1",
    "--state",
    state,
  ];
  await startCommand(process.execPath, [ENTRY, ...enrol]).ended;
  const config = join(folder, "agent.yaml");
  const assets = Array.from({ length: ENGINES }, (_, index) => `{id: e${index + 1}}`).join(", ");
  writeFileSync(
    config,
    `assets: [${assets}]\ninputs: [{id: c, type: replay, file: ${FILE}, format: cmapss, assetPrefix: e, start: "2026-01-01T00:00:00Z", rows: ${ROWS}}]\n`,
  );
  const agent = startCommand(process.execPath, [ENTRY, "run", "--config", config, "--state", state]);
  const wanted = ROWS * ENGINES;
  const topic = Buffer.byteLength(deviceTopic("plant", "edge-1").up("telemetry"));
  try {
    return await patiently(async () => {
      const db = new Database(join(server.dir, "fleet.sqlite"), { readonly: true });
      const runs = db
        .prepare(
          "SELECT to_seq - from_seq + 1 AS rows, coalesce(unpacked_bytes, length(bytes)) AS bytes, json_array_length(cuts) AS messages FROM telemetry_batches",
        )
        .all() as { rows: number; bytes: number; messages: number | null }[];
      db.close();
      const rows = runs.reduce((sum, run) => sum + run.rows, 0);
      if (rows < wanted) throw new Error(`${rows} of ${wanted} rows`);
      // Fixed header with three bytes of length, length of the topic, packet id: MQTT 3.1.1, 3.3.
      const around = 1 + 3 + 2 + topic + 2;
      return runs.reduce((sum, run) => sum + run.bytes + (run.messages ?? 1) * around, 0) / rows;
    });
  } finally {
    await agent.stop();
  }
}

function sparkplugBytes(): number {
  const lines = readFileSync(FILE as string, "utf8")
    .trim()
    .split("\n")
    .slice(0, 1_000);
  const bytes = lines.map((line) => {
    const [, cycle = 0, ...values] = line.trim().split(/\s+/).map(Number);
    const named = CMAPSS_CHANNELS.map(({ channel }, index) => [channel, values[index] ?? 0] as const);
    const row = { asset: "e1", observedAtMs: Date.UTC(2026, 0, 1) + cycle * 60_000, values: Object.fromEntries(named) };
    return sparkplug(row).length;
  });
  return bytes.reduce((a, b) => a + b, 0) / bytes.length;
}
