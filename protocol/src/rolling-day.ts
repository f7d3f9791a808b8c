const HOUR_MS = 3_600_000;
const HOURS = 24;

/** The sums of one hour, by class. */
export interface HourSums<Class extends string> {
  readonly hour: number;
  readonly sums: Partial<Record<Class, number>>;
}

/** What was summed in the last 24 hours, and how much of them there was to sum. */
export interface DaySums<Class extends string> {
  readonly coversMs: number;
  readonly sums: Partial<Record<Class, number>>;
}

/**
 * Sums of the last 24 hours by class, kept by the hour: of the oldest hour the part counts that is not yet a day old, as if
 * its sum had come evenly. Times are monotonic, so that a clock that is set begins no new day.
 */
export class RollingDay<Class extends string> {
  readonly #beganMs: number;
  #hours: HourSums<Class>[];

  /** Goes on with hours that were kept, the oldest first; `beganMs` is when counting began. */
  constructor(beganMs: number, hours: readonly HourSums<Class>[] = []) {
    this.#beganMs = beganMs;
    this.#hours = [...hours];
  }

  add(name: Class, amount: number, nowMs: number): void {
    const hour = Math.floor(nowMs / HOUR_MS);
    const last = this.#hours.at(-1);
    if (last?.hour === hour) {
      (last.sums as Record<Class, number>)[name] = (last.sums[name] ?? 0) + amount;
      return;
    }
    this.#hours = [
      ...this.#hours.filter((one) => one.hour >= hour - HOURS),
      { hour, sums: { [name]: amount } as never },
    ];
  }

  day(nowMs: number): DaySums<Class> {
    const oldest = nowMs / HOUR_MS - HOURS;
    const sums: Partial<Record<Class, number>> = {};
    for (const { hour, sums: own } of this.#hours) {
      const share = Math.min(1, hour + 1 - oldest);
      if (share <= 0) continue;
      for (const name in own) sums[name] = (sums[name] ?? 0) + Math.round((own[name] ?? 0) * share);
    }
    return { coversMs: Math.round(Math.min(HOURS * HOUR_MS, Math.max(0, nowMs - this.#beganMs))), sums };
  }

  /** What must be kept to go on after a restart. */
  get hours(): readonly HourSums<Class>[] {
    return this.#hours;
  }
}
