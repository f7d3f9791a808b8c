import { readFileSync } from "node:fs";

/** Linux counts a process's time in ticks of USER_HZ, which is 100 on every architecture that Node runs on (times(2)). */
const TICK_MS = 10;
const PAGE_BYTES = 4_096;

/** What a process has taken so far. */
export interface ProcessUsage {
  readonly residentBytes: number;
  /** Processor time of all its threads. */
  readonly cpuMs: number;
}

/** What a process has taken, by /proc (proc_pid_stat(5)); nothing where there is no such thing or it is gone. */
export function usageOf(pid: number | undefined): ProcessUsage {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the program's name in brackets and may hold spaces: fields are counted from behind it.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const [userTicks = 0, systemTicks = 0, pages = 0] = [fields[11], fields[12], fields[21]].map(Number);
    return { residentBytes: pages * PAGE_BYTES || 0, cpuMs: (userTicks + systemTicks) * TICK_MS || 0 };
  } catch {
    return { residentBytes: 0, cpuMs: 0 }; // it ended between two looks; its exit says the rest
  }
}
