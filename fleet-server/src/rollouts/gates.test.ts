import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GATE_NAMES, type GateEvidence, judgeGate, type PredictionSums } from "./gates.ts";

/** Sums of `pairs` made by two functions of the row number, as one asset's. */
function paired(
  n: number,
  predecessor: (i: number) => number,
  candidate: (i: number) => number,
  asset = "a",
): PredictionSums {
  const sums = { sumValue: 0, sumPredecessor: 0, sumValueSquared: 0, sumPredecessorSquared: 0, sumProduct: 0 };
  for (let i = 0; i < n; i++) {
    const [c, p] = [candidate(i), predecessor(i)];
    sums.sumValue += c;
    sums.sumPredecessor += p;
    sums.sumValueSquared += c * c;
    sums.sumPredecessorSquared += p * p;
    sums.sumProduct += c * p;
  }
  return { device: "d", asset, n, errors: 0, alerts: 0, pairs: n, ...sums };
}

const wear = (i: number) => 125 - i;
const noise = (i: number) => ((i * 7919) % 21) - 10;
const scoreShift = { name: "score-shift", threshold: 0.5, minSamples: 30 } as const;

function evidence(wave: PredictionSums[], rest: Partial<GateEvidence> = {}): GateEvidence {
  return {
    wave,
    control: [],
    before: [],
    p95LatencyMs: 1,
    limitLatencyMs: 10,
    hasPredecessor: true,
    scoreScale: 40,
    ...rest,
  };
}

describe("the score-shift gate", () => {
  it.each([
    ["a retraining that agrees", wear, (i: number) => wear(i) + noise(i), "pass"],
    ["the same on healthy machines, where correlation says nothing", () => 124, (i: number) => 120 + noise(i), "pass"],
    ["one that answers the mean", wear, () => 75, "fail"],
    ["one that answers noise about the mean", wear, (i: number) => 75 + 3 * noise(i), "fail"],
    ["one that says the opposite", wear, (i: number) => i, "fail"],
    ["the mean, on healthy machines", () => 124, () => 75, "fail"],
    ["a small contrary motion", (i: number) => 80 + (i % 60), (i: number) => 109 - (i % 60) / 9, "fail"],
  ])("judges %s", (_, predecessor, candidate, verdict) => {
    expect(judgeGate(scoreShift, evidence([paired(100, predecessor, candidate)])).verdict).toBe(verdict);
  });

  it("weighs assets alike, however much each says", () => {
    const talkative = paired(10_000, wear, wear, "a");
    const quiet = paired(
      40,
      () => 124,
      () => 40,
      "b",
    );
    expect(judgeGate(scoreShift, evidence([talkative, quiet])).verdict).toBe("fail");
  });

  it.each([
    ["no data", evidence([])],
    ["too few pairs", evidence([paired(29, wear, wear)])],
    ["no scale", evidence([paired(100, wear, wear)], { scoreScale: null })],
    ["a scale of 0", evidence([paired(100, wear, wear)], { scoreScale: 0 })],
    ["a scale that is no number", evidence([paired(100, wear, wear)], { scoreScale: Number.NaN })],
    ["values that are no number", evidence([paired(100, wear, () => Number.NaN)])],
    ["a first version without data", evidence([], { hasPredecessor: false })],
  ])("does not pass on %s", (_, given) => {
    expect(judgeGate(scoreShift, given).verdict).not.toBe("pass");
  });
});

describe("the rate gates", () => {
  const counted = (n: number, errors: number) => ({ ...paired(0, wear, wear), n, errors });
  const plan = { name: "inference-errors", threshold: 0.05, minSamples: 30 } as const;

  it.each([
    [0, 0, "pass"],
    [4, 0, "pass"],
    [20, 0, "fail"],
    [20, 18, "pass"],
  ])("with %i errors in 100 against %i in 100 of the control: %s", (errors, controlErrors, verdict) => {
    const given = evidence([counted(100, errors)], { control: [counted(100, controlErrors)] });
    expect(judgeGate(plan, given)).toMatchObject({ verdict, n: 100, controlN: 100 });
  });
});

it("no gate passes without data, or with a threshold that is no number", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...GATE_NAMES),
      fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY),
      (name, threshold) => {
        expect(judgeGate({ name, threshold: 0.5, minSamples: 1 }, evidence([])).verdict).toBe("inconclusive");
        const given = evidence([paired(100, wear, wear)]);
        expect(judgeGate({ name, threshold, minSamples: 1 }, given).verdict).not.toBe("pass");
      },
    ),
  );
});
