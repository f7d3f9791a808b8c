/**
 * What the pipeline thread writes and the main thread reads without a message: a thread stuck in native code answers
 * no message. One Int32 each, through Atomics.
 */
export const BEAT = {
  /** Which native call is running: 0 none, else an odd or even turn number; a new call is a new number. */
  turn: 0,
  /** Index of the model in the list the pipeline announced. */
  model: 1,
  /** The call's limit in ms. */
  limitMs: 2,
  /** Turns of the thread's event loop, so that a loop that spins in JavaScript is seen as well. */
  loop: 3,
  length: 4,
} as const;

/** What one look of the main thread sees. */
export interface Beat {
  readonly turn: number;
  readonly model: number;
  readonly limitMs: number;
  readonly loop: number;
}

export type Verdict =
  | { readonly kind: "alive" }
  /** One native call has lasted longer than its limit. */
  | { readonly kind: "hung"; readonly model: number; readonly ms: number }
  /** No native call is running, and the event loop has not turned for `loopLimitMs`. */
  | { readonly kind: "stalled"; readonly ms: number };

/**
 * Judges the pipeline thread from looks at its beat. Time is what passed between looks, each counted as at most
 * `lookMsMax`: after a suspend or SIGSTOP of the whole process the clock jumps, and no model is to blame for that.
 */
export function createWatchdog(options: { readonly lookMsMax: number; readonly loopLimitMs: number }): {
  look(beat: Beat, elapsedMs: number): Verdict;
} {
  let last: Beat | undefined;
  let turnMs = 0;
  let loopMs = 0;
  return {
    look(beat, elapsedMs) {
      const counted = Math.min(elapsedMs, options.lookMsMax);
      const inSameCall = beat.turn !== 0 && beat.turn === last?.turn;
      turnMs = inSameCall ? turnMs + counted : 0;
      loopMs = beat.turn === 0 && beat.loop === last?.loop ? loopMs + counted : 0;
      last = beat;
      if (turnMs > beat.limitMs) return { kind: "hung", model: beat.model, ms: turnMs };
      if (loopMs > options.loopLimitMs) return { kind: "stalled", ms: loopMs };
      return { kind: "alive" };
    },
  };
}

/** The writing side: the pipeline thread marks each native call. */
export interface Heart {
  /** A native call of this model begins; it is a hang when it has not ended after `limitMs`. */
  enter(model: number, limitMs: number): void;
  leave(): void;
  /** The event loop turned. */
  turn(): void;
}

/** A heart over shared memory of `BEAT.length` Int32 elements. */
export function createHeart(shared: Int32Array): Heart {
  let turn = 0;
  return {
    enter(model, limitMs) {
      turn = turn === 0x7fff_ffff ? 1 : turn + 1;
      Atomics.store(shared, BEAT.model, model);
      Atomics.store(shared, BEAT.limitMs, Math.min(limitMs, 0x7fff_ffff));
      Atomics.store(shared, BEAT.turn, turn);
    },
    leave() {
      Atomics.store(shared, BEAT.turn, 0);
    },
    turn() {
      Atomics.add(shared, BEAT.loop, 1);
    },
  };
}

/** One look at the shared memory. */
export function readBeat(shared: Int32Array): Beat {
  return {
    turn: Atomics.load(shared, BEAT.turn),
    model: Atomics.load(shared, BEAT.model),
    limitMs: Atomics.load(shared, BEAT.limitMs),
    loop: Atomics.load(shared, BEAT.loop),
  };
}
