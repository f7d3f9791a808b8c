/**
 * Bytes and time of a row of telemetry in several encodings, 100 rows a message: `npx node test/bench/wire/codecs.ts`. Values
 * are those of C-MAPSS (24 channels, where ../shared has it) and of the built-in simulator, rounded to their resolution.
 */
import { readFileSync } from "node:fs";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";
import { encodeBatch } from "@bellwether/protocol/batch.ts";
import { CMAPSS_CHANNELS } from "@bellwether/protocol/cmapss.ts";
import type { StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { parseConfig } from "../../../agent/src/config/parse.ts";
import { SIGNALS } from "../../../agent/src/config/signals.ts";
import { Simulator } from "../../../agent/src/inputs/simulator/simulator.ts";
import { sharedData } from "../../kit/shared.ts";
import { messagePack } from "./message-pack.ts";
import { sparkplug } from "./sparkplug.ts";

const ROWS = 100;
const MESSAGES = 50;
const zstd = (bytes: Uint8Array) => zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
const json = (value: unknown) => Buffer.from(JSON.stringify(value));

type Codec = (rows: readonly TelemetryRow[], resolutions: ReadonlyMap<string, number | undefined>) => Uint8Array;

/** Columns of doubles, the bytes of equal weight side by side. */
const doubles: Codec = (rows) => {
  const channels = Object.keys(rows[0]?.values ?? {});
  const plain = Buffer.from(
    Float64Array.from([
      ...rows.map(({ observedAtMs }) => observedAtMs),
      ...channels.flatMap((one) => rows.map(({ values }) => values[one] ?? Number.NaN)),
    ]).buffer,
  );
  const shuffled = Buffer.alloc(plain.length);
  const count = plain.length / 8;
  for (let at = 0; at < plain.length; at++) shuffled[(at % 8) * count + Math.floor(at / 8)] = plain[at] as number;
  return Buffer.concat([zstd(shuffled), json(channels)]);
};

const CODECS: Readonly<Record<string, Codec>> = {
  "JSON rows": (rows) => json(rows),
  "JSON rows, gzip": (rows) => gzipSync(json(rows)),
  "JSON rows, zstd-1": (rows) => zstd(json(rows)),
  "MessagePack (CBOR: the same bytes)": (rows) => messagePack(rows),
  "MessagePack, zstd-1": (rows) => zstd(messagePack(rows)),
  "Sparkplug B (DDATA with aliases)": (rows) => Buffer.concat(rows.map(sparkplug)),
  "columns of doubles, shuffled, zstd-1": doubles,
  "ours: columns of integer steps as JSON, zstd-1": (rows, resolutions) => {
    const clock = { bootId: "boot", monoMs: 1, wallMs: 1, clockSynced: true };
    const batch = {
      v: 1,
      epoch: "0123456789abcdef",
      stream: "telemetry",
      fromSeq: 1,
      records: rows,
      hist: false,
      clock,
    };
    return encodeBatch(batch as StreamBatch, (_, channel) => resolutions.get(channel));
  },
};

function report(
  name: string,
  rows: readonly TelemetryRow[],
  resolutions: ReadonlyMap<string, number | undefined>,
): void {
  process.stdout.write(`\n${name}, ${Object.keys(rows[0]?.values ?? {}).length} channels\n`);
  for (const [codec, encode] of Object.entries(CODECS)) {
    let bytes = 0;
    let count = 0;
    const before = process.cpuUsage();
    for (let message = 0; message < MESSAGES; message++) {
      const some = rows.slice(message * ROWS, (message + 1) * ROWS);
      bytes += encode(some, resolutions).length;
      count += some.length;
    }
    const { user, system } = process.cpuUsage(before);
    const [each, took] = [bytes / count, (user + system) / count];
    process.stdout.write(`| ${codec} | ${each.toFixed(1)} | ${took.toFixed(1)} |\n`);
  }
}

const cmapss = sharedData("cmapss", "train_FD001.txt");
if (cmapss !== undefined) {
  const rows = readFileSync(cmapss, "utf8")
    .trim()
    .split("\n")
    .slice(0, ROWS * MESSAGES)
    .map((line): TelemetryRow => {
      const [unit = 0, cycle = 0, ...values] = line.trim().split(/\s+/).map(Number);
      const named = CMAPSS_CHANNELS.map(({ channel }, index) => [channel, values[index] ?? 0] as const);
      return {
        asset: `engine-${unit}`,
        observedAtMs: 1_767_225_600_000 + cycle * 60_000,
        values: Object.fromEntries(named),
      };
    });
  report("C-MAPSS", rows, new Map(CMAPSS_CHANNELS.map(({ channel, resolution }) => [channel, resolution])));
}
const yaml = "assets: [{id: pump-1}]\ninputs: [{id: sim, type: simulator}]\n";
const [input] = unwrap(parseConfig(yaml, "bench.yaml")).inputs;
if (input?.type !== "simulator") throw new Error("no simulator");
const simulator = new Simulator(input, SIGNALS);
const rows = Array.from({ length: ROWS * MESSAGES }, (_, index) => simulator.row("pump-1", index));
report("simulator", rows, new Map(Object.entries(SIGNALS).map(([name, { resolution }]) => [name, resolution])));
