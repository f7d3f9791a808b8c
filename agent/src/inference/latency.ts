// Upper edges grow by 2^(1/8), 9 %, from 1 us to about 70 s: the error of a quantile stays below that, in 209 counters.
const STEPS_PER_OCTAVE = 8;
const BINS = 26 * STEPS_PER_OCTAVE + 1;

/** Durations in bins of constant relative width: bounded memory however long a model runs. */
export class LatencyHistogram {
  readonly #counts = new Uint32Array(BINS);
  #total = 0;

  /** Counts one duration in microseconds. */
  add(durationUs: number): void {
    const bin = durationUs <= 1 ? 0 : Math.ceil(Math.log2(durationUs) * STEPS_PER_OCTAVE);
    const at = bin < BINS ? bin : BINS - 1;
    this.#counts[at] = this.#counts[at]! + 1;
    this.#total++;
  }

  /** The upper edge of the bin that holds the `fraction` quantile, in microseconds; 0 when nothing was counted. */
  quantileUs(fraction: number): number {
    if (this.#total === 0) return 0;
    const rank = Math.ceil(fraction * this.#total);
    let seen = 0;
    for (let bin = 0; bin < BINS; bin++) {
      seen += this.#counts[bin]!;
      if (seen >= rank) return 2 ** (bin / STEPS_PER_OCTAVE);
    }
    return 2 ** ((BINS - 1) / STEPS_PER_OCTAVE);
  }
}
