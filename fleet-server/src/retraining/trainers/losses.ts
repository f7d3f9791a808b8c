/** What boosting minimises: gradients and hessians of a loss at the raw scores. */
export interface Loss {
  readonly kind: LossKind;
  /** Whether every hessian is 1 where rows have no weights. */
  readonly constantHessian: boolean;
  /** Raw score that a model of no trees gives every row. */
  base(target: Float64Array, rows: Uint32Array, weights: Float64Array | undefined): number;
  /** Fills gradients and hessians for these rows. */
  derive(
    target: Float64Array,
    scores: Float64Array,
    rows: Uint32Array,
    weights: Float64Array | undefined,
    gradients: Float64Array,
    hessians: Float64Array,
  ): void;
  /** Mean loss over these rows; for squared error its root, so that the figure has the target's unit. */
  mean(target: Float64Array, scores: Float64Array, rows: Uint32Array, weights: Float64Array | undefined): number;
}

export const LOSS_KINDS = ["squared", "huber", "logistic"] as const;
export type LossKind = (typeof LOSS_KINDS)[number];

/** The loss of a kind; `huberDelta`, in the target's unit, is where squared error turns into absolute error. */
export function lossOf(kind: LossKind, huberDelta: number): Loss {
  if (kind === "logistic") return LOGISTIC;
  return kind === "squared" ? SQUARED : huber(huberDelta);
}

function weightedMean(rows: Uint32Array, weights: Float64Array | undefined, figure: (row: number) => number): number {
  let sum = 0;
  let mass = 0;
  for (let i = 0; i < rows.length; i += 1) {
    const row = rows[i]!;
    const weight = weights === undefined ? 1 : weights[row]!;
    sum += weight * figure(row);
    mass += weight;
  }
  return mass > 0 ? sum / mass : 0;
}

const SQUARED: Loss = {
  kind: "squared",
  constantHessian: true,
  base: (target, rows, weights) => weightedMean(rows, weights, (row) => target[row]!),
  derive(target, scores, rows, weights, gradients, hessians) {
    for (let i = 0; i < rows.length; i += 1) {
      const row = rows[i]!;
      const weight = weights === undefined ? 1 : weights[row]!;
      gradients[row] = (scores[row]! - target[row]!) * weight;
      if (weights !== undefined) hessians[row] = weight;
    }
  },
  mean: (target, scores, rows, weights) =>
    Math.sqrt(weightedMean(rows, weights, (row) => (scores[row]! - target[row]!) ** 2)),
};

function huber(delta: number): Loss {
  return {
    kind: "huber",
    constantHessian: true,
    base: SQUARED.base,
    derive(target, scores, rows, weights, gradients, hessians) {
      for (let i = 0; i < rows.length; i += 1) {
        const row = rows[i]!;
        const weight = weights === undefined ? 1 : weights[row]!;
        gradients[row] = Math.max(-delta, Math.min(delta, scores[row]! - target[row]!)) * weight;
        if (weights !== undefined) hessians[row] = weight;
      }
    },
    mean: (target, scores, rows, weights) =>
      weightedMean(rows, weights, (row) => {
        const far = Math.abs(scores[row]! - target[row]!);
        return far <= delta ? far * far * 0.5 : delta * (far - 0.5 * delta);
      }),
  };
}

const LOGISTIC: Loss = {
  kind: "logistic",
  constantHessian: false,
  base(target, rows, weights) {
    const mean = weightedMean(rows, weights, (row) => target[row]!);
    // One class only: a finite score that says so.
    const held = Math.min(1 - 1e-6, Math.max(1e-6, mean));
    return Math.log(held / (1 - held));
  },
  derive(target, scores, rows, weights, gradients, hessians) {
    for (let i = 0; i < rows.length; i += 1) {
      const row = rows[i]!;
      const weight = weights === undefined ? 1 : weights[row]!;
      const probability = 1 / (1 + Math.exp(-scores[row]!));
      gradients[row] = (probability - target[row]!) * weight;
      hessians[row] = Math.max(1e-16, probability * (1 - probability)) * weight;
    }
  },
  // log(1 + exp(-s)) without overflow, s the score towards the right class.
  mean: (target, scores, rows, weights) =>
    weightedMean(rows, weights, (row) => {
      const towards = target[row]! > 0.5 ? scores[row]! : -scores[row]!;
      return towards > 0 ? Math.log1p(Math.exp(-towards)) : Math.log1p(Math.exp(towards)) - towards;
    }),
};
