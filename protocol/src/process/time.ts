/**
 * The clocks, timers and chance of a process, as logic that waits is given them: `machineTime` on a real machine, a
 * simulated one in `test/sim`.
 */
export interface Time {
  /** Milliseconds that only grow: what intervals are measured with. */
  monoMs(): number;
  /** Milliseconds since 1970 by the wall clock, which may jump. */
  wallMs(): number;
  /** A number in [0, 1). */
  random(): number;
  /** Runs something once, `delayMs` from now; the answer calls it off. */
  after(delayMs: number, run: () => void): () => void;
}
