/**
 * The probability that a t statistic with so many degrees of freedom lies further from zero than this one: the
 * regularised incomplete beta function by its continued fraction (Lentz; Abramowitz and Stegun 26.5.8, 26.7.1).
 */
export function twoSidedP(t: number, freedom: number): number {
  if (Number.isNaN(t)) return 1;
  if (!Number.isFinite(t)) return 0;
  return incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5);
}

function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x));
  // The fraction converges fast on this side of the mean; the other side is its mirror.
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  return (front * betaFraction(x, a, b)) / a;
}

function betaFraction(x: number, a: number, b: number): number {
  const tiny = 1e-300;
  const bounded = (value: number) => (Math.abs(value) < tiny ? tiny : value);
  let c = 1;
  let d = 1 / bounded(1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  for (let m = 1; m <= 300; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / bounded(1 + even * d);
    c = bounded(1 + even / c);
    fraction *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / bounded(1 + odd * d);
    c = bounded(1 + odd / c);
    fraction *= d * c;
    if (Math.abs(d * c - 1) < 1e-14) break;
  }
  return fraction;
}

/** Lanczos' approximation of the logarithm of the gamma function, for arguments above 0.5. */
function logGamma(x: number): number {
  const coefficients = [
    676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905,
    -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  const z = x - 1;
  const sum = coefficients.reduce((total, coefficient, i) => total + coefficient / (z + i + 1), 0.99999999999980993);
  const t = z + coefficients.length - 0.5;
  return 0.5 * Math.log(2 * Math.PI) + (z + 0.5) * Math.log(t) - t + Math.log(sum);
}

/**
 * Which of these hypotheses stand at a false discovery rate (Benjamini and Hochberg, 1995), in the order given. A
 * probability that is no number never stands.
 */
export function standing(probabilities: readonly number[], rate: number): boolean[] {
  const ranked = probabilities.map((p, i) => ({ p: Number.isNaN(p) ? 1 : p, i })).toSorted((a, b) => a.p - b.p);
  const last = ranked.findLastIndex(({ p }, rank) => p <= (rate * (rank + 1)) / ranked.length);
  const stands = new Array<boolean>(probabilities.length).fill(false);
  for (const { i } of ranked.slice(0, last + 1)) stands[i] = true;
  return stands;
}
