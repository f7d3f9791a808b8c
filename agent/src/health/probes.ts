/** Totals of /proc/stat's first line, in clock ticks. */
export interface CpuTicks {
  readonly busy: number;
  readonly total: number;
}

/** Reads the first line of /proc/stat (proc_pid_stat(5)): user nice system idle iowait irq softirq steal. */
export function parseCpuTicks(text: string): CpuTicks | undefined {
  const line = /^cpu +(.+)$/m.exec(text)?.[1];
  if (line === undefined) return undefined;
  const ticks = line.split(/ +/).map(Number);
  if (ticks.length < 5 || ticks.some((n) => !Number.isFinite(n))) return undefined;
  // guest time (fields 9 and 10) is already counted in user and nice.
  const total = ticks.slice(0, 8).reduce((sum, n) => sum + n, 0);
  return { busy: total - ticks[3]! - ticks[4]!, total };
}

/** Busy fraction of all cores between two readings, 0 to 1. Without time between them it is 0. */
export function cpuLoadBetween(before: CpuTicks, after: CpuTicks): number {
  const total = after.total - before.total;
  if (total <= 0) return 0;
  return Math.min(1, Math.max(0, (after.busy - before.busy) / total));
}

/** Memory in bytes: all there is, and what a new program could have without swapping. */
export interface MemoryFigures {
  readonly totalBytes: number;
  readonly availableBytes: number;
}

/** Reads MemTotal and MemAvailable of /proc/meminfo (kernel >= 3.14). */
export function parseMemory(text: string): MemoryFigures | undefined {
  const total = kilobytes(text, "MemTotal");
  const available = kilobytes(text, "MemAvailable");
  return total === undefined || available === undefined ? undefined : { totalBytes: total, availableBytes: available };
}

function kilobytes(text: string, name: string): number | undefined {
  const match = new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(text);
  return match ? Number(match[1]) * 1024 : undefined;
}

/** Fraction of a file system in use, as df shows it: reserved blocks count neither as used nor as available. */
export function diskUsedFraction(fs: {
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
}): number {
  const used = fs.blocks - fs.bfree;
  const usable = used + fs.bavail;
  return usable <= 0 ? 0 : used / usable;
}

/** The hottest of the kernel's readings (millidegrees as text) in Celsius. A sensor that is off says something absurd. */
export function hottestC(readings: readonly string[]): number | undefined {
  const plausible = readings
    .map((text) => (/^-?\d+\s*$/.test(text) ? Number(text) / 1_000 : Number.NaN))
    .filter((celsius) => celsius > -40 && celsius < 150);
  return plausible.length === 0 ? undefined : Math.max(...plausible);
}

/** Bytes that a process had its disks write (proc_pid_io(5)), without what was deleted before it was. */
export function parseWrittenBytes(io: string): number | undefined {
  const of = (key: string) => new RegExp(`^${key}: (\\d+)$`, "m").exec(io)?.[1];
  const [written, cancelled] = [of("write_bytes"), of("cancelled_write_bytes")];
  return written === undefined ? undefined : Number(written) - Number(cancelled ?? 0);
}
