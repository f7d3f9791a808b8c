import { expect, test } from "vitest";
import type { ProcessChange, SimulatorInputConfig } from "../../config/config.ts";
import { impliedPoints, MACHINES_DEFAULT } from "../../config/inputs.ts";
import { SIGNALS } from "../../config/signals.ts";
import { Simulator } from "./simulator.ts";

const plant = (change?: ProcessChange) => {
  const config: SimulatorInputConfig = {
    id: "s",
    type: "simulator",
    seed: 3,
    stepMs: 60_000,
    startMs: 0,
    rowsPerSecond: 0,
    from: 0,
    assets: ["pump"],
    machines: { ...MACHINES_DEFAULT, noise: 0, sensorFaults: 0, ...(change === undefined ? {} : { change }) },
    points: impliedPoints(["pump"]),
  };
  return new Simulator(config, SIGNALS);
};
const values = (simulator: Simulator, index: number) => simulator.row("pump", index).values as Record<string, number>;

test("nothing changes before the row of the change, nor how long machines live", () => {
  const plain = plant();
  for (const kind of ["offset", "gain", "fault"] as const) {
    const changed = plant({ kind, fromRow: 100 });
    for (let i = 0; i < 100; i += 1) expect(values(changed, i)).toEqual(values(plain, i));
    for (let i = 0; i < 600; i += 1) expect(changed.truth("pump", i).rul).toBe(plain.truth("pump", i).rul);
  }
});

test("offset adds, gain multiplies, whatever the wear", () => {
  const [plain, offset, gain] = [plant(), plant({ kind: "offset", fromRow: 0 }), plant({ kind: "gain", fromRow: 0 })];
  for (let i = 0; i < 300; i += 7) {
    const before = values(plain, i);
    expect(values(offset, i)["bearing.temperature"]! - before["bearing.temperature"]!).toBeCloseTo(14, 0);
    expect(values(gain, i)["vibration.de"]! / before["vibration.de"]!).toBeCloseTo(2.6, 1);
    expect(values(gain, i)["winding.temperature"]).toBe(before["winding.temperature"]);
  }
});

test("after a fault of another kind the old signs of wear are gone, and others grow towards the failure", () => {
  const [plain, fault] = [plant(), plant({ kind: "fault", fromRow: 0 })];
  const end = plain.machine("pump").endOfLife(0);
  const young = Math.max(0, end - 250);
  expect(values(fault, end)["envelope.de"]).toBeLessThan(values(plain, end)["envelope.de"]!);
  expect(values(fault, end)["current"]! - values(plain, end)["current"]!).toBeGreaterThan(3);
  expect(Math.abs(values(fault, young)["current"]! - values(plain, young)["current"]!)).toBeLessThan(1);
});
