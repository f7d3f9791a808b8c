import { unwrap } from "@bellwether/protocol/result.ts";
import { conversionOf } from "@bellwether/protocol/units.ts";
import { HOST_UNITS, type HostInputConfig, type HostPoint, type HostSource } from "../config/config.ts";
import { declaredOf, loopAdapter } from "./adapter.io.ts";
import type { HostProbes, InputAdapter, InputContext } from "./input.ts";
import { sleepUntil } from "./pace.io.ts";
import { rowOf } from "./row.ts";

/** The device's own condition, every `intervalMs`. There is no cursor: what was not read is not there any more. */
export function createHostInput(config: HostInputConfig, context: InputContext): InputAdapter {
  const assets = Map.groupBy(config.points, ({ asset }) => asset);
  const sources = new Set(config.points.map(({ source }) => source));
  return loopAdapter(
    config.id,
    context,
    () => declaredOf(config.points),
    async (emit, signal) => {
      // A load is a difference between two readings: the first only sets the mark.
      if (sources.has("cpu.load")) await read("cpu.load", context.probes, config.diskPath);
      let dueAt = performance.now() + config.intervalMs;
      while (!signal.aborted) {
        await sleepUntil(dueAt, signal);
        if (signal.aborted) return;
        if (performance.now() < dueAt) continue;
        const readings = new Map<HostSource, number | undefined>();
        for (const source of sources) readings.set(source, await read(source, context.probes, config.diskPath));
        const observedAtMs = context.nowMs();
        const rows = [...assets].map(([asset, points]) =>
          rowOf(
            asset,
            observedAtMs,
            points.map((point) => [point, inUnit(point, readings.get(point.source))] as const),
          ),
        );
        await emit(rows);
        // A slow pipeline or a suspended device makes it late; it does not catch up on readings that were never made.
        dueAt = Math.max(dueAt + config.intervalMs, performance.now());
      }
    },
  );
}

function inUnit({ source, unit }: HostPoint, reading: number | undefined): number | undefined {
  const { same, scale, offset } = unwrap(conversionOf(HOST_UNITS[source], unit));
  return reading === undefined || same ? reading : reading * scale + offset;
}

/** One probe; undefined where the machine does not have it or it failed. */
async function read(source: HostSource, probes: HostProbes, diskPath: string): Promise<number | undefined> {
  try {
    if (source === "cpu.load") return await probes.cpuLoad();
    if (source === "memory.used_fraction") return await probes.memoryUsedFraction();
    if (source === "disk.used_fraction") return await probes.diskUsedFraction(diskPath);
    return await probes.temperatureC();
  } catch {
    // The row itself says it: a bad sample without a value.
    return undefined;
  }
}
