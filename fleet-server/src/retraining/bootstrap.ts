import { seededRandom } from "@bellwether/protocol/random.ts";

/** Squared errors of two predictors on the same rows, and which asset each row is of. */
export interface PairedErrors {
  readonly champion: Float64Array;
  readonly candidate: Float64Array;
  readonly groups: Int32Array;
}

/** Ratio of the candidate's error to the champion's, with its 95 % interval; below 1 the candidate is better. */
export interface ErrorRatio {
  readonly ratio: number;
  readonly lower: number;
  readonly upper: number;
}

const RESAMPLINGS = 2_000;

/**
 * The ratio of root mean square errors by a paired bootstrap clustered by asset (Efron and Tibshirani, 1993; Cameron,
 * Gelbach and Miller, 2008): rows of an asset share its fate, so whole assets are drawn, and both predictors meet the
 * same draw.
 */
export function errorRatio({ champion, candidate, groups }: PairedErrors, seed: number): ErrorRatio {
  const sums = new Map<number, { champion: number; candidate: number }>();
  for (const [row, group] of groups.entries()) {
    const own = sums.get(group) ?? { champion: 0, candidate: 0 };
    own.champion += champion[row]!;
    own.candidate += candidate[row]!;
    sums.set(group, own);
  }
  const assets = [...sums.values()];
  const ratioOf = (drawn: readonly { champion: number; candidate: number }[]) => {
    const [below, above] = [sumOf(drawn, "champion"), sumOf(drawn, "candidate")];
    // A champion without any error cannot be beaten.
    if (below === 0) return above === 0 ? 1 : Number.MAX_VALUE;
    return Math.sqrt(above / below);
  };
  const random = seededRandom(seed, 31);
  const ratios = Float64Array.from({ length: RESAMPLINGS }, () =>
    ratioOf(assets.map(() => assets[random.below(assets.length)]!)),
  ).sort();
  const at = (share: number) => ratios[Math.min(RESAMPLINGS - 1, Math.floor(share * RESAMPLINGS))]!;
  return { ratio: ratioOf(assets), lower: at(0.025), upper: at(0.975) };
}

function sumOf(drawn: readonly { champion: number; candidate: number }[], whose: "champion" | "candidate"): number {
  return drawn.reduce((sum, one) => sum + one[whose], 0);
}
