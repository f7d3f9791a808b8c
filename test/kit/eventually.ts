import { setTimeout as wait } from "node:timers/promises";

/**
 * How many times longer a test waits than what it waits for takes on a quiet machine: no verdict comes from a slow moment.
 * Where a test is meant to fail (test/mutations), nobody needs to wait that long.
 */
const PATIENCE = Number(process.env["BELLWETHER_PATIENCE"] ?? 4);

/** A limit as a test that runs beside others should keep it. */
export function patient(limitMs: number): number {
  return limitMs * PATIENCE;
}

/** Polls `probe` until it returns a value that is not undefined or false; rejects with `what` after `limitMs`, patiently. */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  limitMs = 15_000,
  everyMs = 50,
): Promise<Exclude<T, undefined | false>> {
  const deadline = performance.now() + patient(limitMs);
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
      throw new Error(
        `not within ${patient(limitMs)} ms: ${what} (last: ${last instanceof Error ? last.stack : String(last)})`,
      );
    }
    await wait(everyMs);
  }
}

/** Waits, patiently, until an expectation holds; rejects with what it says last. */
export async function holds(check: () => unknown, limitMs = 15_000): Promise<void> {
  await eventually(
    "the expectation holds",
    async () => {
      await check();
      return true;
    },
    limitMs,
    20,
  );
}
