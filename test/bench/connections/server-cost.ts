import { readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";

const WINDOW_MS = 10_000;
const TICKS_PER_SECOND = 100;

/** What a server takes, as it stands. */
export interface ServerCost {
  readonly cpuMsPerMinute: number;
  /** Resident, without mapped files. */
  readonly ownKb: number;
  readonly rssMb: number;
  readonly peakMb: number;
}

/** Watches a server for a while. */
export async function measureCost(pid: number): Promise<ServerCost> {
  const before = cpuMs(pid);
  const fromMs = performance.now();
  await wait(WINDOW_MS);
  const cpuMsPerMinute = ((cpuMs(pid) - before) / (performance.now() - fromMs)) * 60_000;
  const rssMb = statusKb(pid, "VmRSS") / 1_024;
  return { cpuMsPerMinute, rssMb, peakMb: statusKb(pid, "VmHWM") / 1_024, ownKb: statusKb(pid, "RssAnon") };
}

function cpuMs(pid: number): number {
  // proc(5): utime and stime are the 14th and 15th field; the name may hold spaces, and ends with a parenthesis.
  const [, rest = ""] = readFileSync(`/proc/${pid}/stat`, "utf8").split(/\) (?!.*\) )/);
  const fields = rest.split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND;
}

function statusKb(pid: number, name: string): number {
  return Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}
