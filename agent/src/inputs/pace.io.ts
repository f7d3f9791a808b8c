import { setImmediate as turn, setTimeout as wait } from "node:timers/promises";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Emit, JsonValue } from "./input.ts";

/** Rows that belong together, how many ticks of the pace they are, and where to go on after them. */
export interface Portion {
  readonly rows: TelemetryRow[];
  readonly ticks: number;
  readonly cursor: JsonValue;
}

/** Ticks in one portion when the source is behind or has no pace. */
const TICKS_MAX = 64;

/**
 * Emits portions at so many ticks a second (0: as fast as they are taken) until `next` has none or the signal aborts.
 * A portion is asked for only after the one before was taken: that is the back-pressure. A source that fell more than a
 * second behind goes on from now, without a burst.
 */
export async function pump(
  ticksPerSecond: number,
  signal: AbortSignal,
  next: (ticksMax: number) => Promise<Portion | undefined> | Portion | undefined,
  emit: Emit,
): Promise<"ended" | "aborted"> {
  const aborted = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
  let beganAt = performance.now();
  let done = 0;
  while (!signal.aborted) {
    let due = TICKS_MAX;
    if (ticksPerSecond > 0) {
      const now = performance.now();
      due = Math.floor(((now - beganAt) / 1_000) * ticksPerSecond) + 1 - done;
      if (due <= 0) {
        await sleepUntil(beganAt + (done / ticksPerSecond) * 1_000, signal);
        continue;
      }
      if (due > ticksPerSecond + 1) {
        beganAt = now;
        done = 0;
        due = 1;
      }
    }
    const portion = await next(Math.min(due, TICKS_MAX));
    if (portion === undefined) return "ended";
    done += portion.ticks;
    if (signal.aborted) break;
    // A pipeline that is going down may never take the last portion: stop() must not wait for it.
    await Promise.race([Promise.resolve(emit(portion.rows, portion.cursor)), aborted]);
    // Without a pace nothing else here waits for the event loop.
    if (ticksPerSecond === 0) await turn();
  }
  return "aborted";
}

/** Waits for a time of performance.now(), or for the abort. */
export async function sleepUntil(at: number, signal: AbortSignal): Promise<void> {
  try {
    await wait(Math.max(1, at - performance.now()), undefined, { signal });
  } catch (cause) {
    if (!signal.aborted) throw cause;
  }
}
