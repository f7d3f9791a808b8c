import type { AlertRule } from "@bellwether/protocol/package/manifest.ts";

/** What k of n says of one more output. */
export interface Decision {
  /** At least k of the last n crossed. */
  readonly active: boolean;
  /** n outputs were seen since it began: only then does a missing crossing mean anything. */
  readonly settled: boolean;
}

/** k of n: whether an asset's alert stands, from its last n primary outputs. */
export interface Debounce {
  /** Takes the next primary output; undefined stands for an inference that failed and decides nothing. */
  next(value: number | undefined): Decision;
}

/** Whether one output stands beyond the rule's threshold. */
export function crosses({ direction, threshold }: AlertRule, value: number): boolean {
  return direction === "above" ? value > threshold : value < threshold;
}

/**
 * A debounced alert: it stands while at least k of the last n outputs cross the threshold. A failed inference neither
 * crosses nor pushes an older crossing out: an alarm must not clear because the model stopped answering.
 */
export function createDebounce(rule: AlertRule): Debounce {
  const crossed = new Uint8Array(rule.n);
  // The manifest check refuses k > n; held here too, because an alert that can never stand would be silent.
  const needed = Math.min(rule.k, rule.n);
  let at = 0;
  let count = 0;
  let seen = 0;
  return {
    next(value) {
      if (value !== undefined) {
        const crossing = crosses(rule, value) ? 1 : 0;
        count += crossing - crossed[at]!;
        crossed[at] = crossing;
        at = at + 1 === rule.n ? 0 : at + 1;
        if (seen < rule.n) seen++;
      }
      return { active: count >= needed, settled: seen === rule.n };
    },
  };
}
