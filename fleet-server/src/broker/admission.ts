/** Logins that may begin in a second in which the event loop is full; half of what two cores take that do nothing else. */
const FULL_PER_SECOND = 200;
/** Share of its time that the event loop works, from which on it is full: something waits for it. */
const FULL_SHARE = 0.9;
/** The crowd is who was refused for so long; who comes again and is refused again is counted again. */
const COUNTED_SECONDS = 10;
const ASKED_SECONDS_MAX = 30;

/** How many of something there were in each of the last seconds. */
class Recent {
  readonly #counts = new Array<number>(COUNTED_SECONDS).fill(0);
  #second = 0;

  /** Counts one more; how many there are in this second. */
  add(second: number): number {
    const count = this.in(second) + 1;
    this.#counts[second % COUNTED_SECONDS] = count;
    return count;
  }

  in(second: number): number {
    const passed = Math.min(COUNTED_SECONDS, Math.max(0, second - this.#second));
    for (let n = 0; n < passed; n++) this.#counts[(second - n) % COUNTED_SECONDS] = 0;
    this.#second = Math.max(this.#second, second);
    return this.#counts[second % COUNTED_SECONDS] as number;
  }

  get sum(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }
}

/**
 * Whether another login may begin. When a server or its line comes back, the whole fleet is there at once, and waits in
 * front of the server, unseen by it, for longer than devices wait. So while its thread is full and many logins have begun
 * in this second, the others are asked to come at a random moment of the time that all of them will take: to say so
 * costs a tenth of a login. Only both together count: nobody can shut devices out by asking for nonces that are never
 * answered, short of keeping the whole server busy. Times are monotonic milliseconds.
 */
export class LoginAdmission {
  readonly #begun = new Recent();
  readonly #ended = new Recent();
  readonly #refused = new Recent();
  #ratePerSecond = FULL_PER_SECOND;

  /** Undefined where a login may begin; otherwise within how many seconds it should be tried. `share`: of its time that the event loop works. */
  begin(nowMs: number, share: number): number | undefined {
    const second = Math.floor(nowMs / 1_000);
    if (this.#begun.in(second) < FULL_PER_SECOND || share < FULL_SHARE) {
      this.#begun.add(second);
      return undefined;
    }
    this.#refused.add(second);
    return Math.min(ASKED_SECONDS_MAX, Math.ceil(this.#refused.sum / this.#ratePerSecond));
  }

  /** A login has ended well. */
  ended(nowMs: number): void {
    this.#ratePerSecond = Math.max(this.#ratePerSecond, this.#ended.add(Math.floor(nowMs / 1_000)));
  }
}
