import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { assignWaves, waveOfLateJoiner } from "./waves.ts";

const waves = [{ targetFraction: 0.1 }, { targetFraction: 0.5 }, { targetFraction: 1 }];
const devices = (n: number) => Array.from({ length: n }, (_, i) => `device-${i}`);

describe("waves", () => {
  it("take their share of what remains, rounded up", () => {
    const assigned = assignWaves("r", devices(20), waves);
    const sizes = waves.map((_, index) => [...assigned.values()].filter((wave) => wave === index).length);
    expect(sizes).toEqual([2, 9, 9]);
  });

  it("do not depend on the order devices were listed in, and give every device one wave", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ minLength: 1 }), { maxLength: 50 }), fc.string(), (names, rollout) => {
        const forwards = assignWaves(rollout, names, waves);
        expect(forwards).toEqual(assignWaves(rollout, [...names].reverse(), waves));
        expect(forwards.size).toBe(names.length);
        for (const wave of forwards.values()) expect(wave).toBeLessThan(waves.length);
      }),
    );
  });

  it("take late joiners in proportion, each always into the same wave", () => {
    const counts = [0, 0, 0];
    for (const device of devices(3000)) {
      const wave = waveOfLateJoiner("r", device, waves);
      expect(waveOfLateJoiner("r", device, waves)).toBe(wave);
      counts[wave] = (counts[wave] ?? 0) + 1;
    }
    expect(counts[0]).toBeGreaterThan(230);
    expect(counts[0]).toBeLessThan(370);
    expect(counts[1]).toBeGreaterThan(1200);
    expect(counts[1]).toBeLessThan(1500);
  });

  it("use another canary for another rollout", () => {
    const canary = (rollout: string) =>
      [...assignWaves(rollout, devices(100), waves)].filter(([, wave]) => wave === 0).map(([device]) => device);
    expect(canary("a")).not.toEqual(canary("b"));
  });
});
