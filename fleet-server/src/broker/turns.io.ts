/** How far apart turns of the event loop are looked for. */
const LOOK_MS = 20;

/** Watches an event loop; `lateMs` is how long it has not come round for, beyond what it may. */
export function watchTurns(): { lateMs(): number; stop(): void } {
  let lastMs = performance.now();
  const timer = setInterval(() => {
    lastMs = performance.now();
  }, LOOK_MS);
  timer.unref();
  return {
    lateMs: () => Math.max(0, performance.now() - lastMs - LOOK_MS),
    stop: () => clearInterval(timer),
  };
}
