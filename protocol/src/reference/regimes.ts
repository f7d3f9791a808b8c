import { type Random, seededRandom } from "../random.ts";
import type { Regimes } from "./drift-reference.ts";

const ROUNDS_MAX = 50;

/** The regime of a vector: the nearest centre; a feature that is missing says nothing. */
export function regimeOf(regimes: Regimes, places: Int32Array, vector: ArrayLike<number>): number {
  const { centres, scales } = regimes;
  if (centres.length === 1) return 0;
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let r = 0; r < centres.length; r += 1) {
    const centre = centres[r]!;
    let distance = 0;
    for (let i = 0; i < places.length; i += 1) {
      const value = vector[places[i]!]!;
      if (Number.isNaN(value)) continue;
      const apart = (value - centre[i]!) / scales[i]!;
      distance += apart * apart;
    }
    if (distance < least) {
      least = distance;
      best = r;
    }
  }
  return best;
}

/** Where the regimes' features stand in a vector with these names. */
export function placesOf(regimes: Regimes, names: readonly string[]): Int32Array {
  return Int32Array.from(regimes.features, (name) => names.indexOf(name));
}

/**
 * Regimes of these vectors by k-means over the named features (Lloyd, with the seeding of Arthur and Vassilvitskii,
 * 2007), in rising order of the first feature. The same vectors and seed give the same regimes.
 */
export function findRegimes(
  names: readonly string[],
  vectors: readonly ArrayLike<number>[],
  features: readonly string[],
  count: number,
  seed: number,
): Regimes {
  const places = features.map((name) => names.indexOf(name)).filter((place) => place >= 0);
  const known = vectors.filter((vector) => places.every((place) => Number.isFinite(vector[place]!)));
  if (places.length === 0 || count < 2 || known.length < count) return { features: [], scales: [], centres: [[]] };
  const scales = places.map((place) => spreadOf(known, place) || 1);
  const points = known.map((vector) => places.map((place, i) => vector[place]! / scales[i]!));
  const centres = lloyd(points, seedCentres(points, count, seededRandom(seed, 11)));
  return {
    features: places.map((place) => names[place]!),
    scales,
    centres: centres
      .map((centre) => centre.map((value, i) => value * scales[i]!))
      .toSorted((a, b) => a[0]! - b[0]! || (a[1] ?? 0) - (b[1] ?? 0)),
  };
}

function spreadOf(vectors: readonly ArrayLike<number>[], place: number): number {
  const mean = vectors.reduce((sum, vector) => sum + vector[place]!, 0) / vectors.length;
  return Math.sqrt(vectors.reduce((sum, vector) => sum + (vector[place]! - mean) ** 2, 0) / vectors.length);
}

/** Each further centre is drawn with a chance that grows with the square of its distance from those there are. */
function seedCentres(points: readonly number[][], count: number, random: Random): number[][] {
  const centres = [points[random.below(points.length)]!];
  while (centres.length < count) {
    const weights = points.map((point) => Math.min(...centres.map((centre) => squared(point, centre))));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    if (total === 0) break;
    let left = random.next() * total;
    const drawn = weights.findIndex((weight) => {
      left -= weight;
      return left < 0;
    });
    centres.push(points[drawn < 0 ? points.length - 1 : drawn]!);
  }
  return centres;
}

function lloyd(points: readonly number[][], first: readonly number[][]): number[][] {
  let centres = first.map((centre) => [...centre]);
  let before = "";
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const sums = centres.map((centre) => ({ n: 0, sum: centre.map(() => 0) }));
    for (const point of points) {
      const own = sums[nearest(point, centres)]!;
      own.n += 1;
      for (let i = 0; i < point.length; i += 1) own.sum[i]! += point[i]!;
    }
    centres = sums.map(({ n, sum }, c) => (n === 0 ? centres[c]! : sum.map((value) => value / n)));
    const now = JSON.stringify(centres);
    if (now === before) break;
    before = now;
  }
  return centres;
}

function nearest(point: readonly number[], centres: readonly number[][]): number {
  let best = 0;
  for (let c = 1; c < centres.length; c += 1) {
    if (squared(point, centres[c]!) < squared(point, centres[best]!)) best = c;
  }
  return best;
}

function squared(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0);
}
