import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** A burst is as short as two seconds. */
const LOOK_MS = 250;
/** Messages and documents that wait in a burst of work; quiet devices have one on its way now and then. */
const BURST_WAITING = 256;
/** Share of its time that a thread works at most which has nothing to hurry for; a collection of its own may take a third of one look. */
const QUIET_SHARE = 0.75;
/** So long a thread is quiet before it is stopped to give back memory. */
const QUIET_MS = 30_000;

/** What tells a burst from quiet times. */
export interface YoungGenerationPorts {
  /** Messages that wait for their commit, and documents that are being made. */
  waiting(): number;
  /** The share of the thread's time in which it has worked since this was asked last. */
  share(): number;
}

/**
 * Lets V8's young generation grow in bursts of work, and only then; answers how to stop looking. V8 lets it grow to 100 MB at any occasion,
 * a thousand logins for one, and keeps that for good: work at full speed gains 3 to 5 % by it, thousands of quiet connections only hold the
 * memory. What a burst let grow is given back when all has been quiet for a while, for a pause of some 150 ms: what is collected then takes
 * compiled code with it, which a busy thread would miss.
 */
export function watchYoungGeneration({ waiting, share }: YoungGenerationPorts): () => void {
  let hasGrown = false;
  let quietMs = 0;
  letGrow(false);
  const timer = setInterval(() => {
    const isBurst = waiting() >= BURST_WAITING;
    quietMs = share() >= QUIET_SHARE || isBurst ? 0 : quietMs + LOOK_MS;
    if (isBurst && !hasGrown) {
      hasGrown = true;
      letGrow(true);
    } else if (hasGrown && quietMs >= QUIET_MS) {
      hasGrown = false;
      letGrow(false);
      collectAll();
    }
  }, LOOK_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    letGrow(true);
  };
}

/** V8 reads the factor each time it asks whether to grow, for all threads of the process; 2 is its own default. */
function letGrow(may: boolean): void {
  setFlagsFromString(`--semi-space-growth-factor=${may ? 2 : 1}`);
}

/** Of V8's collections only the last resort gives back what young objects had. */
function collectAll(): void {
  setFlagsFromString("--expose-gc");
  runInNewContext('gc({ type: "major", flavor: "last-resort" })');
}
