import { setTimeout as wait } from "node:timers/promises";

/** Polls `probe` until it returns a value that is not undefined or false; rejects with `what` after `limitMs`. */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  limitMs = 15_000,
  everyMs = 50,
): Promise<Exclude<T, undefined | false>> {
  const deadline = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
      last = value;
    } catch (cause) {
      last = cause;
    }
    if (performance.now() > deadline) {
      throw new Error(`not within ${limitMs} ms: ${what} (last: ${last instanceof Error ? last.stack : String(last)})`);
    }
    await wait(everyMs);
  }
}
