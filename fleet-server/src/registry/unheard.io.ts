import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";

/** Work that goes on when nobody waits for it any longer, for whoever asks for the same again. */
export interface Unheard<T> {
  /**
   * The outcome of `begin`, or of the work begun before under that name whose outcome nobody has heard; undefined where
   * there is none after `waitMs`: then it goes on. Two who ask at once have each their own work.
   */
  outcome(name: string, begin: () => Promise<T>, waitMs: number): Promise<T | undefined>;
}

/** After this nobody comes back for an outcome. */
const KEPT_MS = 1_800_000;

/** Nothing unheard yet. Each entry took `waitMs` of somebody's time, so there are few. */
export function createUnheard<T>(nowMs: () => number): Unheard<T> {
  const left = new Map<string, { readonly work: Promise<T>; readonly sinceMs: number }>();
  return {
    async outcome(name, begin, waitMs) {
      const key = createHash("sha256").update(name).digest("base64");
      const work = left.get(key)?.work ?? begin();
      left.delete(key);
      const heard = new AbortController();
      const patience = delay(waitMs, undefined, { signal: heard.signal }).then(
        () => false as const,
        () => false as const,
      );
      const outcome = await Promise.race([work.then((value) => ({ value })), patience]).finally(() => heard.abort());
      if (outcome !== false) return outcome.value;
      for (const [other, { sinceMs }] of left) if (nowMs() - sinceMs > KEPT_MS) left.delete(other);
      left.set(key, { work, sinceMs: nowMs() });
      // It is thrown at whoever comes back, and not at the process.
      work.catch(() => undefined);
      return undefined;
    },
  };
}
