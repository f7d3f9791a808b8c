/** Logins that may be under way while the server is late with everything; a few hundred ms of its work. */
const UNDER_WAY_MAX = 200;
/** The event loop is behind by more than other work lets it be. */
const LATE_MS = 100;
/** A nonce that was not answered for so long is not counted any more. */
const COUNTED_SECONDS = 10;
/** Logins a second before more were seen. */
const RATE_MIN = 200;
const ASKED_SECONDS_MAX = 30;

/** How many of something there were in each of the last seconds. */
class Recent {
  readonly #counts = new Array<number>(COUNTED_SECONDS).fill(0);
  #second = Number.NEGATIVE_INFINITY;

  /** Counts one more; how many there are in this second. */
  add(second: number): number {
    this.#turnTo(second);
    const place = second % COUNTED_SECONDS;
    const count = (this.#counts[place] as number) + 1;
    this.#counts[place] = count;
    return count;
  }

  sum(second: number): number {
    this.#turnTo(second);
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  #turnTo(second: number): void {
    if (second <= this.#second) return;
    const passed = Math.min(COUNTED_SECONDS, second - this.#second);
    for (let n = 0; n < passed; n++) this.#counts[(second - n) % COUNTED_SECONDS] = 0;
    this.#second = second;
  }
}

/**
 * Whether another login may begin. When a server or its line comes back, the whole fleet is there at once: each login
 * would take longer than devices wait, and be made again. So while many are under way and the server is late with them,
 * the others are asked to come at a random moment of the time that all of them will take. Only both together count:
 * nobody can shut devices out by asking for nonces that are never answered, short of keeping the whole server busy.
 * Times are monotonic milliseconds.
 */
export class LoginAdmission {
  readonly #begun = new Recent();
  readonly #ended = new Recent();
  readonly #refused = new Recent();
  #ratePerSecond = RATE_MIN;

  /** Undefined where a login may begin; otherwise in how many seconds, at most, it should be tried. */
  begin(nowMs: number, lateMs: number): number | undefined {
    const second = Math.floor(nowMs / 1_000);
    const underWay = this.#begun.sum(second) - this.#ended.sum(second);
    if (underWay < UNDER_WAY_MAX || lateMs < LATE_MS) {
      this.#begun.add(second);
      return undefined;
    }
    this.#refused.add(second);
    const crowd = this.#refused.sum(second);
    return Math.min(ASKED_SECONDS_MAX, Math.ceil(crowd / this.#ratePerSecond));
  }

  /** A login has ended well. */
  ended(nowMs: number): void {
    const inThisSecond = this.#ended.add(Math.floor(nowMs / 1_000));
    this.#ratePerSecond = Math.max(this.#ratePerSecond, inThisSecond);
  }
}
