/** A stream of random numbers that a seed alone determines. */
export interface Random {
  /** Uniform in [0, 1) with 32 bits. */
  next(): number;
  /** Uniform whole number in [0, below). */
  below(below: number): number;
}

/**
 * sfc32 (Chris Doty-Humphrey, PractRand): 128 bits of state, passes PractRand and BigCrush. The seed may be any safe
 * integer; `stream` gives independent streams of one seed, so that drawing more from one does not shift another.
 */
export function seededRandom(seed: number, stream = 0): Random {
  let a = Math.floor(seed / 0x1_0000_0000) | 0;
  let b = seed | 0;
  let c = stream | 0;
  let counter = 1;
  const draw = () => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  };
  // Its author's warm-up: neighbouring seeds have diverged after 15 rounds.
  for (let i = 0; i < 15; i += 1) draw();
  const next = () => draw() / 0x1_0000_0000;
  return { next, below: (below) => Math.floor(next() * below) };
}

/** Shuffles in place (Fisher-Yates) and returns the same array. */
export function shuffle<T extends { [index: number]: unknown; readonly length: number }>(items: T, random: Random): T {
  for (let i = items.length - 1; i > 0; i -= 1) {
    const j = random.below(i + 1);
    const held = items[i];
    items[i] = items[j];
    items[j] = held;
  }
  return items;
}

/**
 * Draws `count` of `pool` without replacement into the first `count` places of `into`, in the order of the pool
 * (Knuth's selection sampling, TAOCP 2, algorithm S): ordered rows keep memory access in order.
 */
export function sample(pool: Uint32Array, count: number, random: Random, into: Uint32Array): void {
  let wanted = count;
  let left = pool.length;
  let at = 0;
  for (let i = 0; wanted > 0; i += 1, left -= 1) {
    if (random.next() * left >= wanted) continue;
    into[at] = pool[i]!;
    at += 1;
    wanted -= 1;
  }
}
