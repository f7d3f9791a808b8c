import type { GatePlan } from "./plan.ts";

export const GATE_NAMES = ["inference-errors", "latency", "alert-rate", "score-shift"] as const;

/** What one asset's predictions of one model add up to over the time a gate looks at. Times are the server's. */
export interface PredictionSums {
  readonly device: string;
  readonly asset: string;
  /** Predictions and failed inferences together. */
  readonly n: number;
  readonly errors: number;
  readonly alerts: number;
  /** Pairs of a candidate's and its predecessor's value on the same vector, and the sums over them. */
  readonly pairs: number;
  readonly sumValue: number;
  readonly sumPredecessor: number;
  readonly sumValueSquared: number;
  readonly sumPredecessorSquared: number;
  readonly sumProduct: number;
}

/** Everything a gate may look at. */
export interface GateEvidence {
  /** The wave's devices, new model. */
  readonly wave: readonly PredictionSums[];
  /** Devices of the same target that do not have the new model yet, over the same time. */
  readonly control: readonly PredictionSums[];
  /** The wave's own devices before they got the new model. */
  readonly before: readonly PredictionSums[];
  /** 95th percentile of the wave's latency, and the 99th percentile the manifest allows, in milliseconds. */
  readonly p95LatencyMs: number | null;
  readonly limitLatencyMs: number | null;
  /** Whether any device of the wave ran another version of this model before. */
  readonly hasPredecessor: boolean;
  /** Standard deviation of the predecessor's scores in its reference profile. */
  readonly scoreScale: number | null;
}

export type Verdict = "pass" | "fail" | "inconclusive";

/** One decision, as it is stored. `statistic` null means it could not be computed, which never passes. */
export interface GateDecision {
  readonly gate: string;
  readonly verdict: Verdict;
  readonly statistic: number | null;
  readonly n: number;
  readonly controlN: number;
  readonly threshold: number;
  readonly reason: string;
}

/** Judges one gate. Fails closed: without enough data, or with a number that is none, the verdict is inconclusive. */
export function judgeGate(plan: GatePlan, evidence: GateEvidence): GateDecision {
  const decision = JUDGES[plan.name](plan, evidence);
  const unreadable = !Number.isFinite(plan.threshold) || (decision.statistic !== null && !isFiniteNumber(decision));
  if (!unreadable) return decision;
  return { ...decision, verdict: "inconclusive", reason: "the statistic or its threshold is not a finite number" };
}

/**
 * Judges whether the wave is still there to be judged: no plan can leave this out. A device that proved itself and then
 * sends no live prediction tells nothing about the version, whatever its earlier ones said.
 */
export function judgeSilence(silentDevices: readonly string[], succeeded: number): GateDecision {
  const named = silentDevices.slice(0, 5).join(", ");
  const more = silentDevices.length > 5 ? ` and ${silentDevices.length - 5} more` : "";
  return {
    gate: "live-predictions",
    verdict: silentDevices.length === 0 ? "pass" : "inconclusive",
    statistic: silentDevices.length,
    n: succeeded,
    controlN: 0,
    threshold: 0,
    reason:
      silentDevices.length === 0
        ? "every device that succeeded sends predictions"
        : `no predictions of late from ${named}${more}`,
  };
}

function isFiniteNumber(decision: GateDecision): boolean {
  return Number.isFinite(decision.statistic);
}

type Judge = (plan: GatePlan, evidence: GateEvidence) => GateDecision;

const JUDGES: Readonly<Record<(typeof GATE_NAMES)[number], Judge>> = {
  "inference-errors": (plan, evidence) => judgeRate(plan, evidence, "errors", "of the inferences failed"),
  "alert-rate": (plan, evidence) => judgeRate(plan, evidence, "alerts", "of the vectors stood in alert"),
  latency: judgeLatency,
  "score-shift": judgeScoreShift,
};

/** The wave's rate beyond the worse of control and own past: what the fleet suffers anyway is not the model's doing. */
function judgeRate(plan: GatePlan, evidence: GateEvidence, count: "errors" | "alerts", what: string): GateDecision {
  const n = total(evidence.wave, "n");
  const controlN = total(evidence.control, "n") + total(evidence.before, "n");
  const base = { gate: plan.name, n, controlN, threshold: plan.threshold };
  if (n < plan.minSamples) return tooFew(base, plan);
  const rate = total(evidence.wave, count) / n;
  const usual = Math.max(rateOf(evidence.control, count), rateOf(evidence.before, count));
  const excess = rate - usual;
  return {
    ...base,
    statistic: excess,
    verdict: excess <= plan.threshold ? "pass" : "fail",
    reason: `${percent(rate)} ${what}, ${percent(usual)} without the new model`,
  };
}

function judgeLatency(plan: GatePlan, evidence: GateEvidence): GateDecision {
  const n = total(evidence.wave, "n");
  const base = { gate: plan.name, n, controlN: total(evidence.before, "n"), threshold: plan.threshold };
  if (n < plan.minSamples) return tooFew(base, plan);
  if (evidence.p95LatencyMs === null || evidence.limitLatencyMs === null) {
    return { ...base, statistic: null, verdict: "inconclusive", reason: "no latency was reported" };
  }
  const share = evidence.p95LatencyMs / evidence.limitLatencyMs;
  return {
    ...base,
    statistic: share,
    verdict: share <= plan.threshold ? "pass" : "fail",
    reason: `p95 latency ${evidence.p95LatencyMs.toFixed(2)} ms of the ${evidence.limitLatencyMs} ms the manifest allows`,
  };
}

/**
 * How far the candidate departs from its predecessor on the very same vectors: root mean square of the difference,
 * averaged over assets so that a talkative one does not outvote the others, in standard deviations of the
 * predecessor's reference scores. Pairs need no labels, and neither wear nor a change of load can imitate them.
 * Where the predecessor's own scores moved enough to tell, a correlation below 1/2 fails as well: a model that says
 * the opposite, or nothing, can hide behind a small difference for a while.
 */
function judgeScoreShift(plan: GatePlan, evidence: GateEvidence): GateDecision {
  const pairs = total(evidence.wave, "pairs");
  const base = { gate: plan.name, n: pairs, controlN: pairs, threshold: plan.threshold };
  if (!evidence.hasPredecessor) {
    const n = total(evidence.wave, "n");
    if (n < plan.minSamples) return tooFew({ ...base, n }, plan);
    return {
      ...base,
      n,
      statistic: 0,
      verdict: "pass",
      reason: "first version on these devices: no predecessor to depart from",
    };
  }
  if (pairs < plan.minSamples) return tooFew(base, plan);
  const scale = evidence.scoreScale;
  if (scale === null || !(scale > 0)) {
    return {
      ...base,
      statistic: null,
      verdict: "inconclusive",
      reason: "the predecessor's reference profile states no spread of its scores",
    };
  }
  const paired = evidence.wave.filter((sums) => sums.pairs > 0);
  const meanSquare = mean(
    paired.map((s) => (s.sumValueSquared - 2 * s.sumProduct + s.sumPredecessorSquared) / s.pairs),
  );
  const shift = Math.sqrt(Math.max(0, meanSquare)) / scale;
  const { correlation, spread } = agreement(paired);
  const contrary = spread >= scale / 3 && !(correlation >= 0.5);
  return {
    ...base,
    statistic: shift,
    verdict: shift <= plan.threshold && !contrary ? "pass" : "fail",
    reason:
      `departs from its predecessor by ${shift.toFixed(2)} of that one's spread on ${pairs} vectors of ${paired.length} assets` +
      `, correlation ${correlation.toFixed(2)}${contrary ? ", which is no agreement" : ""}`,
  };
}

function agreement(sums: readonly PredictionSums[]): { correlation: number; spread: number } {
  const n = total(sums, "pairs");
  const value = total(sums, "sumValue") / n;
  const predecessor = total(sums, "sumPredecessor") / n;
  const valueVariance = total(sums, "sumValueSquared") / n - value ** 2;
  const predecessorVariance = Math.max(0, total(sums, "sumPredecessorSquared") / n - predecessor ** 2);
  const covariance = total(sums, "sumProduct") / n - value * predecessor;
  // A constant correlates with nothing: 0, where the formula would say NaN.
  const correlation =
    valueVariance > 1e-12 && predecessorVariance > 1e-12
      ? covariance / Math.sqrt(valueVariance * predecessorVariance)
      : 0;
  return { correlation, spread: Math.sqrt(predecessorVariance) };
}

function tooFew(base: Omit<GateDecision, "statistic" | "verdict" | "reason">, plan: GatePlan): GateDecision {
  return {
    ...base,
    statistic: null,
    verdict: "inconclusive",
    reason: `${base.n} of the ${plan.minSamples} predictions it needs`,
  };
}

function total(sums: readonly PredictionSums[], member: Exclude<keyof PredictionSums, "device" | "asset">): number {
  return sums.reduce((sum, row) => sum + row[member], 0);
}

function rateOf(sums: readonly PredictionSums[], count: "errors" | "alerts"): number {
  const n = total(sums, "n");
  return n === 0 ? 0 : total(sums, count) / n;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function percent(fraction: number): string {
  return `${(fraction * 100).toFixed(1)} %`;
}
