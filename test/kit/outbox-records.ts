import { rmSync } from "node:fs";
import { join } from "node:path";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import type Database from "better-sqlite3";
import { onTestFinished } from "vitest";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import type { Outbox, OutboxOptions } from "../../agent/src/buffer/outbox.ts";
import { memoryFolder } from "../sim/disk.ts";
import { drain, outboxOptions } from "./outbox.ts";

const digest = `sha256:${"ab".repeat(32)}`;
// A row a minute: figures of a minute would take no less room (downsample.test.ts has those that do).
export const row = (index: number, asset = "pump-1"): TelemetryRow => ({
  asset,
  observedAtMs: 60_000 * index,
  values: { vib: index * 0.5, free: Math.sin(index) },
});
export const rows = (from: number, count: number) => Array.from({ length: count }, (_, index) => row(from + index));
export const event = (text: string) =>
  ({ atMs: 1, kind: "device", severity: "info", code: "TEST", text }) as const satisfies object;
export const inference = (index: number) => ({
  asset: "pump-1",
  observedAtMs: index,
  model: "rul",
  version: 1,
  digest,
  value: index,
});

// Rows that do not compress, so that they fill a disk.
export const heavy = (index: number): TelemetryRow => ({
  asset: "pump-1",
  observedAtMs: 60_000 * index,
  values: Object.fromEntries(Array.from({ length: 60 }, (_, at) => [`c${at}`, Math.sin(index * 61 + at) * 1e6])),
});
export const heavyRows = (from: number, count: number) =>
  Array.from({ length: count }, (_, index) => heavy(from + index));

export function openAt(
  file: string,
  change: Partial<OutboxOptions> = {},
  ...more: [((name: string) => Database.Database)?]
) {
  const outbox = unwrap(openOutbox(file, outboxOptions(change), ...more));
  onTestFinished(() => void outbox.close());
  return outbox;
}
/** In memory, where an fsync costs nothing; what a disk does with it, test/crash has. */
export function newFile(): string {
  const folder = memoryFolder();
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "outbox.sqlite");
}

export const telemetryOf = (outbox: Outbox) =>
  drain(outbox).flatMap((batch) => (batch.stream === "telemetry" ? (batch.records as TelemetryRow[]) : []));
