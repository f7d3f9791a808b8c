import type { BadModel } from "./options.ts";

/** A small seeded generator (mulberry32), so that a story can be told again. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The same targets, made worthless. A model trained on them is valid in every way that can be checked without truth. */
export function spoil(targets: readonly number[], kind: BadModel, seed: number): number[] {
  const random = seeded(seed);
  const largest = Math.max(...targets);
  const mean = targets.reduce((sum, target) => sum + target, 0) / targets.length;
  switch (kind) {
    case "constant":
      return targets.map(() => Math.round(mean));
    case "sign-flipped":
      return targets.map((target) => largest - target);
    case "noise":
      return targets.map(() => Math.round(random() * largest));
    case "shuffled": {
      const shuffled = [...targets];
      for (let index = shuffled.length - 1; index > 0; index--) {
        const other = Math.floor(random() * (index + 1));
        [shuffled[index], shuffled[other]] = [shuffled[other] as number, shuffled[index] as number];
      }
      return shuffled;
    }
  }
}
