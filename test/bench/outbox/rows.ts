import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { STEP_MS, valuesAt } from "../agent/model.ts";

/** Rows that become durable together. */
export const GROUP_ROWS = 100;
const WARM_UP_MS = 1_000;
const MEASURED_MS = 3_000;
const GROUPS = 64;

/** Groups of rows of one asset, ready made; taken again and again with times that go on. */
export function groups(): (index: number) => TelemetryRow[] {
  const values = Array.from({ length: GROUPS * GROUP_ROWS }, (_, i) => valuesAt(0, i));
  return (index) =>
    Array.from({ length: GROUP_ROWS }, (_, i) => ({
      asset: "pump-1",
      observedAtMs: (index * GROUP_ROWS + i) * STEP_MS,
      values: values[((index % GROUPS) * GROUP_ROWS + i) % values.length]!,
    }));
}

/** Appends groups in a folder of its own for a while and prints rows a second. */
export function measure(open: (folder: string) => { append(group: TelemetryRow[]): void; close(): void }): void {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const store = open(folder);
  const groupAt = groups();
  let index = 0;
  const spell = (ms: number) => {
    const startMs = performance.now();
    const from = index;
    while (performance.now() - startMs < ms) store.append(groupAt(index++));
    return ((index - from) * GROUP_ROWS * 1_000) / (performance.now() - startMs);
  };
  spell(WARM_UP_MS);
  const figure = spell(MEASURED_MS);
  store.close();
  rmSync(folder, { recursive: true, force: true });
  process.stdout.write(`${JSON.stringify({ figure })}\n`);
}
