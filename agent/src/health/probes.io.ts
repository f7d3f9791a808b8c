import { readFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { type CpuTicks, cpuLoadBetween, diskUsedFraction, parseCpuTicks, parseMemory } from "./probes.ts";

/** Reads the device's own condition: cheap enough (about 0.1 ms) to be asked every second. */
export interface Probes {
  /** Busy fraction of all cores since the reading before, 0 to 1. */
  cpuLoad(): number | undefined;
  /** Fraction of memory that no new program could have, 0 to 1. */
  memoryUsedFraction(): number | undefined;
  /** Fraction in use of the file system that holds `path`, 0 to 1. */
  diskUsedFraction(path: string): Promise<number | undefined>;
  /** Hottest main sensor in degrees Celsius; undefined on machines that show none. */
  temperatureC(): Promise<number | undefined>;
  /** Resident memory of this process in MB. */
  rssMb(): number;
}

/** Probes of this machine. Each holds its own last CPU reading: callers with different periods have their own probes. */
export function createProbes(): Probes {
  let ticks: CpuTicks | undefined;
  let sensors: Promise<typeof import("systeminformation")> | undefined;
  return {
    cpuLoad() {
      const now = parseCpuTicks(readProc("stat"));
      const before = ticks;
      ticks = now;
      return now && before ? cpuLoadBetween(before, now) : undefined;
    },
    memoryUsedFraction() {
      const memory = parseMemory(readProc("meminfo"));
      return memory ? 1 - memory.availableBytes / memory.totalBytes : undefined;
    },
    async diskUsedFraction(path) {
      try {
        return diskUsedFraction(await statfs(path));
      } catch {
        return undefined; // a volume that is not there has no figure; the caller shows it as a bad sample
      }
    },
    async temperatureC() {
      // Loaded on first use: it costs 20 MB and spawns children for some figures.
      sensors ??= import("systeminformation");
      const { main } = await (await sensors).cpuTemperature();
      return typeof main === "number" && Number.isFinite(main) ? main : undefined;
    },
    rssMb: () => process.memoryUsage.rss() / 1_048_576,
  };
}

function readProc(name: "stat" | "meminfo"): string {
  try {
    return readFileSync(`/proc/${name}`, "utf8");
  } catch {
    return ""; // not Linux: parsed as "no figure"
  }
}
