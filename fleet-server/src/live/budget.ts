/** Messages that came together during one commit, from which on ingest is busy: it has more to do than it is done with. */
const BUSY_MESSAGES = 256;
/** The share of its thread's time that rows in the feed may take while ingest is busy. */
const BUSY_SHARE = 0.015;
/** What was not used is kept for this long: the feed catches up after a pause, it does not burst. */
const KEPT_MS = 1_000;
/** What feeding a message costs before any was measured. */
const FIRST_US = 50;
/** How far one measurement moves what is believed of the next. */
const WEIGHT = 0.2;

/**
 * How much of the rows that are committed goes to the feed. All of it, until so many messages come that feeding them would
 * take the time that taking and acknowledging them needs: then as much as a small share of the time pays for.
 */
export class FeedBudget {
  #usPerMessage = FIRST_US;
  #leftUs = 0;
  #filledAtMs: number | undefined;

  /** Of how many messages of a group that is about to be committed one is fed: 1 is all of them, 0 is none. */
  every(messages: number, nowMs: number): number {
    const sinceMs = Math.max(0, nowMs - (this.#filledAtMs ?? nowMs));
    this.#filledAtMs = nowMs;
    this.#leftUs = Math.min(KEPT_MS * BUSY_SHARE * 1_000, this.#leftUs + sinceMs * BUSY_SHARE * 1_000);
    if (messages < BUSY_MESSAGES) return 1;
    const affordable = Math.floor(this.#leftUs / this.#usPerMessage);
    return affordable <= 0 ? 0 : Math.ceil(messages / affordable);
  }

  /** So many messages were fed in so long. */
  spent(messages: number, us: number): void {
    if (messages === 0) return;
    this.#leftUs -= us;
    this.#usPerMessage += WEIGHT * (us / messages - this.#usPerMessage);
  }
}
