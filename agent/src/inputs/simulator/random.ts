// Counter-based random numbers: a value is a hash of what it is for (key, stream, index), so any of them can be had
// alone and in any order. The mixing is the finaliser of MurmurHash3 (A. Appleby, public domain).

function mix(h: number): number {
  let x = h;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** A 32-bit key of an asset under a seed, a whole number (FNV-1a over the name's UTF-16 units, then mixed). */
export function keyOf(seed: number, name: string): number {
  const high = Math.floor(seed / 2 ** 32);
  let h = mix(seed ^ 0x9e3779b9);
  if (high > 0) h = mix(h ^ high);
  for (let i = 0; i < name.length; i += 1) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return mix(h);
}

function hash(key: number, stream: number, index: number): number {
  const low = mix(key ^ Math.imul(stream + 1, 0x9e3779b1));
  // Two rounds: neighbouring indices and streams must share nothing.
  return mix(mix(low ^ Math.imul(index | 0, 0x85ebca77)) ^ Math.imul(Math.floor(index / 2 ** 32), 0xc2b2ae3d) ^ stream);
}

/** Uniform in [0, 1), 32 bits of it. */
export function uniform(key: number, stream: number, index: number): number {
  return hash(key, stream, index) / 2 ** 32;
}

/** Standard normal (Box and Muller 1958). */
export function gaussian(key: number, stream: number, index: number): number {
  const u = (hash(key, stream, 2 * index) + 0.5) / 2 ** 32;
  const v = hash(key, stream, 2 * index + 1) / 2 ** 32;
  return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
}

/**
 * Smooth noise of about unit variance that forgets within `period` rows: normals on a grid, joined by cosine
 * interpolation with equal power, so that no point between two knots is quieter than the knots.
 */
export function smooth(key: number, stream: number, index: number, period: number): number {
  const at = index / period;
  const knot = Math.floor(at);
  const angle = (at - knot) * (Math.PI / 2);
  return Math.cos(angle) * gaussian(key, stream, knot) + Math.sin(angle) * gaussian(key, stream, knot + 1);
}

/** One of several, by weight. */
export function pick<T>(choices: readonly (readonly [T, number])[], u: number): T {
  let rest = u * choices.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [choice, weight] of choices) {
    rest -= weight;
    if (rest < 0) return choice;
  }
  return choices.at(-1)![0];
}
