import { readFileSync } from "node:fs";
import { readdir, readFile, statfs } from "node:fs/promises";
import { join } from "node:path";
import { otherProbes } from "./other-probes.io.ts";
import {
  type CpuTicks,
  cpuLoadBetween,
  diskUsedFraction,
  hottestC,
  parseCpuTicks,
  parseMemory,
  parseWrittenBytes,
} from "./probes.ts";

/** Reads the device's own condition: on Linux cheap enough (about 0.1 ms) to be asked every second. */
export interface Probes {
  /** Busy fraction of all cores since the reading before, 0 to 1. */
  cpuLoad(): Promise<number | undefined>;
  /** Fraction of memory that no new program could have, 0 to 1. */
  memoryUsedFraction(): Promise<number | undefined>;
  /** Fraction in use of the file system that holds `path`, 0 to 1. */
  diskUsedFraction(path: string): Promise<number | undefined>;
  /** Hottest zone of the board in degrees Celsius, or hottest sensor where it has no zones; undefined without either. */
  temperatureC(): Promise<number | undefined>;
  /** Resident memory of this process in MB. */
  rssMb(): number;
  /** Bytes this process had its disks write since it began; undefined where the kernel does not count them. */
  writtenBytes(): number | undefined;
}

/** Probes of this machine. Each holds its own last CPU reading: callers with different periods have their own probes. */
export function createProbes(): Probes {
  return process.platform === "linux" ? createLinuxProbes() : { ...createLinuxProbes(), ...otherProbes() };
}

/** Probes that read what the kernel shows as files: no library, no process. */
export function createLinuxProbes(sensors = "/sys/class"): Probes {
  let ticks: CpuTicks | undefined;
  return {
    async cpuLoad() {
      const now = parseCpuTicks(readProc("stat"));
      const before = ticks;
      ticks = now;
      return now && before ? cpuLoadBetween(before, now) : undefined;
    },
    async memoryUsedFraction() {
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
      const zones = await readAll(join(sensors, "thermal"), /^thermal_zone\d+$/, /^temp$/);
      return hottestC(zones) ?? hottestC(await readAll(join(sensors, "hwmon"), /^hwmon\d+$/, /^temp\d+_input$/));
    },
    rssMb: () => process.memoryUsage.rss() / 1_048_576,
    writtenBytes: () => parseWrittenBytes(readProc("self/io")),
  };
}

function readProc(name: "stat" | "meminfo" | "self/io"): string {
  try {
    return readFileSync(`/proc/${name}`, "utf8");
  } catch {
    return ""; // parsed as "no figure"
  }
}

/** Texts of these files in these folders of a folder; one that cannot be read (a sensor asleep) is left out. */
async function readAll(folder: string, folders: RegExp, files: RegExp): Promise<string[]> {
  const texts: string[] = [];
  for (const one of (await namesIn(folder)).filter((name) => folders.test(name))) {
    for (const file of (await namesIn(join(folder, one))).filter((name) => files.test(name))) {
      texts.push(await readFile(join(folder, one, file), "latin1").catch(() => ""));
    }
  }
  return texts;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch(() => []); // not every machine has it
}
