import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { otherProbes } from "./other-probes.io.ts";
import { createLinuxProbes } from "./probes.io.ts";
import { cpuLoadBetween, diskUsedFraction, hottestC, parseCpuTicks, parseMemory } from "./probes.ts";

const stat = (line: string) => `${line}\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5 0\n`;

test("the load is the busy share of the ticks between two readings", () => {
  const before = parseCpuTicks(stat("cpu  100 0 100 700 100 0 0 0 0 0"));
  const after = parseCpuTicks(stat("cpu  150 0 130 800 120 0 0 0 50 0"));
  expect(before).toEqual({ busy: 200, total: 1000 });
  expect(cpuLoadBetween(before!, after!)).toBeCloseTo(80 / 200);
  expect(cpuLoadBetween(after!, after!)).toBe(0);
});

test("idle that runs backwards (it does, after a CPU went offline) never gives a negative load", () => {
  expect(cpuLoadBetween({ busy: 100, total: 200 }, { busy: 90, total: 300 })).toBe(0);
});

test("what is not /proc/stat gives no figure", () => {
  expect(parseCpuTicks("")).toBeUndefined();
  expect(parseCpuTicks("cpu  1 2 x 4 5")).toBeUndefined();
});

test("memory is read in bytes, and an old kernel's table without MemAvailable gives none", () => {
  expect(parseMemory("MemTotal:        2000 kB\nMemFree: 10 kB\nMemAvailable:     500 kB\n")).toEqual({
    totalBytes: 2_048_000,
    availableBytes: 512_000,
  });
  expect(parseMemory("MemTotal: 2000 kB\nMemFree: 10 kB\n")).toBeUndefined();
});

test("blocks reserved for root count neither as used nor as usable", () => {
  expect(diskUsedFraction({ blocks: 100, bfree: 30, bavail: 20 })).toBeCloseTo(70 / 90);
  expect(diskUsedFraction({ blocks: 0, bfree: 0, bavail: 0 })).toBe(0);
});

test("the hottest plausible reading counts", () => {
  expect(hottestC(["45500\n", "61000\n", "-5000\n"])).toBe(61);
  expect(hottestC(["-274000\n", "255000\n", "", "N/A\n"])).toBeUndefined();
});

/** A folder as the kernel's /sys/class. */
function sysClass(files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

test("a board's thermal zones are its temperature; a PC's sensors are where it has none", async () => {
  const sensors = { "hwmon/hwmon0/temp1_input": "71000\n", "hwmon/hwmon0/temp1_max": "99000\n" };
  const zones = { "thermal/thermal_zone0/temp": "40000\n", "thermal/thermal_zone12/temp": "52250\n" };
  const others = { "thermal/cooling_device0/temp": "90000\n", "thermal/thermal_zone0/type": "cpu-thermal\n" };
  expect(await createLinuxProbes(sysClass({ ...sensors, ...zones, ...others })).temperatureC()).toBe(52.25);
  expect(await createLinuxProbes(sysClass({ ...sensors, ...others })).temperatureC()).toBe(71);
  expect(await createLinuxProbes(sysClass({})).temperatureC()).toBeUndefined();
});

test("what other machines are asked through agrees with what this one says itself", async () => {
  const [own, other] = [createLinuxProbes(), otherProbes()];
  await other.cpuLoad();
  const spunUntil = performance.now() + 200;
  while (performance.now() < spunUntil);
  const load = await other.cpuLoad();
  expect(load).toBeGreaterThan(0);
  expect(load).toBeLessThanOrEqual(1);
  expect(Math.abs((await other.memoryUsedFraction())! - (await own.memoryUsedFraction())!)).toBeLessThan(0.1);
  const celsius = await other.temperatureC();
  expect(celsius === undefined || (celsius > 0 && celsius < 150)).toBe(true);
});
