import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const LOOK_MS = 500;
/** Messages that wait for their commit in a flood; a quiet device has one on its way now and then. */
const FLOOD_MESSAGES = 256;
/** So many looks without a flood in sight, and it is over: ten seconds. */
const CALM_LOOKS = 20;

/**
 * Lets V8's young generation grow while ingest is flooded, and only then; answers how to stop looking. V8 lets it grow to 100 MB in any
 * burst and keeps that for good: ingest at full speed gains 3 to 5 % by it, thousands of quiet connections only hold the memory. What
 * grew in a flood is given back when it is over, for a pause of some 150 ms.
 */
export function watchYoungGeneration({ waiting }: { waiting(): number }): () => void {
  let isFlooded = false;
  let calmLooks = 0;
  letGrow(false);
  const timer = setInterval(() => {
    calmLooks = waiting() < FLOOD_MESSAGES ? calmLooks + 1 : 0;
    if (!isFlooded && calmLooks === 0) {
      isFlooded = true;
      letGrow(true);
    } else if (isFlooded && calmLooks === CALM_LOOKS) {
      isFlooded = false;
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
