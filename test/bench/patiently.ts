import { setTimeout as wait } from "node:timers/promises";

/** Again until it is answered: a server lets strangers, as devices are before they enrol, ask five times a second. */
export async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (const untilMs = performance.now() + 60_000; ; await wait(300)) {
    try {
      return await ask();
    } catch (cause) {
      if (performance.now() > untilMs) throw cause;
    }
  }
}
