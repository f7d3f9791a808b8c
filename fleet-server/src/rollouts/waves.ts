import { createHash } from "node:crypto";
import type { WavePlan } from "./plan.ts";

/**
 * The stable place of a device within a rollout, from 0 to 1: a hash, so that nobody is always the canary and a late
 * joiner's place does not depend on when it came.
 */
export function placeOf(rollout: string, device: string): number {
  const digest = createHash("sha256").update(`${rollout}\n${device}`).digest();
  return digest.readUInt32BE(0) / 2 ** 32;
}

/**
 * The wave of each device at the start: devices in the order of their place, each wave taking its share of those that
 * remain, rounded up, so that a small fleet still has a canary.
 */
export function assignWaves(
  rollout: string,
  devices: readonly string[],
  waves: readonly Pick<WavePlan, "targetFraction">[],
): ReadonlyMap<string, number> {
  const ordered = [...devices].sort(
    (a, b) => placeOf(rollout, a) - placeOf(rollout, b) || (a < b ? -1 : a > b ? 1 : 0),
  );
  const result = new Map<string, number>();
  let next = 0;
  waves.forEach((wave, index) => {
    const remaining = ordered.length - next;
    const share = index === waves.length - 1 ? remaining : Math.ceil(remaining * wave.targetFraction);
    for (const device of ordered.slice(next, next + share)) result.set(device, index);
    next += share;
  });
  return result;
}

/** The wave of a device that joins later: its place against the waves' cumulative shares. */
export function waveOfLateJoiner(
  rollout: string,
  device: string,
  waves: readonly Pick<WavePlan, "targetFraction">[],
): number {
  const place = placeOf(rollout, device);
  let covered = 0;
  for (let index = 0; index < waves.length - 1; index++) {
    covered += (1 - covered) * (waves[index] as WavePlan).targetFraction;
    if (place < covered) return index;
  }
  return waves.length - 1;
}
