import { performance } from "node:perf_hooks";

const LOOK_MS = 100;

/** Watches this thread's event loop: the share of its time that it works, as it was a moment ago. */
export function watchLoop(): { share(): number; stop(): void } {
  const shareSince = loopShares();
  let lastMs = performance.now();
  let share = 0;
  const timer = setInterval(() => {
    share = shareSince();
    lastMs = performance.now();
  }, LOOK_MS);
  timer.unref();
  return {
    // A loop that does not come round to look is full.
    share: () => (performance.now() - lastMs > 2 * LOOK_MS ? 1 : share),
    stop: () => clearInterval(timer),
  };
}

/** The share of this thread's time that its event loop has worked since it was asked last. */
export function loopShares(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}
