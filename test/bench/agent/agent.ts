/**
 * The agent as its `main.ts` starts it, with one part exchanged: rows come ready made from memory instead of a sensor.
 * They go through the same pump, intake, engine, outbox and link. Once the last row was acknowledged it prints a line.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { currentRole, roleData, roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import type { Outbox } from "../../../agent/src/buffer/outbox.ts";
import type { SimulatorInputConfig } from "../../../agent/src/config/config.ts";
import type { PipelineStart } from "../../../agent/src/inference/pipeline.ts";
import { declaredOf } from "../../../agent/src/inputs/adapter.io.ts";
import type { Emit, InputAdapter } from "../../../agent/src/inputs/input.ts";
import { pump } from "../../../agent/src/inputs/pace.io.ts";
import { parentOf, pipelineParts, runProgram } from "../../../agent/src/roles.io.ts";
import { STEP_MS, valuesAt } from "./model.ts";

/** As the inputs of the agent itself: portions of about this many rows. */
const PORTION_ROWS_MAX = 512;
const POOL_ROWS = 8_192;
const WARM_UP_MS = 2_500;
const MEASURED_MS = 4_000;
const LOOK_MS = 2;

if (currentRole() === "pipeline") await runMeasuredPipeline();
else await runProgram(roleSpawner(new URL(import.meta.url)));

async function runMeasuredPipeline(): Promise<void> {
  const start = roleData<PipelineStart>();
  const { runPipeline } = await import("../../../agent/src/inference/pipeline.worker.ts");
  const parts = await pipelineParts(start);
  let opened: Outbox | undefined;
  let online = false;
  await runPipeline(parentOf(), start, {
    ...parts,
    openOutbox(path, options) {
      const outbox = parts.openOutbox(path, options);
      if (!outbox.ok) return outbox;
      opened = outbox.value;
      const setOnline = opened.setOnline.bind(opened);
      opened.setOnline = (now) => {
        online = now;
        setOnline(now);
      };
      return outbox;
    },
    createInput: (config) =>
      source(config as SimulatorInputConfig, {
        online: () => online,
        acknowledged: () => {
          const { pending, unacked } = opened!.stats();
          return pending + unacked === 0;
        },
      }),
  });
}

interface Spell {
  readonly rows: number;
  /** From the first row to the acknowledgement of the last; and until the last was durable on the device. */
  readonly seconds: number;
  readonly durableSeconds: number;
  readonly threadCpuMs: number;
}

interface Looks {
  online(): boolean;
  acknowledged(): boolean;
}

/** Warms up until all is acknowledged, then measures: from the first row to the acknowledgement of the last. */
function source({ assets, points }: SimulatorInputConfig, looks: Looks): InputAdapter {
  const stopping = new AbortController();
  const pool = Array.from({ length: POOL_ROWS }, (_, i) => valuesAt(i % assets.length, Math.floor(i / assets.length)));
  const beganAtMs = Date.now() - 864_000_000;
  let tick = 0;
  async function spell(emit: Emit, ms: number): Promise<Spell> {
    const from = tick;
    const startMs = performance.now();
    const cpu = process.threadCpuUsage();
    const next = (ticksMax: number) => {
      if (performance.now() - startMs >= ms) return undefined;
      const ticks = Math.min(ticksMax, Math.max(1, Math.floor(PORTION_ROWS_MAX / assets.length)));
      const rows: TelemetryRow[] = [];
      for (const end = tick + ticks; tick < end; tick++) {
        for (let a = 0; a < assets.length; a++) {
          const values = pool[(tick * assets.length + a) % POOL_ROWS]!;
          rows.push({ asset: assets[a]!, observedAtMs: beganAtMs + tick * STEP_MS, values });
        }
      }
      return { rows, ticks, cursor: { next: tick } };
    };
    await pump(0, stopping.signal, next, emit);
    const durableSeconds = (performance.now() - startMs) / 1_000;
    await until(looks.acknowledged);
    const { user, system } = process.threadCpuUsage(cpu);
    return {
      rows: (tick - from) * assets.length,
      seconds: (performance.now() - startMs) / 1_000,
      durableSeconds,
      threadCpuMs: (user + system) / 1_000,
    };
  }
  return {
    declare: () => declaredOf(points),
    async start(emit) {
      await until(looks.online);
      await spell(emit, WARM_UP_MS);
      const all = process.cpuUsage();
      const { rows, seconds, durableSeconds, threadCpuMs } = await spell(emit, MEASURED_MS);
      const { user, system } = process.cpuUsage(all);
      const perRow = (ms: number) => (ms * 1_000) / rows;
      const line = {
        figure: rows / seconds,
        durable: rows / durableSeconds,
        allRows: tick * assets.length,
        pipelineUs: perRow(threadCpuMs),
        otherThreadsUs: perRow((user + system) / 1_000 - threadCpuMs),
      };
      process.stdout.write(`${JSON.stringify(line)}\n`);
    },
    async stop() {
      stopping.abort();
    },
  };
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await wait(LOOK_MS);
}
