/** normal: room enough; pressured: acknowledged chunks go early; shedding: unacknowledged records give way. */
export const BUFFER_PHASES = ["normal", "pressured", "shedding"] as const;
export type BufferPhase = (typeof BUFFER_PHASES)[number];

/** Fractions of the budget. Falling back needs more room than rising took, so that the phase does not flutter. */
export const PRESSURED_FROM = 0.75;
const PRESSURED_UNTIL = 0.65;
const SHEDDING_UNTIL = 0.9;
/** Once over the budget, room is made down to this fraction, not for one chunk at a time. */
export const EVICT_TO = 0.95;

/**
 * The next phase: from the share of the budget in use, and whether unacknowledged records gave way just now or cannot
 * be stored at all.
 */
export function nextPhase(phase: BufferPhase, usedFraction: number, losing: boolean): BufferPhase {
  if (losing || usedFraction > 1) return "shedding";
  if (phase === "shedding" && usedFraction >= SHEDDING_UNTIL) return "shedding";
  if (usedFraction >= PRESSURED_FROM) return "pressured";
  return phase !== "normal" && usedFraction >= PRESSURED_UNTIL ? "pressured" : "normal";
}
