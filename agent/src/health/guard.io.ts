import type { Beat, Verdict } from "./watchdog.ts";
import { createWatchdog } from "./watchdog.ts";

const LOOK_EVERY_MS = 250;
/** A commit on a bad memory card may take many seconds; a minute without a turn is not work. */
const LOOP_LIMIT_MS = 60_000;

/** Looks at the pipeline's heartbeat four times a second; `dead` is called once. */
export function guardPipeline(
  beat: () => Beat,
  dead: (verdict: Exclude<Verdict, { kind: "alive" }>) => void,
): () => void {
  const dog = createWatchdog({ lookMsMax: 2 * LOOK_EVERY_MS, loopLimitMs: LOOP_LIMIT_MS });
  let lastMs = performance.now();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    const verdict = dog.look(beat(), nowMs - lastMs);
    lastMs = nowMs;
    if (verdict.kind === "alive") return;
    clearInterval(timer);
    dead(verdict);
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}
