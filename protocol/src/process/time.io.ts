import type { Time } from "./time.ts";

/** This machine's own clocks and timers. */
export const machineTime: Time = {
  monoMs: () => performance.now(),
  wallMs: Date.now,
  random: Math.random,
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
};
