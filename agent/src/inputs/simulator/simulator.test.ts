import { createHash } from "node:crypto";
import { stepsOf, valueOfSteps } from "@bellwether/protocol/resolution.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MachinesConfig, SimulatorInputConfig } from "../../config/config.ts";
import { impliedPoints, MACHINES_DEFAULT } from "../../config/inputs.ts";
import { SIGNALS } from "../../config/signals.ts";
import { gaussian, smooth, uniform } from "./random.ts";
import { Simulator } from "./simulator.ts";

function plant(seed: number, assets: readonly string[], machines: Partial<MachinesConfig> = {}): Simulator {
  const config: SimulatorInputConfig = {
    id: "sim",
    type: "simulator",
    seed,
    stepMs: 60_000,
    rowsPerSecond: 0,
    from: 0,
    assets,
    machines: { ...MACHINES_DEFAULT, ...machines },
    points: impliedPoints(assets),
  };
  return new Simulator(config, SIGNALS);
}

const seeds = fc.maxSafeNat();

test("a row is a function of seed, asset and index: any alone, in any order, beside any other asset", () => {
  fc.assert(
    fc.property(seeds, fc.array(fc.nat(5_000), { minLength: 1, maxLength: 20 }), (seed, indices) => {
      const one = plant(seed, ["pump-1", "pump-2"]);
      const forward = new Map([...indices].sort((a, b) => a - b).map((i) => [i, one.row("pump-2", i)]));
      for (const index of indices) {
        const alone = plant(seed, ["pump-2"]);
        expect(alone.row("pump-2", index)).toEqual(forward.get(index));
        expect(alone.truth("pump-2", index)).toEqual(one.truth("pump-2", index));
      }
    }),
    { numRuns: 60 },
  );
});

test("plants stay what they were: the rows of seed 7 by digest", () => {
  const simulator = plant(7, ["pump-1", "pump-2"]);
  const rows = simulator.assets.flatMap((asset) => Array.from({ length: 1_000 }, (_, i) => simulator.row(asset, i)));
  expect(createHash("sha256").update(JSON.stringify(rows)).digest("hex").slice(0, 16)).toMatchInlineSnapshot(
    `"b96792d59a51c884"`,
  );
});

test("lives follow one another: remaining rows count down to 0, hours of service up from 0, then a new life", () => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const simulator = plant(seed, ["m"], { sensorFaults: 0 });
      let before = simulator.truth("m", 0);
      expect(before.rul).toBeGreaterThan(0.6 * 120);
      const ends: number[] = [];
      for (let i = 1; i < 900; i += 1) {
        const now = simulator.truth("m", i);
        const hours = simulator.row("m", i).values["service.hours"]!;
        if (before.rul === 0) {
          ends.push(i - 1);
          expect(now.life).toBe(before.life + 1);
          expect(hours).toBe(0);
          expect(now.rul).toBeGreaterThanOrEqual(119);
          expect(now.rul).toBeLessThan(300);
        } else expect(now).toMatchObject({ rul: before.rul - 1, life: before.life, mode: before.mode });
        before = now;
      }
      expect(ends).toEqual(ends.map((_, life) => simulator.machine("m").endOfLife(life)));
      expect(ends.length).toBeGreaterThanOrEqual(3);
    }),
    { numRuns: 20 },
  );
});

test("every value lies on its channel's grid, and nothing of the truth is in a row", () => {
  const simulator = plant(3, ["m"], { sensorFaults: 200 });
  for (let i = 0; i < 500; i += 1) {
    const row = simulator.row("m", i);
    expect(Object.keys(row).filter((key) => key !== "quality")).toEqual(["asset", "observedAtMs", "values"]);
    expect(Object.keys(row.values)).toEqual(Object.keys(SIGNALS));
    for (const [channel, value] of Object.entries(row.values)) {
      if (value === null) {
        expect(row.quality?.[channel]).toBe("bad");
        continue;
      }
      const { resolution } = SIGNALS[channel as keyof typeof SIGNALS];
      expect(valueOfSteps(stepsOf(value, resolution)!, resolution)).toBe(value);
      expect(JSON.parse(JSON.stringify(value))).toBe(value);
    }
  }
});

describe("machines fail as machines do", () => {
  /** Mean of a channel over the first and the last tenth of lives of one mode, at full speed only. */
  function shift(mode: string, channel: string): number {
    const assets = Array.from({ length: 40 }, (_, i) => `m${i}`);
    const simulator = plant(11, assets, { sensorFaults: 0, stagger: 0, regimes: false });
    const young: number[] = [];
    const old: number[] = [];
    for (const asset of assets) {
      const rows = simulator.machine(asset).life(0).rows;
      if (simulator.truth(asset, 0).mode !== mode) continue;
      for (let i = 0; i < 10; i += 1) {
        young.push(simulator.row(asset, i).values[channel]!);
        old.push(simulator.row(asset, rows - 1 - i).values[channel]!);
      }
    }
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    return mean(old) / mean(young);
  }

  test.each([
    ["bearing", "envelope.de", 4, 9],
    ["bearing", "vibration.de", 1.7, 4],
    ["imbalance", "vibration.de", 3, 6],
    ["imbalance", "vibration.nde", 3, 6],
    ["misalignment", "vibration.axial", 3, 6],
    ["cooling", "winding.temperature", 1.3, 2],
    ["cooling", "bearing.temperature", 1.2, 2],
    ["cooling", "envelope.de", 1, 4],
    ["bearing", "speed", 0.99, 1.01],
    ["bearing", "ambient.temperature", 0.8, 1.2],
  ])("%s shows in %s", (mode, channel, from, to) => {
    const ratio = shift(mode, channel);
    expect(ratio).toBeGreaterThan(from);
    expect(ratio).toBeLessThan(to);
  });

  test("vibration follows speed", () => {
    const simulator = plant(5, ["m"], { sensorFaults: 0, stagger: 0, lifeRows: [5_000, 5_000] });
    const rows = Array.from({ length: 500 }, (_, i) => simulator.row("m", i).values);
    const at = (low: number, high: number) => {
      const own = rows.filter((v) => v["speed"]! >= low && v["speed"]! < high).map((v) => v["vibration.de"]!);
      expect(own.length).toBeGreaterThan(20);
      return own.reduce((a, b) => a + b, 0) / own.length;
    };
    expect(at(1_400, 1_600) / at(1_000, 1_150)).toBeGreaterThan(1.4);
  });
});

describe("sensors fail on their own", () => {
  const simulator = plant(21, ["m"], { sensorFaults: 20, stagger: 0, noise: 1 });
  const clean = plant(21, ["m"], { sensorFaults: 0, stagger: 0, noise: 1 });
  const seen = { stuck: 0, drift: 0, dropout: 0, spikes: 0 };
  for (let i = 0; i < 4_000; i += 1) {
    const row = simulator.row("m", i);
    const healthy = clean.row("m", i);
    const faults = new Map(simulator.truth("m", i).sensorFaults.map(({ channel, kind }) => [channel, kind]));
    for (const [channel, value] of Object.entries(row.values)) {
      const kind = faults.get(channel);
      if (kind === undefined) expect(value).toBe(healthy.values[channel]);
      else {
        seen[kind] += 1;
        if (kind === "dropout") expect(value).toBeNull();
      }
    }
    expect(faults.has("service.hours")).toBe(false);
  }

  test("each kind occurs, and only there do rows differ from healthy sensors", () => {
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(50);
  });

  test("their share follows the configuration", () => {
    const count = (sensorFaults: number) => {
      const plants = plant(4, ["m"], { sensorFaults });
      let rows = 0;
      for (let i = 0; i < 20_000; i += 1) rows += plants.truth("m", i).sensorFaults.length;
      return rows;
    };
    expect(count(0)).toBe(0);
    const usual = count(2) / (20_000 * 11);
    expect(usual).toBeGreaterThan(0.001);
    expect(usual).toBeLessThan(0.01);
  });
});

test("the random numbers are uniform, normal and independent enough", () => {
  const n = 20_000;
  const mean = (f: (i: number) => number) => Array.from({ length: n }, (_, i) => f(i)).reduce((a, b) => a + b, 0) / n;
  for (const key of [0, 1, 0xffffffff, 123_456_789]) {
    expect(Math.abs(mean((i) => uniform(key, 5, i)) - 0.5)).toBeLessThan(0.01);
    expect(Math.abs(mean((i) => gaussian(key, 5, i)))).toBeLessThan(0.03);
    expect(Math.abs(mean((i) => gaussian(key, 5, i) ** 2) - 1)).toBeLessThan(0.05);
    expect(Math.abs(mean((i) => gaussian(key, 5, i) * gaussian(key, 5, i + 1)))).toBeLessThan(0.03);
    expect(Math.abs(mean((i) => gaussian(key, 5, i) * gaussian(key, 6, i)))).toBeLessThan(0.03);
    expect(Math.abs(mean((i) => smooth(key, 5, i, 10) ** 2) - 1)).toBeLessThan(0.2);
  }
});

test("every bit of a seed counts: those above the 32nd, too", () => {
  const rows = [7, 7 + 2 ** 32, 7 + 2 ** 52].map((seed) => JSON.stringify(plant(seed, ["m"]).row("m", 3)));
  expect(new Set(rows).size).toBe(3);
});
