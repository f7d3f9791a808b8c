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
/** Rows that may be on their way: two commits' worth, so that one can fill while the other is made durable. */
export const ROWS_AHEAD_MAX = 4_096;

/**
 * Emits portions at so many ticks a second (0: as fast as they are taken) until `next` has none or the signal aborts.
 * No portion is asked for while `ROWS_AHEAD_MAX` rows are not durable: that is the back-pressure. Portions are taken in
 * order, so a cursor never runs ahead of its rows. A source that fell more than a second behind goes on from now,
 * without a burst.
 */
export async function pump(
  ticksPerSecond: number,
  signal: AbortSignal,
  next: (ticksMax: number) => Promise<Portion | undefined> | Portion | undefined,
  emit: Emit,
): Promise<"ended" | "aborted"> {
  const ahead = new Ahead(emit, signal);
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
    if (portion === undefined) {
      await ahead.room(1);
      return signal.aborted ? "aborted" : "ended";
    }
    done += portion.ticks;
    if (signal.aborted) break;
    ahead.emit(portion);
    await ahead.room(ROWS_AHEAD_MAX);
    // Without a pace nothing else here waits for the event loop.
    if (ticksPerSecond === 0) await turn();
  }
  return "aborted";
}

interface PortionAhead {
  readonly rows: number;
  taken: boolean;
  failed?: { readonly cause: unknown };
}

/** Portions that were emitted and are not durable yet, oldest first. */
class Ahead {
  readonly #emit: Emit;
  readonly #signal: AbortSignal;
  readonly #waiting: PortionAhead[] = [];
  #rows = 0;
  #wake = () => {};

  constructor(emit: Emit, signal: AbortSignal) {
    this.#emit = emit;
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#wake(), { once: true });
  }

  emit({ rows, cursor }: Portion): void {
    const portion: PortionAhead = { rows: Math.max(1, rows.length), taken: false };
    this.#waiting.push(portion);
    this.#rows += portion.rows;
    Promise.resolve(this.#emit(rows, cursor)).then(
      () => {
        portion.taken = true;
        this.#wake();
      },
      (cause: unknown) => {
        portion.failed = { cause };
        this.#wake();
      },
    );
  }

  /**
   * Waits until fewer than so many rows are on their way. A pipeline that is going down may never take the last ones:
   * an abort ends the wait.
   */
  async room(rowsMax: number): Promise<void> {
    for (;;) {
      while (this.#waiting[0]?.taken) this.#rows -= this.#waiting.shift()!.rows;
      const failed = this.#waiting[0]?.failed;
      if (failed !== undefined) throw failed.cause;
      if (this.#rows < rowsMax || this.#signal.aborted) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** A timer for longer would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Waits for a time of performance.now() (at most 24 days at once), or for the abort. */
export async function sleepUntil(at: number, signal: AbortSignal): Promise<void> {
  try {
    await wait(Math.min(TIMER_MS_MAX, Math.max(1, at - performance.now())), undefined, { signal });
  } catch (cause) {
    if (!signal.aborted) throw cause;
  }
}
