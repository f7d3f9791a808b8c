import { type DaySums, RollingDay } from "@bellwether/protocol/rolling-day.ts";

const DAY_MS = 86_400_000;
/** What a budget leaves unused serves later, for an hour's worth of it. */
const SAVED_MS = 3_600_000;
/** However much was written: records wait no longer than this to be durable. */
export const COMMIT_MS_MAX = 10_000;

/**
 * How much is written to the disk, beside a budget for a day: flash wears with every write. A commit writes some pages whatever
 * is in it, so that fewer commits write less; as the budget runs out they stand further apart, and nothing is given up for it.
 * Times are monotonic, in ms.
 */
export class WearBudget {
  readonly #bytesPerMs: number;
  readonly #commitMs: number;
  readonly #day: RollingDay<"written">;
  #saved: number;
  #before: { readonly bytes: number; readonly atMs: number } | undefined;

  constructor(bytesPerDay: number, commitMs: number, nowMs: number) {
    this.#bytesPerMs = bytesPerDay / DAY_MS;
    this.#commitMs = commitMs;
    this.#day = new RollingDay(nowMs);
    this.#saved = this.#most;
  }

  get #most(): number {
    return this.#bytesPerMs * SAVED_MS;
  }

  /** Takes in what the process has written since it began. */
  wrote(bytes: number, nowMs: number): void {
    const before = this.#before ?? { bytes: 0, atMs: nowMs };
    const written = Math.max(0, bytes - before.bytes);
    this.#before = { bytes, atMs: nowMs };
    this.#day.add("written", written, nowMs);
    const left = this.#saved + (nowMs - before.atMs) * this.#bytesPerMs - written;
    // What was written beyond the budget is made up for within an hour, or the commits would never come closer again.
    this.#saved = Math.max(-this.#most, Math.min(this.#most, left));
  }

  /** How far commits stand apart now: as they should while half an hour's worth is left, up to the most where nothing is. */
  get commitMs(): number {
    const share = Math.max(0, Math.min(1, (2 * this.#saved) / this.#most));
    return Math.round(this.#commitMs + (COMMIT_MS_MAX - this.#commitMs) * (1 - share));
  }

  /** Whether more was written than the budget allows. */
  get isSpent(): boolean {
    return this.#saved <= 0;
  }

  /** Bytes written in the last 24 hours, or since the process began. */
  day(nowMs: number): DaySums<"written"> {
    return this.#day.day(nowMs);
  }
}
