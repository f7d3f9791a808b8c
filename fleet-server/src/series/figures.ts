/** Milliseconds of the buckets that are kept: a minute, and an hour where minutes are too many. */
export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;

/** What the samples of one channel in one bucket of time come to. */
export interface Figures {
  /** Samples with a value; of those, how many came as backfill. */
  count: number;
  hist: number;
  min: number;
  max: number;
  /** Their sum is `sum + sumError`: a double and what it could not hold. */
  sum: number;
  sumError: number;
  /** The value at the latest corrected time; of two at the same time the one that was committed later. */
  last: number;
  lastAtMs: number;
}

/** The figures of one sample. */
export function figuresOfSample(value: number, atMs: number, hist: boolean): Figures {
  // A negative zero is zero here: which of the two is the least would depend on the order.
  const figure = value + 0;
  return {
    count: 1,
    hist: hist ? 1 : 0,
    min: figure,
    max: figure,
    sum: value,
    sumError: 0,
    last: value,
    lastAtMs: atMs,
  };
}

/** Adds what was committed later. Whatever the order and the grouping, counts, bounds and last come out the same, and so does the mean. */
export function merge(into: Figures, later: Figures): void {
  into.count += later.count;
  into.hist += later.hist;
  if (later.min < into.min) into.min = later.min;
  if (later.max > into.max) into.max = later.max;
  addExactly(into, later.sum, later.sumError);
  if (later.lastAtMs >= into.lastAtMs) {
    into.last = later.last;
    into.lastAtMs = later.lastAtMs;
  }
}

/** Adds one sample that was committed later. */
export function addSample(into: Figures, value: number, atMs: number, hist: boolean): void {
  into.count += 1;
  if (hist) into.hist += 1;
  if (value < into.min) into.min = value + 0;
  if (value > into.max) into.max = value + 0;
  addExactly(into, value, 0);
  if (atMs >= into.lastAtMs) {
    into.last = value;
    into.lastAtMs = atMs;
  }
}

// Knuth, The Art of Computer Programming 2, 4.2.2: what a sum of two doubles loses is a double itself. Kept beside the sum, it makes
// the mean independent of the order in which samples and backfill arrive.
function addExactly(into: Figures, value: number, error: number): void {
  const sum = into.sum + value;
  const part = sum - into.sum;
  const lost = into.sum - (sum - part) + (value - part) + into.sumError + error;
  // Sums beyond every double stay at the largest: no reading of a sensor comes near.
  if (!Number.isFinite(sum + lost)) {
    into.sum = Math.sign(sum) * Number.MAX_VALUE || 0;
    into.sumError = 0;
    return;
  }
  into.sum = sum + lost;
  into.sumError = lost - (into.sum - sum);
}
